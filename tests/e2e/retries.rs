//! Requests that are sent again because a route's policy says so, and those that are not.

mod bodies;
mod conditions;
mod limits;

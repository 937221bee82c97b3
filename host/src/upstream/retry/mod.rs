//! When a request is sent again: what a route's policy says, what an answer means to it, and how long to wait.
//!
//! [`RetryPolicy`] is what a filter decided, in the words of Envoy's `RetryPolicy`. [`conditions`] reads an answer or a failure in its
//! light, [`backoff`] spaces attempts. Nothing here sends anything: that is [`super::execute`].

pub mod backoff;
pub mod conditions;
pub mod policy;

pub use conditions::Verdict;
pub use policy::RetryPolicy;

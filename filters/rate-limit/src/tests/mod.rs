//! In all rings, but for what looks into the fake host.

mod answers;
mod cluster;
mod costs;
mod keys;
mod limits;
mod lists;
mod mistakes;
mod panels;
mod redis;
mod service;
mod stats;
mod strangers;
mod tcp;

use fyke_sdk::testing::{Outcome, TestHost, TestRequest};

use crate::RateLimit;

pub fn host(configuration: &str) -> TestHost<RateLimit> {
    TestHost::configure(configuration).unwrap()
}

/// A host with one rule.
pub fn rule(rule: &str) -> TestHost<RateLimit> {
    host(&format!("rules: [{{ name: r, {rule} }}]"))
}

pub fn of(tenant: &str) -> TestRequest {
    TestRequest::get("/").header("x-tenant", tenant)
}

/// How many of `count` such requests pass.
pub fn passed(host: &mut TestHost<RateLimit>, request: &TestRequest, count: usize) -> usize {
    (0..count).filter(|_| host.send(request.clone()).status() == 200).count()
}

pub fn header(outcome: &Outcome, name: &str) -> Option<String> {
    outcome.has_header(name).then(|| String::from_utf8_lossy(outcome.header(name).bytes()).into_owned())
}

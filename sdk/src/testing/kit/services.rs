//! What stands behind the filter: the upstream, and the clusters that it calls.

use std::collections::BTreeMap;

use super::message::{Received, TestResponse};
use super::redis::{RedisAnswer, RedisReceived};
use super::text::Text;
use crate::testing::world::Pair;

type Http = Box<dyn FnMut(&Received) -> TestResponse>;
type Grpc = Box<dyn FnMut(&GrpcReceived) -> GrpcAnswer>;
type Redis = Box<dyn FnMut(&RedisReceived) -> RedisAnswer>;

/// Closures, by cluster.
#[derive(Default)]
pub(in crate::testing) struct Services {
    upstream: Option<Http>,
    http: BTreeMap<String, Http>,
    grpc: BTreeMap<String, Grpc>,
    redis: BTreeMap<String, Redis>,
}

impl Services {
    pub fn set_upstream(&mut self, service: Http) {
        self.upstream = Some(service);
    }

    pub fn set_http(&mut self, cluster: &str, service: Http) {
        self.http.insert(cluster.to_owned(), service);
    }

    pub fn set_grpc(&mut self, cluster: &str, service: Grpc) {
        self.grpc.insert(cluster.to_owned(), service);
    }

    pub fn set_redis<A: Into<RedisAnswer>>(
        &mut self,
        cluster: &str,
        mut service: impl FnMut(&RedisReceived) -> A + 'static,
    ) {
        self.redis.insert(cluster.to_owned(), Box::new(move |received| service(received).into()));
    }

    /// The answer to a stream; `cluster` is the route's, where there is one.
    pub fn upstream(&mut self, cluster: Option<&str>, received: &Received) -> TestResponse {
        let routed = cluster.and_then(|cluster| self.http.get_mut(cluster));
        match routed.or(self.upstream.as_mut()) {
            Some(service) => service(received),
            None => TestResponse::ok(),
        }
    }

    /// The answer to a callout.
    #[track_caller]
    pub fn http(&mut self, cluster: &str, received: &Received) -> TestResponse {
        match self.http.get_mut(cluster) {
            Some(service) => service(received),
            None => panic!(
                "the filter called the cluster \"{cluster}\": say what it answers, with host.cluster(\"{cluster}\", |request| ...)"
            ),
        }
    }

    /// The answer to messages of a gRPC callout.
    #[track_caller]
    pub fn grpc(&mut self, cluster: &str, received: &GrpcReceived) -> GrpcAnswer {
        match self.grpc.get_mut(cluster) {
            Some(service) => service(received),
            None => panic!(
                "the filter called the cluster \"{cluster}\" over gRPC: say what it answers, with host.grpc(\"{cluster}\", |call| ...)"
            ),
        }
    }

    /// The answer to a command of Redis.
    #[track_caller]
    pub fn redis(&mut self, cluster: &str, received: &RedisReceived) -> RedisAnswer {
        match self.redis.get_mut(cluster) {
            Some(service) => service(received),
            None => panic!(
                "the filter called Redis at the cluster \"{cluster}\": say what it answers, with host.redis(\"{cluster}\", |command| ...)"
            ),
        }
    }
}

/// What a gRPC service got: of a unary call the message, of a stream what was sent since the last time.
#[derive(Debug, Clone)]
pub struct GrpcReceived {
    pub(in crate::testing) path: String,
    pub(in crate::testing) metadata: Vec<Pair>,
    pub(in crate::testing) messages: Vec<Vec<u8>>,
    pub(in crate::testing) finished: bool,
}

impl GrpcReceived {
    /// `/package.Service/Method`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The first value of a metadata entry.
    #[must_use]
    pub fn metadata(&self, name: &str) -> Option<Text<'_>> {
        self.metadata
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| Text::new(value))
    }

    /// The messages, as they were encoded.
    #[must_use]
    pub fn messages(&self) -> &[Vec<u8>] {
        &self.messages
    }

    /// Whether the filter has ended its half.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.finished
    }
}

/// What a gRPC service answers.
#[derive(Debug, Clone, Default)]
pub struct GrpcAnswer {
    pub(in crate::testing) messages: Vec<Vec<u8>>,
    pub(in crate::testing) status: Option<(u32, String)>,
    pub(in crate::testing) hangs: bool,
}

impl GrpcAnswer {
    /// A message. The call ends well (status 0) when the filter has ended its half, as a unary call does at once.
    #[must_use]
    pub fn message(message: impl AsRef<[u8]>) -> Self {
        Self { messages: vec![message.as_ref().to_vec()], ..Self::default() }
    }

    /// Another message.
    #[must_use]
    pub fn and_message(mut self, message: impl AsRef<[u8]>) -> Self {
        self.messages.push(message.as_ref().to_vec());
        self
    }

    /// The end, with a status; [the codes](https://grpc.io/docs/guides/status-codes/) are gRPC's.
    #[must_use]
    pub fn status(code: u32, message: &str) -> Self {
        Self { status: Some((code, message.to_owned())), ..Self::default() }
    }

    /// Nothing, ever.
    #[must_use]
    pub fn hang() -> Self {
        Self { hangs: true, ..Self::default() }
    }
}

//! Messages into one request below the limits of records and bytes.
//!
//! What a message adds is known before it is added, so a request is never encoded twice to find out that it is too
//! large.

use prost::{Message, length_delimiter_len};

use crate::telemetry::otlp::{
    record::{Head, Record},
    settings::{BatchLimits, MESSAGE_BYTES},
};

/// A request that is being filled.
#[derive(Debug)]
pub(crate) struct Batch<R: Record> {
    messages: Vec<R::Message>,
    limits: BatchLimits,
    /// The request without records.
    head: usize,
    bytes: usize,
}

/// What became of a message that was offered.
#[derive(Debug)]
pub(crate) enum Offer<M> {
    /// It is in.
    Taken,
    /// It would make the request too large: it is for the next.
    Next(M),
    /// It is too large for any request.
    TooLarge,
}

impl<R: Record> Batch<R> {
    pub(crate) fn new(head: &Head, limits: BatchLimits) -> Self {
        let bytes = head.bytes();
        Self { messages: Vec::new(), limits, head: bytes, bytes }
    }

    pub(crate) fn offer(&mut self, message: R::Message) -> Offer<R::Message> {
        let length = message.encoded_len();
        // One byte of tag: records are in fields below 16.
        let length = length.saturating_add(length_delimiter_len(length)).saturating_add(1);
        if self.head.saturating_add(length) > MESSAGE_BYTES {
            return Offer::TooLarge;
        }
        let bytes = self.bytes.saturating_add(length);
        let full = self.messages.len() >= self.limits.records || bytes > self.limits.bytes;
        if full && !self.messages.is_empty() {
            return Offer::Next(message);
        }
        self.bytes = bytes;
        self.messages.push(message);
        Offer::Taken
    }

    /// How many records are in.
    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether another record would be for the next request in any case.
    pub(crate) fn is_full(&self) -> bool {
        self.messages.len() >= self.limits.records.max(1) || self.bytes >= self.limits.bytes
    }

    /// The request.
    pub(crate) fn encode(self, head: &Head) -> Vec<u8> {
        R::request(head, self.messages)
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use proptest::prelude::*;

    use super::*;
    use crate::telemetry::otlp::{
        span::{SpanEvent, SpanRecord},
        testing::{head, span},
        value::UnixTime,
    };

    fn names(request: &[u8]) -> Vec<String> {
        let mut request = ExportTraceServiceRequest::decode(request).unwrap();
        let spans = request.resource_spans.remove(0).scope_spans.remove(0).spans;
        spans.into_iter().map(|span| span.name).collect()
    }

    #[test]
    fn a_span_above_the_limit_of_a_request_is_refused_and_one_above_that_of_a_batch_goes_alone() {
        let head = head();
        let limits = BatchLimits { bytes: 1000, ..BatchLimits::default() };
        let mut batch = Batch::<SpanRecord>::new(&head, limits);
        assert!(matches!(batch.offer(span(&"a".repeat(4000)).into_message()), Offer::Taken));
        assert!(matches!(batch.offer(span("b").into_message()), Offer::Next(_)));
        let mut huge = span("c");
        let attributes = (0..100).map(|n| (format!("k{n}").into(), "v".repeat(4000).into())).collect();
        huge.events = vec![SpanEvent { time: UnixTime(1), name: "e".into(), attributes }; 20];
        assert!(matches!(batch.offer(huge.into_message()), Offer::TooLarge));
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_doubled_and_no_request_is_above_its_limits(
            sizes in proptest::collection::vec(0_usize..2000, 1..100),
            records in 1_usize..40,
            bytes in 500_usize..20_000,
        ) {
            let head = head();
            let limits = BatchLimits { records, bytes, ..BatchLimits::default() };
            let mut all = Vec::new();
            let mut batch = Batch::<SpanRecord>::new(&head, limits);
            let finish = |batch: Batch<SpanRecord>, all: &mut Vec<String>| {
                let count = batch.len();
                let request = batch.encode(&head);
                assert!(count <= records);
                assert!(request.len() <= bytes || count == 1);
                all.extend(names(&request));
            };
            for (number, size) in sizes.iter().enumerate() {
                match batch.offer(span(&format!("{number}{}", "x".repeat(*size))).into_message()) {
                    Offer::Taken => {}
                    Offer::TooLarge => panic!("too large"),
                    Offer::Next(message) => {
                        finish(std::mem::replace(&mut batch, Batch::new(&head, limits)), &mut all);
                        prop_assert!(matches!(batch.offer(message), Offer::Taken));
                    }
                }
            }
            finish(batch, &mut all);
            let order: Vec<_> = all.iter().map(|name| name.trim_end_matches('x').parse::<usize>().unwrap()).collect();
            prop_assert_eq!(order, (0..sizes.len()).collect::<Vec<_>>());
        }
    }
}

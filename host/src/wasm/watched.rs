//! The maps of a stream in a guest's hands.

use fyke_engine::{Map, MapKind};
use http::HeaderMap;

use super::{
    exchange::{Exchange, Kind},
    maps::{Fields, Frozen, Put, Written},
    scribe::Scribe,
};

/// Runs `f` with a map of a stream, if it exists in this phase. What a guest writes there is noted, and while it logs it cannot write.
pub(super) fn with_stream_map(
    scribe: &Scribe,
    exchange: &mut Exchange,
    index: usize,
    map: MapKind,
    f: &mut dyn FnMut(&mut dyn Map),
) -> bool {
    if exchange.kind == Kind::Tcp {
        return false;
    }
    let logging = exchange.logging;
    let mut run = |map: &mut dyn Written, written: &mut bool| {
        if logging {
            f(&mut Frozen(map));
        } else {
            f(&mut Watched { map, written, scribe });
        }
    };
    let Some(filter) = exchange.filters.get_mut(index) else { return false };
    match map {
        MapKind::RequestHeaders => {
            run(&mut exchange.request_head, &mut filter.altered);
            true
        }
        MapKind::ResponseHeaders => match &mut exchange.response_head {
            Some(head) => {
                run(head, &mut filter.altered);
                true
            }
            None => false,
        },
        MapKind::RequestTrailers | MapKind::ResponseTrailers => {
            let (half, stage) = if map == MapKind::RequestTrailers {
                (&mut exchange.request, &filter.request)
            } else {
                (&mut exchange.response, &filter.response)
            };
            if let Some(trailers) = &mut half.trailers {
                run(&mut Fields(trailers), &mut filter.altered);
                return true;
            }
            // Asking for trailers when the body's end was shown creates them.
            if logging || !stage.end || stage.finished {
                return false;
            }
            let mut trailers = HeaderMap::new();
            run(&mut Fields(&mut trailers), &mut filter.altered);
            if !trailers.is_empty() {
                half.trailers = Some(trailers);
            }
            true
        }
        _ => false,
    }
}

/// Notes whether a guest wrote to a map: a filter that has altered something cannot be left out any more.
struct Watched<'a> {
    map: &'a mut dyn Written,
    written: &'a mut bool,
    scribe: &'a Scribe,
}

impl Map for Watched<'_> {
    fn len(&self) -> usize {
        self.map.len()
    }
    fn for_each(&self, each: &mut dyn FnMut(&[u8], &[u8])) {
        self.map.for_each(each);
    }
    fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.map.get(key)
    }
    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), fyke_engine::Refused> {
        *self.written = true;
        self.map.write(Some(self.scribe), key, value, Put::Beside)
    }
    fn replace(&mut self, key: &[u8], value: &[u8]) -> Result<(), fyke_engine::Refused> {
        *self.written = true;
        self.map.write(Some(self.scribe), key, value, Put::Instead)
    }
    fn remove(&mut self, key: &[u8]) -> Result<(), fyke_engine::Refused> {
        *self.written = true;
        self.map.remove(key)
    }
    fn replace_all(&mut self, pairs: &[(&[u8], &[u8])]) -> Result<(), fyke_engine::Refused> {
        *self.written = true;
        self.map.replace_all(pairs)
    }
}

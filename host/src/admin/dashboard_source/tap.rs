//! Requests as they end, for those who look.
//!
//! Looking is what has them recorded: a page that asks once a second keeps a watch alive, and one that has asked nobody for [`PATIENCE`] ends.
//! There are [`MOST`] of them at most, each of which holds the last [`KEPT`] requests.

use std::collections::VecDeque;

use crate::{
    admin::{
        board,
        dashboard::model::{Tap, TapEntry, TapFilter, Time},
    },
    wasm::{
        exchange::Kind,
        tap::{Report, Watching, Wish},
    },
};

/// Watches at a time.
const MOST: usize = 8;
/// Requests that a watch holds.
const KEPT: usize = 200;
/// Streams that a watch looks at in a second.
const RATE: u32 = 200;
/// How long one goes on that nobody asks, in seconds. Without JavaScript somebody has to ask again by hand.
const PATIENCE: f64 = 30.0;
/// Requests that did not find room are told for so long, in seconds.
const LATELY: f64 = 60.0;

/// All watches.
#[derive(Default)]
pub(super) struct Taps {
    open: Vec<Open>,
    /// Numbers rise over all of them.
    last: u64,
}

struct Open {
    filter: TapFilter,
    watching: Watching,
    entries: VecDeque<TapEntry>,
    asked: Time,
    /// Requests that were seen, and missed, a second apart.
    counts: VecDeque<(Time, u64, u64)>,
    seen: u64,
}

impl Taps {
    /// What a watch with this filter has seen. Begins one where there is none.
    pub fn look(&mut self, now: Time, filter: &TapFilter, most: usize, tap: &crate::wasm::tap::Tap) -> Tap {
        if !self.open.iter().any(|open| open.filter == *filter) {
            if self.open.len() >= MOST {
                let why = format!("{MOST} others are watched already; those that nobody looks at end by themselves.");
                return Tap { unavailable: Some(why), ..Tap::default() };
            }
            self.open.push(Open {
                filter: filter.clone(),
                watching: tap.watch(wish(filter)),
                entries: VecDeque::new(),
                asked: now,
                counts: VecDeque::new(),
                seen: 0,
            });
        }
        let Some(open) = self.open.iter_mut().find(|open| open.filter == *filter) else { return Tap::default() };
        open.asked = now;
        open.take(&mut self.last);
        open.count(now);
        Tap {
            entries: open.entries.iter().rev().take(most).cloned().collect(),
            dropped: open.dropped(),
            seen: open.rate(),
            unavailable: None,
        }
    }

    /// Takes what has come, and ends what nobody has asked for lately. Once a second.
    pub fn tidy(&mut self, now: Time) {
        self.open.retain(|open| now.seconds_since(open.asked) < PATIENCE);
        for open in &mut self.open {
            open.take(&mut self.last);
            open.count(now);
        }
    }
}

impl Open {
    fn take(&mut self, last: &mut u64) {
        while let Some(report) = self.watching.try_next() {
            self.seen += 1;
            if report.kind == Kind::Tcp {
                continue;
            }
            let entry = entry(*last + 1, report);
            if self.filter.wants(&entry) {
                *last += 1;
                self.entries.push_back(entry);
                if self.entries.len() > KEPT {
                    self.entries.pop_front();
                }
            }
        }
    }

    fn count(&mut self, now: Time) {
        let (skipped, dropped) = self.watching.missed();
        self.counts.push_back((now, self.seen, skipped + dropped));
        while self.counts.len() > 2 && self.counts.front().is_some_and(|(then, ..)| now.seconds_since(*then) > LATELY) {
            self.counts.pop_front();
        }
    }

    /// Those of the last minute that did not find room.
    fn dropped(&self) -> u64 {
        let (first, last) = (self.counts.front(), self.counts.back());
        last.zip(first).map_or(0, |((.., now), (.., before))| now.saturating_sub(*before))
    }

    /// How many are looked at in a second, of the last few.
    #[expect(clippy::cast_precision_loss, reason = "a rate is an estimate")]
    fn rate(&self) -> Option<f64> {
        let (end, now, _) = self.counts.back()?;
        let begin = self.counts.iter().rev().find(|(then, ..)| end.seconds_since(*then) >= 3.0).or(self.counts.front());
        let (begin, before, _) = begin?;
        let seconds = end.seconds_since(*begin);
        (seconds > 0.0).then(|| now.saturating_sub(*before) as f64 / seconds)
    }
}

/// What the host can tell before it copies anything; the rest is decided when a request has come.
fn wish(filter: &TapFilter) -> Wish {
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let class = filter.status.strip_suffix("xx").and_then(|class| class.parse().ok());
    let header =
        filter.header.split(':').next().map(|name| name.trim().to_ascii_lowercase()).filter(|name| !name.is_empty());
    Wish {
        status: class.or_else(|| filter.status.parse().ok()),
        path_prefix: text(&filter.path),
        // Its value may be a part of what the field has.
        headers: header.map(|name| (name, None)).into_iter().collect(),
        listener: text(&filter.listener),
        min_latency: filter.latency.and_then(|seconds| std::time::Duration::try_from_secs_f64(seconds).ok()),
        rate: Some(RATE),
        ..Wish::default()
    }
}

fn entry(id: u64, report: Report) -> TapEntry {
    let named = |wanted: &str| {
        let found = report.headers.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.clone())
    };
    let authority = named(":authority").or_else(|| named("host")).unwrap_or_default();
    let did =
        report.notes.iter().flat_map(|(filter, notes)| notes.iter().map(move |note| (filter.clone(), note.clone())));
    let headers = report.headers.iter().filter(|(name, _)| !name.starts_with(':')).cloned();
    TapEntry {
        id,
        at: board::time(report.at),
        authority,
        headers: headers.chain(did).collect(),
        listener: report.listener,
        method: report.method,
        path: report.path,
        status: report.status.unwrap_or(0),
        duration: report.duration.as_secs_f64(),
        route: report.outcome.route.as_ref().map(|route| route.name.clone()).unwrap_or_default(),
        cluster: report.outcome.cluster.clone().unwrap_or_default(),
        endpoint: report.outcome.endpoint.map(|address| address.to_string()).unwrap_or_default(),
        details: report.outcome.details,
        client: report.client,
        received: report.received,
        sent: report.sent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_ends_when_nobody_asks_and_there_are_few() {
        let (tap, mut taps) = (crate::wasm::tap::Tap::default(), Taps::default());
        let filter = |path: &str| TapFilter { path: path.to_owned(), ..TapFilter::default() };
        for number in 0..MOST {
            assert_eq!(taps.look(Time(0), &filter(&number.to_string()), 10, &tap).unavailable, None);
        }
        assert!(taps.look(Time(0), &filter("x"), 10, &tap).unavailable.is_some());
        assert_eq!(taps.look(Time(20_000), &filter("0"), 10, &tap).unavailable, None);
        taps.tidy(Time(40_000));
        assert_eq!(taps.open.len(), 1);
        assert_eq!(taps.look(Time(40_000), &filter("x"), 10, &tap).unavailable, None);
        taps.tidy(Time(90_000));
        assert!(taps.open.is_empty());
    }

    #[test]
    fn a_filter_is_handed_on_as_far_as_the_host_understands_it() {
        let filter = TapFilter::read("web", "/a", "5xx", "X-Team: blue", "250ms").unwrap();
        let wish = wish(&filter);
        assert_eq!(
            (wish.status, wish.listener.as_deref(), wish.path_prefix.as_deref()),
            (Some(5), Some("web"), Some("/a"))
        );
        assert_eq!(wish.headers, [("x-team".to_owned(), None)]);
        assert_eq!(wish.min_latency, Some(std::time::Duration::from_millis(250)));
        let all = super::wish(&TapFilter::default());
        assert_eq!(all, Wish { rate: Some(RATE), ..Wish::default() });
        assert_eq!(super::wish(&TapFilter::read("", "", "404", "", "").unwrap()).status, Some(404));
    }
}

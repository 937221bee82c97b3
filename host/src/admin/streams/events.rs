//! What happens, as it happens.

use std::sync::Arc;

use http::{HeaderMap, Method, Response, StatusCode};
use serde_json::json;

use super::{End, Outlet, Streams};
use crate::{
    admin::{body::Body, json as respond, query},
    telemetry::{Events, event_kinds, events::Event},
};

/// What somebody wants to hear.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wish {
    /// Once, as a list.
    list: bool,
    /// Empty: all of them.
    kinds: Vec<&'static str>,
    after: Option<u64>,
}

impl Wish {
    fn read(query: &str, headers: &HeaderMap) -> Result<Self, String> {
        let mut wish = Self::default();
        for (key, value) in query::pairs(query)? {
            match (key.as_str(), value.as_str()) {
                ("format", "json") => wish.list = true,
                ("format", "sse") => wish.list = false,
                ("format", _) => return Err("`format` is sse or json".to_owned()),
                ("after", number) => {
                    let number = number.parse().map_err(|_| format!("`after` is no number: {number}"))?;
                    wish.after = Some(number);
                }
                ("kind", kinds) => {
                    for kind in kinds.split(',').filter(|kind| !kind.is_empty()) {
                        let known = event_kinds::ALL.iter().find(|known| known.name == kind);
                        let all: Vec<&str> = event_kinds::ALL.iter().map(|kind| kind.name).collect();
                        let known = known.ok_or_else(|| {
                            format!("there is no kind `{kind}`; {}", crate::config::suggest::help(kind, &all))
                        })?;
                        wish.kinds.push(known.name);
                    }
                }
                (key, _) => return Err(query::unknown(key, &["format", "kind", "after"])),
            }
        }
        // A browser that comes back says what it has seen; that is newer than its address.
        if let Some(seen) = headers.get("last-event-id") {
            let seen = seen.to_str().ok().and_then(|seen| seen.trim().parse().ok());
            wish.after = Some(seen.ok_or("`Last-Event-ID` is no number of an event")?);
        }
        Ok(wish)
    }

    fn wants(&self, event: &Event) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&event.kind.name)
    }
}

/// `/v1/events`
pub(in crate::admin) fn answer(
    streams: &Streams,
    events: &Events,
    method: &Method,
    query: &str,
    headers: &HeaderMap,
) -> Response<Body> {
    let wish = match Wish::read(query, headers) {
        Ok(wish) => wish,
        Err(error) => return respond(StatusCode::BAD_REQUEST, &json!({ "error": error })),
    };
    if wish.list {
        let news = events.after(wish.after.unwrap_or(0));
        let told: Vec<&Arc<Event>> = news.events.iter().filter(|event| wish.wants(event)).collect();
        let told: Vec<&Event> = told.into_iter().map(|event| &**event).collect();
        let kinds: Vec<&str> = event_kinds::ALL.iter().map(|kind| kind.name).collect();
        let value = json!({ "last": news.last, "missed": news.missed, "events": told, "kinds": kinds });
        return respond(StatusCode::OK, &value);
    }
    let events = events.clone();
    streams.begin(method, "events", move |outlet| tell(outlet, events, wish))
}

async fn tell(mut outlet: Outlet, events: Events, wish: Wish) -> Result<(), End> {
    let mut last = events.last();
    // Whoever names none wants to know what comes.
    let mut seen = wish.after.unwrap_or_else(|| events.after(u64::MAX).last);
    // The answer's head goes out with this, also when nothing happens.
    outlet.comment("what happens to this process").await?;
    loop {
        last.mark_unchanged();
        let news = events.after(seen);
        if news.missed > 0 {
            outlet.event("missed", None, &json!({ "missed": news.missed })).await?;
        }
        for event in news.events {
            if wish.wants(&event) {
                outlet.event(event.kind.name, Some(event.id), &*event).await?;
            }
        }
        seen = news.last;
        if outlet.wait(last.changed()).await?.is_err() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use serde_json::Value;

    use super::*;
    use crate::telemetry::{
        Registry,
        event_kinds::{DRAIN, TRAP},
    };

    async fn pieces(response: Response<Body>, count: usize) -> Vec<String> {
        let mut body = response.into_body();
        let mut pieces = Vec::new();
        while pieces.len() < count {
            let frame = body.frame().await.unwrap().unwrap();
            pieces.push(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap());
        }
        pieces
    }

    #[test]
    fn wishes_are_understood_to_their_end_or_refused() {
        let none = HeaderMap::new();
        let read = |query: &str| Wish::read(query, &none);
        assert_eq!(read("").unwrap(), Wish::default());
        let wish = read("format=json&kind=trap,drain&after=7").unwrap();
        assert_eq!(wish, Wish { list: true, kinds: vec!["trap", "drain"], after: Some(7) });
        for wrong in ["format=xml", "kind=trapp", "after=-1", "since=1"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let mut headers = HeaderMap::new();
        headers.insert("last-event-id", "12".parse().unwrap());
        assert_eq!(Wish::read("after=7", &headers).unwrap().after, Some(12));
        headers.insert("last-event-id", "x".parse().unwrap());
        assert!(Wish::read("", &headers).is_err());
    }

    #[tokio::test]
    async fn a_reader_that_comes_back_goes_on_where_it_was() {
        let (events, streams) = (Events::default(), Streams::new(&Registry::new()));
        for subject in ["a", "b", "c"] {
            events.tell(&TRAP, subject, "it\ntrapped", Value::Null);
        }
        let mut headers = HeaderMap::new();
        headers.insert("last-event-id", "2".parse().unwrap());
        let response = answer(&streams, &events, &Method::GET, "", &headers);
        events.tell(&DRAIN, "", "it drains", Value::Null);
        let told = pieces(response, 3).await;
        assert!(told[1].starts_with("event: trap\nid: 3\ndata: {") && told[1].contains("it\\ntrapped"), "{told:?}");
        assert!(told[2].starts_with("event: drain\nid: 4\n"), "{told:?}");
    }

    #[tokio::test]
    async fn a_new_reader_hears_what_comes_and_only_what_it_wants() {
        let (events, streams) = (Events::default(), Streams::new(&Registry::new()));
        events.tell(&DRAIN, "", "before", Value::Null);
        let response = answer(&streams, &events, &Method::GET, "kind=drain", &HeaderMap::new());
        let mut body = response.into_body();
        body.frame().await.unwrap().unwrap();
        events.tell(&TRAP, "f", "no", Value::Null);
        events.tell(&DRAIN, "", "after", Value::Null);
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(String::from_utf8_lossy(&frame).contains("after"), "{frame:?}");
    }

    #[tokio::test]
    async fn what_is_gone_is_said() {
        let (events, streams) = (Events::default(), Streams::new(&Registry::new()));
        for number in 0..1005 {
            events.tell(&DRAIN, &number.to_string(), "x", Value::Null);
        }
        let response = answer(&streams, &events, &Method::GET, "after=2", &HeaderMap::new());
        let told = pieces(response, 3).await;
        assert!(told[1].contains("{\"missed\":3}") && told[2].contains("id: 6\n"), "{told:?}");
    }
}

//! What callers can change of one filter.
//!
//! | request | what it does |
//! |---|---|
//! | `PUT /filters/NAME` | has the module in the body take the filter's place; `?canary=5%` only for a share of the streams |
//! | `POST /filters/NAME/promote` | the canary takes the filter's place |
//! | `POST /filters/NAME/abort` | the canary goes |
//! | `POST /filters/NAME/rollback` | the last of these changes is taken back |
//! | `DELETE /filters/NAME` | takes the filter out of all chains |
//!
//! A body is a module, or as `application/json` an object with `wasm` (a module in base64) or `module` (`builtin:NAME`), and `config`. What
//! is left out of it stays as it is. A filter with `signed_by` needs the module's signature in base64: the header `x-fyke-signature`, or
//! `signature` in the object. Further parameters of `PUT`: `min_streams`, `traps`, `errors`, `latency` as under `canary:`, and for a
//! filter that the configuration does not have `listener` and `before`. `dry_run=true` only says what would change.

use std::{borrow::Cow, sync::Arc, time::Duration};

use bytes::Bytes;
use data_encoding::BASE64;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Admin,
    actions::{Answer, applied, refused},
    dashboard::action::{Load, Module},
};
use crate::{
    config::{
        resolved::{Loaded, MIN_STREAMS, ModuleSource, RollbackOn},
        units::{Increase, Percent},
    },
    reload::{
        keeper::{self, Changed, FilterError},
        overlay::{ChangeError, Place, Trial, Version},
    },
    wasm::source,
};

/// No module is larger.
const MODULE: usize = 64 << 20;
/// Base64 of one, and its configuration.
const BODY: usize = MODULE / 3 * 4 + (4 << 20);
/// The signature of a module that is a body by itself.
const SIGNATURE: &str = "x-fyke-signature";
/// An upload takes no longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// What somebody wants of a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    Load,
    Promote,
    Abort,
    Rollback,
    Remove,
}

/// The filter of a path, and what is wanted of it. `None`: the path is no filter's, or the method none of its.
pub(super) fn wish<'a>(method: &Method, path: &'a str) -> Option<(Cow<'a, str>, Wish)> {
    let (name, wish) = match (path.strip_prefix("/filters/")?.split_once('/'), method) {
        (None, &Method::PUT) => (path.strip_prefix("/filters/")?, Wish::Load),
        (None, &Method::DELETE) => (path.strip_prefix("/filters/")?, Wish::Remove),
        (Some((name, "promote")), &Method::POST) => (name, Wish::Promote),
        (Some((name, "abort")), &Method::POST) => (name, Wish::Abort),
        (Some((name, "rollback")), &Method::POST) => (name, Wish::Rollback),
        _ => return None,
    };
    Some((percent_decode_str(name).decode_utf8().ok()?, wish))
}

/// The filter whose page is at a path.
pub(super) fn named(path: &str) -> Option<Cow<'_, str>> {
    let name = path.strip_prefix("/filters/").filter(|name| !name.contains('/'))?;
    percent_decode_str(name).decode_utf8().ok()
}

/// Fulfils a wish.
pub(super) async fn run(
    admin: &Arc<Admin>,
    (name, wish): (String, Wish),
    query: &str,
    request: Request<Incoming>,
    who: String,
) -> Answer {
    let parameters = match Parameters::read(query) {
        Ok(parameters) => parameters,
        Err(error) => return bad(error),
    };
    let version = if wish == Wish::Load {
        // Two at a time are enough, and bound what they hold.
        let Ok(_turn) = admin.uploads.acquire().await else { return bad("the process ends".to_owned()) };
        match upload(request).await {
            Ok(upload) => Some(upload),
            Err(answer) => return answer,
        }
    } else {
        None
    };
    change(admin, (name, wish), parameters, version, who).await
}

/// Fulfils a wish of somebody whose module, if there is one, has arrived.
pub(super) async fn change(
    admin: &Arc<Admin>,
    (name, wish): (String, Wish),
    parameters: Parameters,
    version: Option<Upload>,
    who: String,
) -> Answer {
    let dry_run = parameters.dry_run;
    let keeper = Arc::clone(&admin.keeper);
    let changed = keeper::aside(move || {
        let what = parameters.what(&wish, &name, version.as_ref());
        keeper.change_filter(&who, &what, dry_run, |overlay, written| match &wish {
            Wish::Promote => overlay.promote(written, &name),
            Wish::Abort => overlay.abort(written, &name),
            Wish::Rollback => overlay.take_back(written, &name),
            Wish::Remove => overlay.remove(written, &name),
            Wish::Load => {
                let now = overlay.apply(written);
                let version =
                    version.unwrap_or_default().version(now.filters.get(&name).map(|filter| &filter.module))?;
                match parameters.trial(version.clone()) {
                    Some(trial) => overlay.try_out(written, &name, trial),
                    None => overlay.load(written, &name, version, parameters.place),
                }
            }
        })
    });
    match changed.await {
        Ok(Ok(Changed::Did(done))) => applied(Ok(done), "applied"),
        Ok(Ok(Changed::Would(changes))) => (StatusCode::OK, json!({ "outcome": "dry_run", "changes": changes })),
        Ok(Err(FilterError::Refused(report))) => refused(&report),
        Ok(Err(FilterError::Impossible(error))) => {
            let status = match error {
                ChangeError::Unknown(_) => StatusCode::NOT_FOUND,
                ChangeError::Conflict(_) => StatusCode::CONFLICT,
                ChangeError::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            };
            (status, json!({ "error": error.to_string() }))
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, json!({ "error": error.to_string() })),
    }
}

fn bad(error: String) -> Answer {
    (StatusCode::BAD_REQUEST, json!({ "error": error }))
}

/// What a body brings.
#[derive(Debug, Default)]
pub(super) struct Upload {
    module: Option<ModuleSource>,
    configuration: Option<Vec<u8>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    wasm: Option<String>,
    #[serde(default)]
    module: Option<String>,
    #[serde(default)]
    config: Option<Value>,
    #[serde(default)]
    signature: Option<String>,
}

impl Upload {
    /// What is filled in on the dashboard.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub(super) fn filled_in(load: Load) -> Result<Self, String> {
        let module = match load.module {
            Some(Module::Named(source)) => Some(builtin(&source).map_err(|error| format!("{error} into the file"))?),
            Some(Module::Uploaded(bytes)) => Some(wasm(bytes.into(), None)?),
            None => None,
        };
        Ok(Self { module, configuration: load.configuration.map(String::into_bytes) })
    }

    /// The version that it makes of a filter that has this module.
    fn version(self, now: Option<&ModuleSource>) -> Result<Version, ChangeError> {
        let module = self.module.or_else(|| now.cloned());
        let Some(module) = module else { return Err(ChangeError::Invalid("a module is missing".to_owned())) };
        Ok(Version { module, configuration: self.configuration })
    }
}

/// A whole body of at most so many bytes.
///
/// # Errors
/// 400 when it breaks off, 408 when it takes too long, 413 when it is larger.
pub(super) async fn received(body: Incoming, most: usize) -> Result<Bytes, Answer> {
    let too_large = || {
        let error = format!("an upload may have {most} bytes");
        (StatusCode::PAYLOAD_TOO_LARGE, json!({ "error": error }))
    };
    // What is announced need not be sent.
    if body.size_hint().lower() > most as u64 {
        return Err(too_large());
    }
    match tokio::time::timeout(PATIENCE, Limited::new(body, most).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(bad(format!("the upload broke off: {error}"))),
        Err(_) => Err((StatusCode::REQUEST_TIMEOUT, json!({ "error": "the upload took too long" }))),
    }
}

async fn upload(request: Request<Incoming>) -> Result<Upload, Answer> {
    let is_json = is_json(request.headers());
    let mut signature = request.headers().get(SIGNATURE).map(|value| value.as_bytes().to_vec());
    let most = if is_json { BODY } else { MODULE };
    let body = received(request.into_body(), most).await?;
    let invalid = |error: String| (StatusCode::UNPROCESSABLE_ENTITY, json!({ "error": error }));
    if !is_json {
        return Ok(Upload { module: Some(wasm(body, signature).map_err(invalid)?), configuration: None });
    }
    let written: Written =
        serde_json::from_slice(&body).map_err(|error| bad(format!("the body is not as it should be: {error}")))?;
    let module = match (written.wasm, written.module) {
        (Some(_), Some(_)) => return Err(invalid("either `wasm` or `module`, not both".to_owned())),
        (Some(encoded), None) => {
            let bytes = BASE64.decode(encoded.as_bytes());
            let bytes = bytes.map_err(|error| invalid(format!("`wasm` is not base64: {error}")))?;
            signature = written.signature.map(String::into_bytes).or(signature);
            Some(wasm(bytes.into(), signature).map_err(invalid)?)
        }
        (None, Some(source)) => {
            let module = builtin(&source).map_err(|error| invalid(format!("{error} into `wasm`")))?;
            Some(module)
        }
        (None, None) => None,
    };
    let configuration = written.config.map(|config| match config {
        Value::Null => Vec::new(),
        Value::String(text) => text.into_bytes(),
        config => config.to_string().into_bytes(),
    });
    Ok(Upload { module, configuration })
}

fn builtin(source: &str) -> Result<ModuleSource, String> {
    let name = source.strip_prefix("builtin:");
    let name = name.ok_or_else(|| "`module` is builtin:NAME; the bytes of any other go".to_owned())?;
    Ok(ModuleSource::Builtin(name.to_owned()))
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

fn wasm(bytes: Bytes, signature: Option<Vec<u8>>) -> Result<ModuleSource, String> {
    if !bytes.starts_with(b"\0asm") {
        return Err("that is not a WebAssembly module: it does not begin with \\0asm".to_owned());
    }
    Ok(ModuleSource::Loaded(Loaded { sha256: source::digest(&bytes), signature, bytes }))
}

/// What a query says.
#[derive(Debug, Default)]
pub(super) struct Parameters {
    dry_run: bool,
    share: Option<f64>,
    min_streams: Option<u64>,
    rollback_on: RollbackOn,
    place: Option<Place>,
}

impl Parameters {
    /// What is filled in on the dashboard.
    pub(super) fn filled_in(load: &Load) -> Self {
        Self { share: load.canary, min_streams: load.min_streams, ..Self::default() }
    }

    fn read(query: &str) -> Result<Self, String> {
        let mut parameters = Self::default();
        let (mut listener, mut before) = (None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decode_str(value).decode_utf8_lossy().into_owned();
            let on = &mut parameters.rollback_on;
            match key {
                "dry_run" => {
                    parameters.dry_run = value.parse().map_err(|_| "`dry_run` is true or false".to_owned())?;
                }
                "canary" => parameters.share = Some(percent(key, &value)?),
                "min_streams" => {
                    let number = value.parse().ok().filter(|number| *number > 0);
                    parameters.min_streams =
                        Some(number.ok_or_else(|| format!("`min_streams` is no number: {value}"))?);
                }
                "traps" => on.traps = percent(key, &value)?,
                "errors" => on.errors = percent(key, &value)?,
                "latency" => {
                    let increase: Increase = serde_json::from_value(value.trim().replacen(' ', "+", 1).into())
                        .map_err(|error| format!("`latency`: {error}"))?;
                    on.latency = Some(increase.0 / 100.0);
                }
                "listener" => listener = Some(value),
                "before" => before = Some(value),
                _ => return Err(format!("there is no parameter `{key}`")),
            }
        }
        parameters.place = match (listener, before) {
            (Some(listener), before) => Some(Place { listener, before }),
            (None, Some(_)) => return Err("`before` needs a `listener`".to_owned()),
            (None, None) => None,
        };
        Ok(parameters)
    }

    fn trial(&self, version: Version) -> Option<Trial> {
        Some(Trial {
            version,
            share: self.share?,
            min_streams: self.min_streams.unwrap_or(u64::from(MIN_STREAMS)),
            rollback_on: self.rollback_on,
        })
    }

    /// For the audit log, in the words of the command line.
    fn what(&self, wish: &Wish, name: &str, upload: Option<&Upload>) -> String {
        let word = match wish {
            Wish::Load => "load",
            Wish::Promote => "promote",
            Wish::Abort => "abort",
            Wish::Rollback => "rollback",
            Wish::Remove => "remove",
        };
        let module = upload.and_then(|upload| upload.module.as_ref()).map(|module| format!(" {module}"));
        let canary = self.share.map(|share| format!(" --canary {}%", share * 100.0));
        format!("filter {word} {name}{}{}", module.unwrap_or_default(), canary.unwrap_or_default())
    }
}

/// `5%`, or as a bare number `5`.
fn percent(key: &str, text: &str) -> Result<f64, String> {
    let text = text.trim();
    let text = if text.ends_with('%') { text.to_owned() } else { format!("{text}%") };
    let percent: Percent = serde_json::from_value(text.into()).map_err(|error| format!("`{key}`: {error}"))?;
    Ok(percent.0 / 100.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_say_what_is_wanted_of_whom() {
        let known =
            |method: Method, path: &'static str| wish(&method, path).map(|(name, wish)| (name.into_owned(), wish));
        assert_eq!(known(Method::PUT, "/filters/a%2Fb"), Some(("a/b".to_owned(), Wish::Load)));
        assert_eq!(known(Method::DELETE, "/filters/f"), Some(("f".to_owned(), Wish::Remove)));
        assert_eq!(known(Method::POST, "/filters/f/promote"), Some(("f".to_owned(), Wish::Promote)));
        assert_eq!(named("/filters/a%2Fb").as_deref(), Some("a/b"));
        for path in ["/filters", "/filters/f/promote", "/filters//filters/f", "/filters/%ff", "/f"] {
            assert_eq!(named(path), None);
        }
        for (method, path) in [
            (Method::GET, "/filters/f"),
            (Method::POST, "/filters/f"),
            (Method::POST, "/filters/f/x"),
            (Method::PUT, "/x"),
        ] {
            assert_eq!(known(method, path), None);
        }
    }

    #[test]
    fn queries_have_units() {
        let read = Parameters::read("canary=5%25&traps=0.5&latency=+20%25&min_streams=7").unwrap();
        assert_eq!((read.share, read.min_streams), (Some(0.05), Some(7)));
        assert_eq!(read.rollback_on, RollbackOn { traps: 0.005, latency: Some(0.2), ..RollbackOn::default() });
        for wrong in ["canary=many", "min_streams=0", "before=x", "latency=20%25", "other=1"] {
            assert!(Parameters::read(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        /// Whatever a path is read as, the filter's name is all that is between two slashes, decoded once.
        #[test]
        fn a_path_names_one_filter_or_none(
            method in prop::sample::select(vec![Method::PUT, Method::DELETE, Method::POST, Method::GET, Method::PATCH]),
            path in prop_oneof![any::<String>(), "/filters/[a-z%/.0-9A-F]{0,12}", "/filters/[a-z%25]{0,6}/(promote|abort|rollback|x)?/?"],
        ) {
            let Some((name, wish)) = wish(&method, &path) else { return Ok(()) };
            let rest = path.strip_prefix("/filters/").unwrap();
            let (written, action) = rest.split_once('/').map_or((rest, None), |(name, action)| (name, Some(action)));
            prop_assert_eq!(name.as_bytes(), percent_decode_str(written).collect::<Vec<u8>>());
            let expected = match (method.as_str(), action) {
                ("PUT", None) => Wish::Load,
                ("DELETE", None) => Wish::Remove,
                ("POST", Some("promote")) => Wish::Promote,
                ("POST", Some("abort")) => Wish::Abort,
                ("POST", Some("rollback")) => Wish::Rollback,
                other => return Err(TestCaseError::fail(format!("{other:?} changes {path}"))),
            };
            prop_assert_eq!(wish, expected);
        }

        /// What is accepted can be acted on: shares between none and all, times that are numbers, nothing that is not known.
        #[test]
        fn a_query_of_any_kind_is_refused_or_within_bounds(
            query in prop_oneof![
                any::<String>(),
                "((canary|traps|errors|latency|min_streams|dry_run|listener|before|other)=?(-|\\+|%2B)?[0-9]{0,20}\\.?[0-9]{0,3}(%25|%|e[0-9]{1,4})?&?){0,4}",
                "(canary|traps|errors|latency|min_streams)=(\\+| |-)?(nan|NaN|inf|infinity|1e999|1e-999|0x1|)(%25|%)?",
            ],
        ) {
            let Ok(read) = Parameters::read(&query) else { return Ok(()) };
            let is_share = |share: f64| (0.0..=1.0).contains(&share);
            prop_assert!(read.share.is_none_or(is_share), "{query}");
            prop_assert!(is_share(read.rollback_on.traps) && is_share(read.rollback_on.errors), "{query}");
            prop_assert!(read.rollback_on.latency.is_none_or(|latency| latency.is_finite() && latency >= 0.0), "{query}");
            prop_assert!(read.min_streams.is_none_or(|number| number > 0));
            let known = ["dry_run", "canary", "min_streams", "traps", "errors", "latency", "listener", "before"];
            for pair in query.split('&').filter(|pair| !pair.is_empty()) {
                prop_assert!(known.contains(&pair.split('=').next().unwrap()), "{pair}");
            }
        }

        #[test]
        fn only_what_begins_as_a_module_is_taken_for_one(bytes in any::<Vec<u8>>(), is_one in any::<bool>()) {
            let bytes = if is_one { [b"\0asm", bytes.as_slice()].concat() } else { bytes };
            let begins = bytes.starts_with(b"\0asm");
            prop_assert_eq!(wasm(bytes.into(), None).is_ok(), begins);
        }
    }
}

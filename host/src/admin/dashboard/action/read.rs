//! From the body of a form to what is wanted. Nothing that is not understood is ignored.

use super::{Action, Load, Module, Posted, multipart};
use crate::admin::dashboard::link::Query;

/// Reads what a form has sent.
///
/// # Errors
/// Which field makes no sense, for people.
pub fn read(content_type: &str, body: &[u8]) -> Result<Posted, String> {
    let (fields, module) = match multipart::boundary(content_type) {
        Some(boundary) => multipart::read(boundary, body)?,
        None => (fields(content_type, body)?, None),
    };
    let value = |key| fields.value(key);
    let needed = |key: &'static str| match value(key) {
        "" => Err(format!("`{key}` is missing")),
        value => Ok(value.to_owned()),
    };
    let action = match value("action") {
        "drain" => Action::Drain { cluster: needed("cluster")?, address: needed("address")? },
        "restore" => Action::Restore { cluster: needed("cluster")?, address: needed("address")? },
        "weight" => {
            let weight =
                value("weight").parse::<u16>().map_err(|_| "`weight` is a number from 0 to 65535".to_owned())?;
            Action::Weight { cluster: needed("cluster")?, address: needed("address")?, weight: weight.into() }
        }
        "reload" => Action::Reload,
        "rollback" => {
            let to = match value("to") {
                "" => None,
                to => Some(to.parse().map_err(|_| "`to` is the number of a generation".to_owned())?),
            };
            Action::Rollback { to }
        }
        "load" => Action::Load { filter: needed("filter")?, load: load(&fields, module)? },
        "promote" => Action::Promote { filter: needed("filter")? },
        "abort" => Action::Abort { filter: needed("filter")? },
        "take-back" => Action::TakeBack { filter: needed("filter")? },
        other => return Err(format!("there is no action `{other}`")),
    };
    Ok(Posted { csrf: value("csrf").to_owned(), is_confirmed: value("confirmed") == "yes", action })
}

/// The token of a form that signs in.
///
/// # Errors
/// It is no form.
pub fn sign_in(content_type: &str, body: &[u8]) -> Result<String, String> {
    fields(content_type, body).map(|fields| fields.value("token").trim().to_owned())
}

fn fields(content_type: &str, body: &[u8]) -> Result<Query, String> {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err("a form is application/x-www-form-urlencoded or multipart/form-data".to_owned());
    }
    let text = std::str::from_utf8(body).map_err(|_| "a form is text".to_owned())?;
    Ok(Query::read(text))
}

fn load(fields: &Query, uploaded: Option<Vec<u8>>) -> Result<Load, String> {
    let named = fields.value("module").trim();
    let module = match (uploaded.filter(|bytes| !bytes.is_empty()), named) {
        (Some(_), named) if !named.is_empty() => {
            return Err("either a module's name or a file, not both".to_owned());
        }
        (Some(bytes), _) if bytes.starts_with(b"\0asm") => Some(Module::Uploaded(bytes)),
        (Some(_), _) => return Err("the file is no WebAssembly module: it does not begin with \\0asm".to_owned()),
        (None, "") => None,
        (None, named) => Some(Module::Named(named.to_owned())),
    };
    let configuration = Some(fields.value("configuration")).filter(|text| !text.trim().is_empty()).map(str::to_owned);
    let canary = match fields.value("canary").trim().trim_end_matches('%').trim() {
        "" => None,
        percent => {
            let percent = percent.parse::<f64>().ok().filter(|percent| *percent > 0.0 && *percent < 100.0);
            Some(percent.ok_or_else(|| "a canary gets more than 0% and less than 100%".to_owned())? / 100.0)
        }
    };
    let min_streams = match fields.value("min_streams").trim() {
        "" => None,
        number => {
            let number = number.parse().ok().filter(|number| *number > 0);
            Some(number.ok_or_else(|| "`min_streams` is a number above 0".to_owned())?)
        }
    };
    if module.is_none() && configuration.is_none() {
        return Err("neither a module nor a configuration is given".to_owned());
    }
    Ok(Load { module, configuration, canary, min_streams })
}

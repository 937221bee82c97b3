//! Forms, and what to say when they have been carried out.

use serde_json::json;

use super::Response;
use crate::admin::dashboard::{
    action::{self, Action},
    link::{self, Query},
    model::Viewer,
    page::{self, Context, Message},
    session,
    source::Source,
};

/// A `POST`. The host has refused those of other origins already.
#[derive(Debug, Clone, Copy)]
pub struct Post<'a> {
    /// Its path.
    pub path: &'a str,
    /// Value of `content-type`.
    pub content_type: &'a str,
    /// Value of `accept`: our script asks for JSON.
    pub accept: &'a str,
    /// The body, at most [`action::most`] bytes.
    pub body: &'a [u8],
    /// Who sends it.
    pub viewer: &'a Viewer,
}

/// What a form wants of the host.
#[derive(Debug, Clone, PartialEq)]
pub enum Wish {
    /// Carry this out, then [`done`].
    Act(Action),
    /// Check this token, then [`signed_in`].
    SignIn {
        /// The token.
        token: String,
        /// Where to go afterwards.
        to: String,
    },
    /// End the session, then [`signed_out`].
    SignOut,
}

/// Why the host did not carry something out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// HTTP status: 409, 422, 429 ...
    pub status: u16,
    /// Why, in one sentence.
    pub text: String,
    /// The whole report; empty: there is none.
    pub report: String,
}

impl Post<'_> {
    fn wants_json(&self) -> bool {
        self.accept.contains("application/json")
    }
}

/// Reads a form.
///
/// # Errors
/// The answer when there is nothing to carry out: 400 for what makes no sense, 403 without the right secret, 404 for other
/// paths, or the question whether somebody is sure.
pub fn post(post: &Post<'_>, source: &dyn Source) -> Result<Wish, Response> {
    let refuse = |status, text: String| {
        Err(refusal(post.viewer, post.wants_json(), source, &Refused { status, text, report: String::new() }, ""))
    };
    match post.path {
        action::SIGN_IN => match action::sign_in(post.content_type, post.body) {
            Ok(token) => {
                let fields = Query::read(std::str::from_utf8(post.body).unwrap_or_default());
                let to = fields.value("to");
                let to = if link::is_own(to) { to.to_owned() } else { link::page("") };
                Ok(Wish::SignIn { token, to })
            }
            Err(error) => refuse(400, error),
        },
        action::SIGN_OUT => {
            let fields = Query::read(std::str::from_utf8(post.body).unwrap_or_default());
            if is_genuine(post.viewer, fields.value("csrf")) {
                Ok(Wish::SignOut)
            } else {
                refuse(403, FOREIGN.to_owned())
            }
        }
        action::PATH => {
            let posted = match action::read(post.content_type, post.body) {
                Ok(posted) => posted,
                Err(error) => return refuse(400, error),
            };
            if post.viewer.csrf.is_none() {
                let how = if post.viewer.signs_in { "Sign in to change something." } else { "You may only look." };
                return refuse(403, how.to_owned());
            }
            if !is_genuine(post.viewer, &posted.csrf) {
                return refuse(403, FOREIGN.to_owned());
            }
            // Our script has asked already.
            if posted.action.wants_confirmation() && !posted.is_confirmed {
                let query = Query::default();
                let context = Context { source, query: &query, viewer: post.viewer, now: source.now() };
                let page = page::confirm(&context, &posted.action);
                return Err(Response::html(200, page::framed(&page, &context, &posted.action.page())));
            }
            Ok(Wish::Act(posted.action))
        }
        _ => refuse(404, "There is no such form.".to_owned()),
    }
}

const FOREIGN: &str = "This form is too old, or another page has sent it. Go back, reload the page, and try again.";

fn is_genuine(viewer: &Viewer, csrf: &str) -> bool {
    viewer.csrf.as_deref().is_some_and(|own| !own.is_empty() && session::is_same(own, csrf))
}

/// The answer when an action has been carried out, or has not. `accept` and `viewer` are those of the [`Post`].
#[must_use]
pub fn done(
    action: &Action,
    outcome: Result<(), Refused>,
    accept: &str,
    viewer: &Viewer,
    source: &dyn Source,
) -> Response {
    let wants_json = accept.contains("application/json");
    match outcome {
        Ok(()) if wants_json => json_response(200, &action.done(), ""),
        // A reload of the page that follows does not send the form again.
        Ok(()) => see(&action.page(), action.word()),
        Err(refused) => refusal(viewer, wants_json, source, &refused, &action.page()),
    }
}

fn json_response(status: u16, text: &str, report: &str) -> Response {
    let body = json!({ "ok": status < 400, "text": text, "report": report }).to_string();
    Response::fresh(status, "application/json", body.into_bytes())
}

fn see(page: &str, done: &str) -> Response {
    let (path, query) = page.split_once('?').unwrap_or((page, ""));
    let to = format!("{path}{}", Query::read(query).with("done", done));
    Response::fresh(303, "", &b""[..]).with("location", to)
}

fn refusal(viewer: &Viewer, wants_json: bool, source: &dyn Source, refused: &Refused, back: &str) -> Response {
    let status = refused.status.clamp(400, 599);
    if wants_json {
        return json_response(status, &refused.text, &refused.report);
    }
    let query = Query::default();
    let context = Context { source, query: &query, viewer, now: source.now() };
    let message = Message {
        title: "Not done".to_owned(),
        text: refused.text.clone(),
        report: refused.report.clone(),
        back: back.to_owned(),
        is_good: false,
    };
    Response::html(status, page::framed(&page::message(&message), &context, &link::page("")))
}

/// The answer to a token: on to a page with the cookie of [`session::Sessions::open`], or the form once more.
#[must_use]
pub fn signed_in(cookie: Option<String>, to: &str, viewer: &Viewer, source: &dyn Source) -> Response {
    if let Some(cookie) = cookie {
        let to = if link::is_own(to) { to.to_owned() } else { link::page("") };
        return Response::fresh(303, "", &b""[..]).with("location", to).with("set-cookie", cookie);
    }
    let query = Query::of(vec![("to".to_owned(), to.to_owned())]);
    let context = Context { source, query: &query, viewer, now: source.now() };
    let page = page::sign_in(&context, Some("This is not the token"));
    Response::html(403, page::framed(&page, &context, &link::page("sign-in")))
}

/// The answer to signing out, with the cookie of [`session::Sessions::close`].
#[must_use]
pub fn signed_out(cookie: String) -> Response {
    Response::fresh(303, "", &b""[..]).with("location", link::page("")).with("set-cookie", cookie)
}

//! Commands that are answered here, because they are about the connection and not about data.
//!
//! - `hello` and its older names: the client must see the persona, never a server.
//! - `saslStart`, `saslContinue`, `authenticate`, `logout`: upstream connections are authenticated already and shared; one
//!   client's credential on one of them would be every other client's.
//! - `getLastError` and its kin, `getnonce`: they speak about what was last done on a connection, or prepare what is next
//!   done on it; over shared connections that is somebody else's.
//!
//! OP_QUERY is taken for these only: no server since 5.1 takes it for anything else, with the same errors.

use super::{Environment, Exchange, Request};
use crate::pool::errors::{Code, ErrorReply, Form};
use crate::pool::hello::{HelloContext, HelloName, HelloRequest};
use crate::pool::login::{ClientAuth, Users};

/// What a command is to this module.
enum Local {
    Hello(HelloName),
    Login,
    /// Its answer would be about another client.
    OfTheConnection,
}

/// Whether a command is answered here.
pub(super) fn is_local(name: &str) -> bool {
    local(name).is_some()
}

fn local(name: &str) -> Option<Local> {
    match name {
        "saslStart" | "saslContinue" | "authenticate" | "logout" => Some(Local::Login),
        "getLastError" | "getlasterror" | "getPrevError" | "getpreverror" | "resetError" | "reseterror"
        | "getnonce" | "copydbgetnonce" | "copydbsaslstart" => Some(Local::OfTheConnection),
        _ => HelloName::of_command(name).map(Local::Hello),
    }
}

impl Exchange {
    /// The answer to a command that does not go upstream: a document, or an error. None for all others.
    pub(super) fn local<S, U: Users>(
        &mut self,
        request: &Request<'_>,
        environment: &mut Environment<'_, S, U>,
    ) -> Option<Result<Vec<u8>, ErrorReply>> {
        let name = request.command.name;
        if request.form == Form::QueryFind {
            let message = "OP_QUERY is no longer supported. The client driver may require an upgrade.";
            return Some(Err(ErrorReply::new(Code::UNSUPPORTED_OP_QUERY, message)));
        }
        match local(name) {
            Some(Local::Hello(name)) => Some(self.hello(name, request, environment)),
            Some(Local::Login) => {
                let auth = environment.settings.auth;
                let database = request.command.database;
                Some(self.login.command(auth, name, database, request.document, environment.users))
            }
            Some(Local::OfTheConnection) => Some(Err(ErrorReply::new(
                Code::COMMAND_NOT_SUPPORTED,
                format!(
                    "{name} is about one connection, and behind this proxy operations share connections: use write concerns"
                ),
            ))),
            None if environment.settings.auth == ClientAuth::Scram && self.login.identity().is_none() => {
                Some(Err(ErrorReply::new(Code::UNAUTHORIZED, format!("Command {name} requires authentication"))))
            }
            None if request.form == Form::QueryCommand => Some(Err(ErrorReply::new(
                Code::UNSUPPORTED_OP_QUERY,
                format!("Unsupported OP_QUERY command: {name}. The client driver may require an upgrade."),
            ))),
            None => None,
        }
    }

    fn hello<S, U: Users>(
        &mut self,
        name: HelloName,
        request: &Request<'_>,
        environment: &mut Environment<'_, S, U>,
    ) -> Result<Vec<u8>, ErrorReply> {
        let settings = environment.settings;
        let Ok(hello) = HelloRequest::read(request.document) else {
            // Its name was read, so only its arguments are damaged; such a hello asks for nothing.
            return self.greet(&HelloRequest::plain(name), None, environment);
        };
        let speculative =
            hello.speculative.and_then(|start| self.login.speculative(settings.auth, start, environment.users));
        self.greet(&hello, speculative.as_deref(), environment)
    }

    fn greet<S, U>(
        &mut self,
        hello: &HelloRequest<'_>,
        speculative: Option<&[u8]>,
        environment: &Environment<'_, S, U>,
    ) -> Result<Vec<u8>, ErrorReply> {
        let settings = environment.settings;
        let context = HelloContext {
            limits: environment.fleet.limits(settings.limits),
            now: i64::try_from(environment.now).unwrap_or(i64::MAX),
            connection_id: self.connection_id,
            first: !self.greeted,
            speculative,
        };
        let answer = settings.hello.answer(hello, &context)?;
        self.greeted = true;
        Ok(answer)
    }
}

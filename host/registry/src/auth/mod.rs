//! Who may write what.
//!
//! A token is bound to a service, and so is a name in a client's certificate. Nothing is guessed from where a request comes from, save with
//! `open`, which the server accepts on loopback addresses only.

mod identity;
mod tokens;

use std::{path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use http::{HeaderMap, header};

use crate::{
    error::{Reason, Refusal, ServeError},
    host::ServiceName,
    settings::Settings,
};

pub(crate) use identity::Identity;
pub(crate) use tokens::Tokens;

use tokens::Known;

/// Decides.
#[derive(Debug)]
pub(crate) struct Access {
    open: bool,
    read_tokens: bool,
    names: Vec<String>,
    file: Option<PathBuf>,
    tokens: ArcSwap<Tokens>,
}

impl Access {
    /// Reads the tokens file, where there is one.
    pub(crate) async fn new(settings: &Settings) -> Result<Self, ServeError> {
        let tokens = match &settings.tokens_file {
            Some(path) => {
                let text =
                    crate::files::read(path, Tokens::FILE).await.map_err(|error| ServeError::file(path, error))?;
                Tokens::read(&text).map_err(|problem| ServeError::file(path, problem))?
            }
            None => Tokens::default(),
        };
        let names = settings.tls.as_ref().filter(|tls| tls.client_ca.is_some()).map(|tls| tls.names.clone());
        Ok(Self {
            open: settings.open,
            read_tokens: settings.read_tokens,
            names: names.unwrap_or_default(),
            file: settings.tokens_file.clone(),
            tokens: ArcSwap::from_pointee(tokens),
        })
    }

    /// Reads the tokens file again and uses it if it is another one.
    ///
    /// # Errors
    /// It cannot be used; the tokens are what they were.
    pub(crate) async fn refresh(&self) -> Result<(), ServeError> {
        let Some(path) = &self.file else { return Ok(()) };
        let text = crate::files::read(path, Tokens::FILE).await.map_err(|error| ServeError::file(path, error))?;
        if self.tokens.load().is_of(&text) {
            return Ok(());
        }
        let tokens = Tokens::read(&text).map_err(|problem| ServeError::file(path, problem))?;
        tracing::info!(path = %path.display(), services = tokens.services(), "tokens were read again");
        self.tokens.store(Arc::new(tokens));
        Ok(())
    }

    /// Whether a request may change this service.
    pub(crate) fn write(&self, service: &ServiceName, headers: &HeaderMap, peer: &Identity) -> Result<(), Refusal> {
        if self.open {
            // A page in a browser on this machine reaches loopback, too, and says where it is from.
            if headers.contains_key(header::ORIGIN) {
                return Err(Refusal::new(
                    Reason::Forbidden,
                    "pages in browsers may not write while the registry is open",
                ));
            }
            return Ok(());
        }
        if peer.names(service, &self.names) {
            return Ok(());
        }
        match self.known(headers, Some(service))? {
            Known::Service => Ok(()),
            Known::Other | Known::Reader => {
                Err(Refusal::new(Reason::Forbidden, format!("this token is not one of service {service}")))
            }
            Known::Nobody if peer.is_some() => Err(Refusal::new(
                Reason::Forbidden,
                format!("the client's certificate does not name service {service}"),
            )),
            Known::Nobody => Err(unknown(headers)),
        }
    }

    /// Whether a request may see this service; without one, whether it may see all of them.
    pub(crate) fn read(
        &self,
        service: Option<&ServiceName>,
        headers: &HeaderMap,
        peer: &Identity,
    ) -> Result<(), Refusal> {
        if !self.read_tokens || service.is_some_and(|service| peer.names(service, &self.names)) {
            return Ok(());
        }
        match self.known(headers, service)? {
            Known::Service | Known::Reader => Ok(()),
            Known::Other => Err(Refusal::new(Reason::Forbidden, "this token is one of another service")),
            Known::Nobody => Err(unknown(headers)),
        }
    }

    fn known(&self, headers: &HeaderMap, service: Option<&ServiceName>) -> Result<Known, Refusal> {
        let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(Known::Nobody) };
        let text = value.to_str().unwrap_or_default().trim();
        // The scheme's case does not matter (RFC 9110, section 11.1).
        match text.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
                Ok(self.tokens.load().known(token.trim_start(), service))
            }
            _ => Err(Refusal::new(Reason::Unauthenticated, "authorization must be `Bearer TOKEN`")),
        }
    }
}

fn unknown(headers: &HeaderMap) -> Refusal {
    let message = if headers.contains_key(header::AUTHORIZATION) {
        "nobody knows this token"
    } else {
        "needs `authorization: Bearer TOKEN` with a token of the service"
    };
    Refusal::new(Reason::Unauthenticated, message)
}

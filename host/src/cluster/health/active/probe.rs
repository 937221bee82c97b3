//! Asks one host once, in whatever protocol the settings say.
//!
//! A probe owns at most one connection, idle between checks. It is taken out for a check and put back only when that
//! came to a clean end, so a check that is given up (timeout, cancellation) closes what it used.

use std::sync::Arc;

use tokio::time::timeout;

use super::{
    Connect, Failure, FailureKind, HttpProtocol, Kind, Settings, Verdict, agent, grpc, http,
    http_session::HttpSession,
    mongo, raw,
    raw::{Afterwards, Asked},
    redis, tcp,
};

/// Asks one host, again and again.
#[derive(Debug)]
pub struct Probe<C: Connect> {
    connect: C,
    settings: Arc<Settings>,
    idle: Option<Session<C::Io>>,
    stage: Stage,
}

#[derive(Debug)]
enum Session<I> {
    Raw(I),
    Http(HttpSession),
}

/// How far a check has come; told when its time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connecting,
    Asking,
}

impl<C: Connect> Probe<C> {
    /// A probe without a connection.
    #[must_use]
    pub fn new(connect: C, settings: Arc<Settings>) -> Self {
        Self { connect, settings, idle: None, stage: Stage::Connecting }
    }

    /// Asks once. Answers within [`Settings::timeout`], which covers all of it.
    ///
    /// Cancel-safe: dropped early, it closes its connection, and the next check makes a new one.
    pub async fn check(&mut self) -> Verdict {
        self.stage = Stage::Connecting;
        let limit = self.settings.timeout;
        match timeout(limit, self.ask()).await {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(failure)) => Verdict::Failed(failure),
            Err(_) => Verdict::Failed(Failure::of(
                FailureKind::Timeout,
                match self.stage {
                    Stage::Connecting => format!("not connected within {limit:?}"),
                    Stage::Asking => format!("no answer within {limit:?}"),
                },
            )),
        }
    }

    async fn ask(&mut self) -> Result<Verdict, Failure> {
        if let Some(session) = self.reusable().await {
            match self.ask_over(session).await {
                // The host may have closed it while it was idle: that says nothing of its health.
                Err(failure) if failure.kind == FailureKind::Network => self.stage = Stage::Connecting,
                answer => return answer,
            }
        }
        let session = self.open().await?;
        self.ask_over(session).await
    }

    async fn reusable(&mut self) -> Option<Session<C::Io>> {
        match self.idle.take()? {
            Session::Raw(mut io) => raw::is_quiet(&mut io).await.then_some(Session::Raw(io)),
            Session::Http(session) => (!session.is_closed()).then_some(Session::Http(session)),
        }
    }

    async fn open(&mut self) -> Result<Session<C::Io>, Failure> {
        let io = self.connect.connect().await.map_err(|error| Failure::network(raw::io_words(&error)))?;
        self.stage = Stage::Asking;
        let protocol = match &self.settings.kind {
            Kind::Http(check) => check.protocol,
            Kind::Grpc(_) => HttpProtocol::Http2,
            Kind::Tcp(_) | Kind::Redis { .. } | Kind::Mongo | Kind::Agent(_) => return Ok(Session::Raw(io)),
        };
        HttpSession::open(io, protocol).await.map(Session::Http)
    }

    async fn ask_over(&mut self, mut session: Session<C::Io>) -> Result<Verdict, Failure> {
        self.stage = Stage::Asking;
        let Asked { verdict, afterwards } = match (&self.settings.kind, &mut session) {
            (Kind::Http(check), Session::Http(session)) => http::ask(check, session).await?,
            (Kind::Grpc(check), Session::Http(session)) => grpc::ask(check, session).await?,
            (Kind::Tcp(check), Session::Raw(io)) => tcp::ask(check, io).await?,
            (Kind::Redis { key }, Session::Raw(io)) => redis::ask(key.as_ref(), io).await?,
            (Kind::Mongo, Session::Raw(io)) => mongo::ask(io).await?,
            (Kind::Agent(check), Session::Raw(io)) => agent::ask(&check.send, io).await?,
            // `open` makes the session that the kind needs, and neither changes afterwards.
            (Kind::Http(_) | Kind::Grpc(_), Session::Raw(_)) | (_, Session::Http(_)) => {
                debug_assert!(false, "a session of another kind");
                return Err(Failure::network("the connection was made for another kind of check"));
            }
        };
        if afterwards == Afterwards::Keep && self.settings.reuse_connection {
            self.idle = Some(session);
        }
        Ok(verdict)
    }
}

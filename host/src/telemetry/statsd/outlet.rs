//! One flush on its way out: sends datagrams, counts what becomes of their lines, and says in the log what has changed.
//!
//! A datagram is tried once. After one failed, the rest of the flush is dropped: whatever the reason, the next would fail as
//! well, and the next flush is soon enough. A datagram that alone is too large is passed over.

use std::{io, mem, sync::Arc, time::Duration};

use tokio::{
    select,
    time::{Instant, sleep, sleep_until},
};
use tracing::{info, warn};

use super::{
    network::{Address, Environment, Network, Socket},
    resolver::Resolver,
    settings::Settings,
    statistics::{DropReason, FailureReason, Statistics},
};
use crate::telemetry::otlp::stop::Stop;

/// How long a socket may have no room for a datagram: a Unix socket whose server is busy, mostly.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many datagrams are sent before a pause, and how long that is. A server's socket holds about a hundred datagrams by
/// default (`net.core.rmem_default`); what comes faster than it reads is lost, and nobody is told.
const BURST: u32 = 32;
const PAUSE: Duration = Duration::from_millis(1);

pub(super) struct Outlet {
    pub(super) resolver: Resolver,
    network: Arc<dyn Network>,
    settings: Arc<Settings>,
    statistics: Arc<Statistics>,
    socket: Option<(Address, Box<dyn Socket>)>,
    flush: Flush,
    failing: bool,
}

/// What is known of the flush at hand.
struct Flush {
    deadline: Instant,
    sent: u32,
    /// The first failure, in words.
    failure: Option<(FailureReason, String)>,
    /// Why nothing more is sent.
    over: Option<DropReason>,
}

/// What is worth a line in the log.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    Lost(FailureReason, String),
    Found,
}

impl Outlet {
    pub(super) fn new(settings: Arc<Settings>, environment: &Environment, statistics: Arc<Statistics>) -> Self {
        let resolver = Resolver::new(&settings, environment, Arc::clone(&statistics));
        let flush = Flush { deadline: Instant::now(), sent: 0, failure: None, over: None };
        let network = Arc::clone(&environment.network);
        Self { resolver, network, settings, statistics, socket: None, flush, failing: false }
    }

    /// Begins a flush: there is a socket then, or all that comes is dropped.
    pub(super) fn begin(&mut self) {
        let deadline = Instant::now() + self.settings.interval.max(PATIENCE);
        self.flush = Flush { deadline, sent: 0, failure: None, over: None };
        if let Some((address, socket)) = self.socket.take() {
            match socket.take_error() {
                // What the network said of the last datagram of the flush before. Nothing of this flush is lost by it.
                Ok(Some(error)) | Err(error) => {
                    self.note(&error);
                    self.resolver.demote(&address);
                }
                Ok(None) if self.resolver.addresses().contains(&address) => self.socket = Some((address, socket)),
                Ok(None) => {}
            }
        }
        if self.socket.is_none() {
            self.open();
        }
    }

    fn open(&mut self) {
        for address in self.resolver.addresses() {
            match self.network.open(address) {
                Ok(socket) => {
                    self.socket = Some((address.clone(), socket));
                    return;
                }
                Err(error) => {
                    let reason = reason(&error);
                    self.statistics.count_failure(reason);
                    self.flush.failure.get_or_insert_with(|| (reason, error.to_string()));
                }
            }
        }
        if self.resolver.addresses().is_empty() {
            self.statistics.count_failure(FailureReason::Unknown);
            self.flush.failure = Some((FailureReason::Unknown, "its address is not known yet".to_owned()));
        }
        self.flush.over = Some(DropReason::Failed);
    }

    /// Sends a datagram of so many lines, or counts why not.
    pub(super) async fn send(&mut self, datagram: &[u8], lines: u64, stop: &Stop) {
        if let Some(reason) = self.flush.over {
            self.statistics.count_dropped(reason, lines);
            return;
        }
        let Some((_, socket)) = &self.socket else {
            debug_assert!(false, "a flush has a socket or is over");
            self.statistics.count_dropped(DropReason::Failed, lines);
            return;
        };
        let deadline = self.flush.deadline.min(Instant::now() + PATIENCE);
        let sent = select! {
            biased;
            () = stop.expired() => None,
            sent = socket.send(datagram) => Some(sent),
            () = sleep_until(deadline) => Some(Err(io::ErrorKind::TimedOut.into())),
        };
        match sent {
            Some(Ok(_)) => {
                self.statistics.count_sent(lines, datagram.len());
                self.flush.sent = self.flush.sent.saturating_add(1);
                if self.flush.sent.is_multiple_of(BURST) {
                    sleep(PAUSE).await;
                }
                return;
            }
            Some(Err(error)) => {
                self.statistics.count_dropped(DropReason::Failed, lines);
                if self.note(&error) == FailureReason::TooLarge {
                    return;
                }
                self.flush.over = Some(DropReason::Failed);
            }
            None => {
                self.statistics.count_dropped(DropReason::Shutdown, lines);
                self.flush.over = Some(DropReason::Shutdown);
            }
        }
        // The next flush opens another, and elsewhere if there is an elsewhere.
        if let Some((address, _)) = self.socket.take() {
            self.resolver.demote(&address);
        }
    }

    /// Ends a flush: the log hears of it where something has changed.
    pub(super) fn finish(&mut self) {
        self.statistics.count_flush();
        let change = self.change();
        let target = &self.settings.target;
        match change {
            Some(Change::Lost(reason, text)) => {
                let reason = reason.name();
                warn!(statsd = %target, reason, "the StatsD server cannot be sent to, its share of the numbers is lost: {text}");
            }
            Some(Change::Found) => info!(statsd = %target, "the StatsD server can be sent to again"),
            None => {}
        }
    }

    /// What the flush has shown that was otherwise before.
    fn change(&mut self) -> Option<Change> {
        match self.flush.failure.take() {
            Some((reason, text)) => (!mem::replace(&mut self.failing, true)).then_some(Change::Lost(reason, text)),
            // Without a datagram nothing is known.
            None if self.flush.sent > 0 => mem::replace(&mut self.failing, false).then_some(Change::Found),
            None => None,
        }
    }

    fn note(&mut self, error: &io::Error) -> FailureReason {
        let reason = reason(error);
        self.statistics.count_failure(reason);
        self.flush.failure.get_or_insert_with(|| (reason, error.to_string()));
        reason
    }
}

fn reason(error: &io::Error) -> FailureReason {
    use io::ErrorKind::{
        AddrNotAvailable, ConnectionRefused, ConnectionReset, HostUnreachable, NetworkDown, NetworkUnreachable,
        NotConnected, NotFound, PermissionDenied, TimedOut,
    };
    // EMSGSIZE, for which `ErrorKind` has no name.
    const MESSAGE_SIZE: i32 = if cfg!(target_os = "linux") { 90 } else { 40 };
    match error.kind() {
        ConnectionRefused | ConnectionReset | NotConnected | NotFound => FailureReason::Refused,
        AddrNotAvailable | HostUnreachable | NetworkDown | NetworkUnreachable | PermissionDenied => {
            FailureReason::Unreachable
        }
        TimedOut => FailureReason::Timeout,
        _ if error.raw_os_error() == Some(MESSAGE_SIZE) => FailureReason::TooLarge,
        _ => FailureReason::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{
        otlp::stop,
        statsd::testing::{Fake, Fate},
    };

    #[tokio::test(start_paused = true)]
    async fn only_a_change_is_worth_a_line_in_the_log() {
        let fake = Fake::new();
        let settings = Settings::new("127.0.0.1:1".parse().unwrap());
        let mut outlet = Outlet::new(Arc::new(settings), &fake.environment(), Arc::default());
        let (_stopper, stop) = stop::channel();
        let mut changes = Vec::new();
        for (fails, complains, sends) in [
            (false, false, true),
            (true, false, true),
            (true, false, true),
            (false, true, true),
            (false, false, false),
            (false, false, true),
            (false, false, true),
            (false, true, false),
        ] {
            fake.fates(fails.then_some(Fate::Fails(io::ErrorKind::HostUnreachable)));
            if complains {
                fake.complain(io::ErrorKind::ConnectionRefused);
                outlet.open();
            }
            outlet.begin();
            if sends {
                outlet.send(b"a:1|c", 1, &stop).await;
            }
            changes.push(match outlet.change() {
                None => '.',
                Some(Change::Found) => 'f',
                Some(Change::Lost(FailureReason::Unreachable, _)) => 'u',
                Some(Change::Lost(FailureReason::Refused, _)) => 'r',
                Some(Change::Lost(..)) => '?',
            });
        }
        assert_eq!(changes.iter().collect::<String>(), ".u...f.r");
    }
}

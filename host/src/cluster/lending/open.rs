//! Opens connections for those who wait.

use std::{pin::pin, rc::Rc, sync::Arc, time::Duration};

use tokio::time::timeout;

use super::{Ask, Kept, Reason, Refusal, line::PRIORITY};
use crate::cluster::{
    connect::{self, Asks},
    error::{ClusterError, Limit},
    health::outlier::Outcome,
    local::{LocalCluster, Open},
};

/// Connections that a worker opens at the same time (`maxConnecting` of MongoDB's drivers, which is 2): an endpoint that comes back is not
/// overrun by everybody who waits.
const MOST_OPENING: u32 = 2;
/// The longest pause before a connection is opened after one that could not be.
const PAUSE: Duration = Duration::from_millis(50);

/// A task that opens connections.
struct Opener(Rc<LocalCluster>);

impl Drop for Opener {
    fn drop(&mut self) {
        let openers = &self.0.lending.openers;
        openers.set(openers.get().saturating_sub(1));
    }
}

impl LocalCluster {
    /// Opens connections while there are some who wait for them.
    pub(super) fn open_lines(self: &Rc<Self>) {
        let openers = &self.lending.openers;
        if openers.get() >= MOST_OPENING {
            return;
        }
        openers.set(openers.get() + 1);
        let opener = Opener(Rc::clone(self));
        tokio::task::spawn_local(async move {
            let cluster = &opener.0;
            while let Some(ask) = cluster.next_to_open() {
                match cluster.open_line(&ask).await {
                    Ok(Some(line)) => cluster.offer(line),
                    // Nobody waits for it any more.
                    Ok(None) => {}
                    Err(refusal) => {
                        cluster.refuse(&ask, refusal);
                        tokio::time::sleep(PAUSE.mul_f64(fastrand::f64())).await;
                    }
                }
            }
        });
    }

    /// What the first asks for who waits and for whom nobody opens a connection.
    fn next_to_open(&self) -> Option<Ask> {
        let queue = self.lending.queue.borrow();
        let waiter = queue.iter().find(|waiter| !waiter.opening.replace(true))?;
        Some(waiter.ask.clone())
    }

    /// Whether somebody waits who would take what is being opened.
    fn is_wanted(&self, ask: &Ask) -> bool {
        self.lending.queue.borrow().iter().any(|waiter| waiter.ask.key == ask.key && waiter.opening.get())
    }

    /// Tells the one for whom a connection was to be opened, or another one who waits for such a connection.
    fn refuse(&self, ask: &Ask, refusal: Refusal) {
        let waiter = self.lending.queue.borrow_mut().take(|waiter| waiter.ask.key == ask.key && waiter.opening.get());
        if let Some(waiter) = waiter {
            // It may have left in this moment.
            let _ = waiter.reply.send(Err(refusal));
        }
    }

    async fn open_line(self: &Rc<Self>, ask: &Ask) -> Result<Option<Kept>, Refusal> {
        let settings = &self.shared.settings;
        let endpoint = self.pick(Some(&ask.choice))?;
        let share = match ask.most {
            Some(most) => match self.shared.shares.enter(&ask.key, most) {
                Some(slot) => Some(slot),
                None => {
                    let text = format!("all {most} connections of the share \"{}\" are in use", ask.key.share);
                    return Err(Refusal { reason: Reason::Full, text });
                }
            },
            None => None,
        };
        let permit = match Arc::clone(&self.breakers(PRIORITY).connections).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let mut permit = pin!(self.granted(PRIORITY));
                loop {
                    tokio::select! {
                        biased;
                        permit = &mut permit => break permit?,
                        () = self.lending.left.notified() => if !self.is_wanted(ask) { return Ok(None) },
                    }
                }
            }
        };
        let Some(room) = endpoint.room(self.breakers(PRIORITY).limits().connections_per_endpoint) else {
            return Err(self.overflow(PRIORITY, Limit::ConnectionsPerEndpoint, Duration::ZERO).into());
        };
        let open = Open::new(self, room, permit);
        let (address, limit) = (endpoint.address(), settings.connect_timeout);
        let connected = timeout(limit, connect::transport(settings, endpoint.settings(), Asks::default())).await;
        let connected = connected.unwrap_or(Err(ClusterError::ConnectTimeout { address, timeout: limit }));
        let (transport, ends) = connected.inspect_err(|error| self.not_connected(&endpoint, error))?;
        let prepared = timeout(limit, ask.prepare.prepare(transport, address, ends.clone())).await;
        let refused = |text: String| Refusal {
            reason: Reason::Handshake,
            text: format!("{address} was connected to, and the connection is not fit to be lent: {text}"),
        };
        let transport = prepared.unwrap_or_else(|_| Err(format!("it took longer than {limit:?}"))).map_err(refused)?;
        self.record(&endpoint, Outcome::LocalOriginSuccess);
        let key = Rc::clone(&ask.key);
        Ok(Some(Kept { transport, ends, endpoint, key, open, served: 0, since: 0, _share: share }))
    }
}

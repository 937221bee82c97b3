//! A network that does what a test tells it.

use std::{
    collections::VecDeque,
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    task::Context,
};

use tokio::sync::Notify;

use super::network::{Address, Environment, Later, Network, Socket};
use crate::telemetry::reading::{MetricReading, MetricValue, Number, UnixTime};

/// A network.
#[derive(Debug, Default)]
pub(super) struct Fake {
    answers: Mutex<VecDeque<Result<Vec<SocketAddr>, ()>>>,
    answered: Notify,
    lookups: AtomicUsize,
    wire: Arc<Wire>,
    me: std::sync::OnceLock<std::sync::Weak<Self>>,
}

/// What all sockets have in common.
#[derive(Debug, Default)]
pub(super) struct Wire {
    sent: Mutex<Vec<(Address, String)>>,
    /// What becomes of sends to come; those after them go well.
    fates: Mutex<VecDeque<Fate>>,
    pending: Mutex<Option<io::ErrorKind>>,
    refuses: Mutex<Vec<Address>>,
    opened: AtomicUsize,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Fate {
    Fails(io::ErrorKind),
    FailsBy(i32),
    Hangs,
}

#[derive(Debug)]
struct FakeSocket {
    address: Address,
    wire: Arc<Wire>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

impl Fake {
    pub(super) fn new() -> Arc<Self> {
        let fake = Arc::new(Self::default());
        fake.me.set(Arc::downgrade(&fake)).unwrap();
        fake
    }

    /// The first flush is half an interval away.
    pub(super) fn environment(self: &Arc<Self>) -> Environment {
        Environment { network: Arc::clone(self) as Arc<dyn Network>, random: || u32::MAX / 2 }
    }

    pub(super) fn answer(&self, addresses: &[&str]) {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        locked(&self.answers).push_back(Ok(addresses));
        self.answered.notify_one();
    }

    pub(super) fn fail_lookup(&self) {
        locked(&self.answers).push_back(Err(()));
        self.answered.notify_one();
    }

    pub(super) fn lookups(&self) -> usize {
        self.lookups.load(Ordering::SeqCst)
    }

    pub(super) fn opened(&self) -> usize {
        self.wire.opened.load(Ordering::SeqCst)
    }

    /// What becomes of the next sends.
    pub(super) fn fates(&self, fates: impl IntoIterator<Item = Fate>) {
        locked(&self.wire.fates).extend(fates);
    }

    /// What the network says of the last datagram.
    pub(super) fn complain(&self, kind: io::ErrorKind) {
        *locked(&self.wire.pending) = Some(kind);
    }

    /// Sockets to these cannot be opened.
    pub(super) fn refuse(&self, addresses: &[Address]) {
        *locked(&self.wire.refuses) = addresses.to_vec();
    }

    /// Datagrams since the last call, and where they went.
    pub(super) fn sent(&self) -> Vec<(Address, String)> {
        std::mem::take(&mut locked(&self.wire.sent))
    }

    /// Lines since the last call.
    pub(super) fn lines(&self) -> Vec<String> {
        self.sent().iter().flat_map(|(_, datagram)| datagram.lines().map(str::to_owned)).collect()
    }
}

impl Network for Fake {
    fn lookup(&self, _: &str, _: u16) -> Later<'static, Vec<SocketAddr>> {
        self.lookups.fetch_add(1, Ordering::SeqCst);
        let me = self.me.get().unwrap().upgrade().unwrap();
        Box::pin(async move {
            loop {
                if let Some(answer) = locked(&me.answers).pop_front() {
                    return answer.map_err(|()| io::ErrorKind::NotFound.into());
                }
                me.answered.notified().await;
            }
        })
    }

    fn open(&self, address: &Address) -> io::Result<Box<dyn Socket>> {
        self.wire.opened.fetch_add(1, Ordering::SeqCst);
        if locked(&self.wire.refuses).contains(address) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        Ok(Box::new(FakeSocket { address: address.clone(), wire: Arc::clone(&self.wire) }))
    }
}

impl Socket for FakeSocket {
    fn send<'a>(&'a self, datagram: &'a [u8]) -> Later<'a, usize> {
        Box::pin(async move {
            let fate = locked(&self.wire.fates).pop_front();
            match fate {
                Some(Fate::Fails(kind)) => Err(kind.into()),
                Some(Fate::FailsBy(code)) => Err(io::Error::from_raw_os_error(code)),
                Some(Fate::Hangs) => std::future::pending().await,
                None => {
                    let text = String::from_utf8(datagram.to_vec()).unwrap();
                    locked(&self.wire.sent).push((self.address.clone(), text));
                    Ok(datagram.len())
                }
            }
        })
    }

    fn take_error(&self) -> io::Result<Option<io::Error>> {
        Ok(locked(&self.wire.pending).take().map(io::Error::from))
    }
}

/// Whether a future is done, without a waker.
pub(super) fn poll_once<F: Future>(future: &mut Pin<Box<F>>) -> bool {
    future.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())).is_ready()
}

pub(super) fn reading(name: &str, value: MetricValue) -> MetricReading {
    MetricReading {
        name: name.to_owned().into(),
        help: "".into(),
        unit: "".into(),
        labels: Vec::new(),
        value,
        start: UnixTime(1),
        time: UnixTime(2),
        exemplars: Vec::new(),
    }
}

pub(super) fn counter(name: &str, number: impl Into<Number>) -> MetricReading {
    reading(name, MetricValue::Counter(number.into()))
}

pub(super) fn gauge(name: &str, number: impl Into<Number>) -> MetricReading {
    reading(name, MetricValue::Gauge(number.into()))
}

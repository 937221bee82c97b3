//! Clients that ask all the time, in phases, and remember what they were answered.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::support::{Conn, Proxy, eventually};

/// Between two requests of a client: others need the machine, too.
const PAUSE: Duration = Duration::from_millis(2);

/// One answer.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    /// Which of the clients.
    pub client: usize,
    /// Which of the proxies, or of the addresses.
    pub proxy: usize,
    /// What the header `x-number` of its request said: no other request has the same.
    pub number: usize,
    /// What the header `x-phase` of its request said.
    pub phase: usize,
    pub begun: Instant,
    pub took: Duration,
    pub status: u16,
}

/// Clients of some proxies, each with a connection of its own.
pub struct Pressure {
    phase: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    numbers: Arc<AtomicUsize>,
    answers: Arc<Mutex<Vec<Answer>>>,
    clients: JoinSet<()>,
}

impl Pressure {
    /// Begins with phase 0, with so many clients of each proxy.
    pub fn begin(proxies: &[&Proxy], clients: usize) -> Self {
        let addresses: Vec<_> = proxies.iter().map(|proxy| proxy.web()).collect();
        Self::on(&addresses, clients)
    }

    /// The same with clients of listeners.
    pub fn on(addresses: &[SocketAddr], clients: usize) -> Self {
        let (phase, stop, numbers, answers) = (Arc::default(), Arc::default(), Arc::default(), Arc::default());
        let mut pressure = Self { phase, stop, numbers, answers, clients: JoinSet::new() };
        for (number, address) in addresses.iter().enumerate() {
            for client in 0..clients {
                pressure.client(number * clients + client, number, *address);
            }
        }
        pressure
    }

    fn client(&mut self, client: usize, proxy: usize, address: SocketAddr) {
        let (phase, stop, answers) = (Arc::clone(&self.phase), Arc::clone(&self.stop), Arc::clone(&self.answers));
        let numbers = Arc::clone(&self.numbers);
        self.clients.spawn(async move {
            let mut conn = Conn::to(address).await;
            while !stop.load(Ordering::SeqCst) {
                let phase = phase.load(Ordering::SeqCst);
                let number = numbers.fetch_add(1, Ordering::SeqCst);
                let headers = format!("host: test.example\r\nx-phase: {phase}\r\nx-number: {number}\r\n");
                let begun = Instant::now();
                conn.send(format!("GET / HTTP/1.1\r\n{headers}\r\n")).await;
                let answer = conn.response("GET").await;
                let (took, status) = (begun.elapsed(), answer.status());
                answers.lock().unwrap().push(Answer { client, proxy, number, phase, begun, took, status });
                if answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
                    conn = Conn::to(address).await;
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
    }

    /// Begins another phase. Requests of the one before may still be under way.
    pub fn next(&self) -> usize {
        self.phase.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Waits until each client has so many answers of a phase: none of those before is under way then.
    pub async fn seen(&self, phase: usize, count: usize) {
        let clients = self.clients.len();
        eventually(format!("{count} answers for everybody in phase {phase}"), async || {
            let mut counts = BTreeMap::<usize, usize>::new();
            for answer in self.answers.lock().unwrap().iter().filter(|answer| answer.phase == phase) {
                *counts.entry(answer.client).or_default() += 1;
            }
            (counts.len() == clients && counts.values().all(|seen| *seen >= count)).then_some(())
        })
        .await;
    }

    /// Begins another phase, and waits until each client has so many answers of it.
    pub async fn round(&self, count: usize) -> usize {
        let phase = self.next();
        self.seen(phase, count).await;
        phase
    }

    /// The answers so far of requests of a phase.
    pub fn answers(&self, phase: usize) -> Vec<Answer> {
        self.answers.lock().unwrap().iter().copied().filter(|answer| answer.phase == phase).collect()
    }

    /// How many of them were let through.
    pub fn admitted(&self, phase: usize) -> usize {
        self.answers(phase).iter().filter(|answer| answer.status == 200).count()
    }

    /// All answers so far.
    pub fn all(&self) -> Vec<Answer> {
        self.answers.lock().unwrap().clone()
    }

    /// Ends all clients. All answers that there were.
    pub async fn end(mut self) -> Vec<Answer> {
        self.stop.store(true, Ordering::SeqCst);
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
        std::mem::take(&mut *self.answers.lock().unwrap())
    }
}

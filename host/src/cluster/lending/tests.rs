//! Borrowing among endpoints that differ: in their labels, and in how they fare.

use std::{collections::HashMap, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use futures_util::future::LocalBoxFuture;
use tokio::{
    sync::Semaphore,
    task::{JoinHandle, spawn_local},
    time::timeout,
};

use super::{Ask, Key, Lent, Prepare, Reason, Refusal};
use crate::{
    cluster::{
        Choice,
        connect::Ends,
        endpoint::Mark,
        local::LocalCluster,
        testing::{Server, eventually, local, on_a_worker, settled, shared},
    },
    config::resolved::Endpoint,
    transport::Transport,
};

/// Handshakes, which are over at once except where they are held.
#[derive(Default)]
struct Handshakes {
    held: HashMap<SocketAddr, (Arc<Semaphore>, Result<(), String>)>,
}

impl Handshakes {
    /// Holds those with an endpoint: each is over when there is a permit for it, and has this outcome.
    fn hold(&mut self, server: &Server, outcome: Result<(), &str>) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        self.held.insert(server.address, (Arc::clone(&gate), outcome.map_err(str::to_owned)));
        gate
    }
}

impl Prepare for Handshakes {
    fn prepare(
        &self,
        transport: Transport,
        address: SocketAddr,
        _: Ends,
    ) -> LocalBoxFuture<'static, Result<Transport, String>> {
        let held = self.held.get(&address).cloned();
        Box::pin(async move {
            if let Some((gate, outcome)) = held {
                gate.acquire().await.unwrap().forget();
                outcome?;
            }
            Ok(transport)
        })
    }
}

/// Clients of one filter.
struct Clients {
    cluster: Rc<LocalCluster>,
    handshakes: Rc<Handshakes>,
    key: Rc<Key>,
}

impl Clients {
    fn of(cluster: &Rc<LocalCluster>, handshakes: Handshakes) -> Self {
        let key = Rc::new(Key { owner: "filter".into(), identity: Box::default(), share: "".into() });
        Self { cluster: Rc::clone(cluster), handshakes: Rc::new(handshakes), key }
    }

    fn new(servers: &[Server], more: &str, handshakes: Handshakes) -> Self {
        let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
        Self::of(&local(&shared(&addresses, more, 1), 0), handshakes)
    }

    fn ask(&self, choice: Choice, timeout: Option<Duration>) -> JoinHandle<Result<Lent, Refusal>> {
        let (key, prepare) = (Rc::clone(&self.key), Rc::clone(&self.handshakes));
        let ask = Ask { key, choice, client: 0, most: None, timeout, prepare };
        let cluster = Rc::clone(&self.cluster);
        spawn_local(async move { cluster.borrow_line(ask).await })
    }

    /// Asks, and goes on when the request waits.
    async fn wait(&self, choice: Choice) -> JoinHandle<Result<Lent, Refusal>> {
        let before = self.waiting();
        let asked = self.ask(choice, Some(Duration::from_secs(8)));
        eventually("waits", || self.waiting() > before).await;
        asked
    }

    async fn borrow(&self, choice: Choice) -> Result<Lent, Refusal> {
        soon(self.ask(choice, None)).await
    }

    fn waiting(&self) -> i64 {
        self.cluster.metrics.pending.own()
    }

    fn label(&self, server: &Server, role: &str) {
        assert!(self.cluster.shared.set_label(server.address, "role", role));
    }
}

async fn soon(asked: JoinHandle<Result<Lent, Refusal>>) -> Result<Lent, Refusal> {
    timeout(Duration::from_secs(4), asked).await.expect("an answer").unwrap()
}

fn at(server: &Server) -> Choice {
    Choice { endpoint: Some(server.address), ..Choice::default() }
}

fn with_role(role: &str) -> Choice {
    Choice { labels: Some(Arc::from([("role".to_owned(), role.to_owned())])), ..Choice::default() }
}

#[track_caller]
fn reason(result: Result<Lent, Refusal>) -> Reason {
    result.err().expect("nothing is lent").reason
}

#[tokio::test]
async fn a_connection_by_label_leads_to_an_endpoint_that_has_it() {
    on_a_worker(async {
        let subsets = ["", "subsets: { keys: [[role]] }", "subsets: { keys: [[zone]], fallback: any }"];
        for more in subsets.into_iter().chain(["load_balancer: maglev", "circuit_breakers: { connections: 3 }"]) {
            let servers = Server::several::<3>().await;
            let clients = Clients::new(&servers, more, Handshakes::default());
            for (server, role) in servers.iter().zip(["secondary", "primary", "secondary"]) {
                clients.label(server, role);
            }
            // None is open, then there are idle ones to the others, too.
            let mut secondaries = Vec::new();
            for _ in 0..2 {
                let lent = clients.borrow(with_role("primary")).await.unwrap();
                assert_eq!(lent.address(), Some(servers[1].address), "{more}");
                secondaries.push(clients.borrow(with_role("secondary")).await.unwrap());
                assert_ne!(secondaries.last().unwrap().address(), Some(servers[1].address), "{more}");
                lent.give_back();
            }
            secondaries.into_iter().for_each(Lent::give_back);
            for _ in 0..20 {
                let lent = clients.borrow(with_role("primary")).await.unwrap();
                assert_eq!((lent.address(), lent.reused), (Some(servers[1].address), true), "{more}");
                lent.give_back();
            }
            assert_eq!(reason(clients.borrow(with_role("arbiter")).await), Reason::NoEndpoint, "{more}");
            // An election.
            clients.label(&servers[1], "secondary");
            assert_eq!(reason(clients.borrow(with_role("primary")).await), Reason::NoEndpoint, "{more}");
            clients.label(&servers[2], "primary");
            let lent = clients.borrow(with_role("primary")).await.unwrap();
            assert_eq!(lent.address(), Some(servers[2].address), "{more}");
        }
    })
    .await;
}

#[tokio::test]
async fn who_waits_for_one_endpoint_keeps_nobody_from_idle_connections_to_another() {
    on_a_worker(async {
        let servers = Server::several::<2>().await;
        let mut handshakes = Handshakes::default();
        let _never = handshakes.hold(&servers[1], Ok(()));
        let clients = Clients::new(&servers, "", handshakes);
        clients.borrow(at(&servers[0])).await.unwrap().give_back();
        let _waits = clients.wait(at(&servers[1])).await;
        let lent = clients.borrow(at(&servers[0])).await.unwrap();
        assert_eq!((lent.reused, servers[0].connections()), (true, 1));
    })
    .await;
}

#[tokio::test]
async fn a_failure_is_told_to_the_one_for_whom_a_connection_was_opened_and_to_nobody_else() {
    on_a_worker(async {
        let servers = Server::several::<2>().await;
        let mut handshakes = Handshakes::default();
        let well = handshakes.hold(&servers[0], Ok(()));
        let ill = handshakes.hold(&servers[1], Err("no"));
        let clients = Clients::new(&servers, "", handshakes);
        let impatient = clients.ask(at(&servers[1]), Some(Duration::from_millis(50)));
        assert_eq!(reason(soon(impatient).await), Reason::Timeout);
        let patient = clients.wait(at(&servers[0])).await;
        eventually("both are connected to", || servers.iter().all(|server| server.connections() == 1)).await;
        ill.add_permits(1);
        settled().await;
        well.add_permits(1);
        assert_eq!(soon(patient).await.unwrap().address(), Some(servers[0].address));
        // Who is still there is told.
        ill.add_permits(1);
        assert_eq!(reason(clients.borrow(at(&servers[1])).await), Reason::Handshake);
    })
    .await;
}

#[tokio::test]
async fn whose_connection_goes_to_somebody_else_gets_another_one() {
    on_a_worker(async {
        let servers = Server::several::<2>().await;
        let mut handshakes = Handshakes::default();
        let (first, second) = (handshakes.hold(&servers[0], Ok(())), handshakes.hold(&servers[1], Ok(())));
        let clients = Clients::new(&servers, "", handshakes);
        // The balancer sends it to the second one, and any would do.
        let any = clients.wait(Choice { avoid: vec![servers[0].address], ..Choice::default() }).await;
        let one = clients.wait(at(&servers[0])).await;
        eventually("both are connected to", || servers.iter().all(|server| server.connections() == 1)).await;
        first.add_permits(2);
        assert_eq!(soon(any).await.unwrap().address(), Some(servers[0].address));
        second.add_permits(1);
        assert_eq!(soon(one).await.unwrap().address(), Some(servers[0].address));
        assert_eq!(servers.map(|server| server.connections()), [2, 1]);
    })
    .await;
}

#[tokio::test]
async fn who_waits_for_an_endpoint_that_leaves_gets_no_other_one() {
    on_a_worker(async {
        let servers = Server::several::<2>().await;
        let clients = Clients::new(&servers, "circuit_breakers: { connections: 1 }", Handshakes::default());
        let holder = clients.borrow(at(&servers[0])).await.unwrap();
        let waits = clients.wait(at(&servers[1])).await;
        let stays = Arc::new(Endpoint::new(servers[0].address));
        assert_eq!(clients.cluster.shared.discovered(&[stays]).removed, [servers[1].address]);
        drop(holder);
        assert_eq!(reason(soon(waits).await), Reason::NoEndpoint);
        assert_eq!(servers.map(|server| server.connections()), [1, 0]);
    })
    .await;
}

#[tokio::test]
async fn who_waits_for_one_endpoint_is_served_although_others_always_wait_for_another() {
    on_a_worker(async {
        let servers = Server::several::<2>().await;
        let clients = Clients::new(&servers, "circuit_breakers: { connections: 1 }", Handshakes::default());
        let mut lent = clients.borrow(at(&servers[0])).await.unwrap();
        let other = clients.wait(at(&servers[1])).await;
        let mut before = 0;
        while !other.is_finished() {
            let next = clients.wait(at(&servers[0])).await;
            lent.give_back();
            lent = tokio::select! {
                lent = soon(next) => lent.unwrap(),
                () = eventually("the other is served", || other.is_finished()) => break,
            };
            before += 1;
        }
        assert_eq!(soon(other).await.unwrap().address(), Some(servers[1].address));
        assert_eq!(before, 15, "connections are not closed for every one who waits");
    })
    .await;
}

#[tokio::test]
async fn half_of_its_time_is_all_that_somebody_waits_for_room() {
    on_a_worker(async {
        let servers = Server::several::<2>().await;
        let clients = Clients::new(&servers, "circuit_breakers: { connections: 1 }", Handshakes::default());
        let lent = clients.borrow(at(&servers[0])).await.unwrap();
        let other = clients.ask(at(&servers[1]), Some(Duration::from_secs(4)));
        eventually("it waits", || clients.waiting() == 1).await;
        let next = clients.wait(at(&servers[0])).await;
        let begun = tokio::time::Instant::now();
        eventually("half of its time is over", || begun.elapsed() >= Duration::from_secs(2)).await;
        lent.give_back();
        assert_eq!(soon(other).await.unwrap().address(), Some(servers[1].address));
        soon(next).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_keeps_nobody_from_the_others() {
    on_a_worker(async {
        let servers = Server::several::<2>().await;
        let mut handshakes = Handshakes::default();
        let dead = handshakes.hold(&servers[1], Ok(()));
        let clients = Clients::new(&servers, "", handshakes);
        let mut waiting = Vec::new();
        for _ in 0..4 {
            waiting.push(clients.wait(at(&servers[1])).await);
        }
        assert_eq!(clients.borrow(at(&servers[0])).await.unwrap().address(), Some(servers[0].address));
        assert_eq!(servers[1].connections(), 2, "a few at a time");
        // It answers again, and everybody is served.
        dead.add_permits(4);
        for waits in waiting {
            soon(waits).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn where_nobody_is_well_connections_are_shared_all_the_same() {
    on_a_worker(async {
        let servers = Server::several::<1>().await;
        let clients = Clients::new(&servers, "circuit_breakers: { connections: 1 }", Handshakes::default());
        clients.cluster.shared.membership().endpoints[0].status.mark(Mark::FailedCheck, true);
        clients.cluster.shared.rebalance();
        let lent = clients.borrow(Choice::default()).await.unwrap();
        let waits = clients.wait(Choice::default()).await;
        lent.give_back();
        assert!(soon(waits).await.unwrap().reused);
    })
    .await;
}

#[tokio::test]
async fn who_waits_when_a_cluster_is_replaced_is_still_served() {
    on_a_worker(async {
        let servers = Server::several::<2>().await;
        let clients = Clients::new(&servers, "circuit_breakers: { connections: 1 }", Handshakes::default());
        let holder = clients.borrow(Choice::default()).await.unwrap();
        let waits = clients.wait(Choice::default()).await;
        clients.cluster.retire();
        holder.give_back();
        soon(waits).await.unwrap().give_back();
        assert!(!clients.borrow(Choice::default()).await.unwrap().reused);
    })
    .await;
}

#[tokio::test]
async fn a_worker_gives_up_idle_connections_one_by_one_while_another_one_starves() {
    on_a_worker(async {
        let servers = Server::several::<1>().await;
        let all = shared(&[servers[0].address], "circuit_breakers: { connections: 5 }", 2);
        // The other has less than its part of them.
        let other = Clients::of(&local(&all, 1), Handshakes::default());
        let lent = [other.borrow(Choice::default()).await.unwrap(), other.borrow(Choice::default()).await.unwrap()];
        lent.into_iter().for_each(Lent::give_back);
        other.cluster.sweep();
        assert_eq!(other.cluster.metrics.idle.own(), 2);
        let clients = Clients::of(&local(&all, 0), Handshakes::default());
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(clients.borrow(Choice::default()).await.unwrap());
        }
        for left in [1, 0] {
            let waits = clients.wait(Choice::default()).await;
            other.cluster.sweep();
            held.push(soon(waits).await.unwrap());
            other.cluster.sweep();
            assert_eq!(other.cluster.metrics.idle.own(), left);
        }
    })
    .await;
}

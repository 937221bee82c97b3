//! A worker's housekeeping: it measures once a second what no event counts, and ends what nobody needs any more.

use std::{
    collections::BTreeMap,
    pin::pin,
    rc::{Rc, Weak},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::mpsc, time::Instant};

use super::house::Known;
use crate::{
    clock,
    cluster::local::LocalCluster,
    telemetry::{Gauge, Registry, names},
    wasm::vm::Vm,
};

/// What is looked at.
pub(super) struct House {
    pub worker: usize,
    pub registry: Registry,
    pub vms: Known,
}

/// Measures until it is aborted.
pub(super) async fn measure(house: House) {
    let label = house.worker.to_string();
    let cpu = house.registry.counter(&names::WORKER_CPU, &[("worker", &label)]);
    // By name: filters of several generations that are called alike count together.
    let mut gauges: BTreeMap<Rc<str>, (Gauge, Gauge)> = BTreeMap::new();
    let mut used = Duration::ZERO;
    let mut timer = tokio::time::interval(Duration::from_secs(1));
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        let mut sums: BTreeMap<Rc<str>, (i64, i64)> = BTreeMap::new();
        house.vms.borrow_mut().retain(|vm| {
            let Some(vm) = vm.upgrade() else { return false };
            let slot = vm.slot();
            let (memory, instances) = sums.entry(Rc::clone(&vm.name)).or_default();
            *memory += slot.as_ref().map_or(0, |slot| i64::try_from(slot.memory()).unwrap_or(i64::MAX));
            *instances += i64::try_from(vm.instances()).unwrap_or(i64::MAX);
            vm.lines.report(&vm.name);
            vm.recycle_where_full();
            true
        });
        gauges.retain(|name, _| sums.contains_key(name));
        for (name, (memory, instances)) in sums {
            let gauges = gauges.entry(Rc::clone(&name)).or_insert_with(|| {
                let labels = [("filter", &*name)];
                let gauge = |metric| house.registry.gauge(metric, &labels);
                (gauge(&names::FILTER_MEMORY), gauge(&names::FILTER_INSTANCES))
            });
            gauges.0.set(memory);
            gauges.1.set(instances);
        }
        let now = clock::thread();
        cpu.add_time(now.saturating_sub(used));
        used = now;
    }
}

/// Ends VMs that no generation needs any more. Each has `patience`.
pub(super) async fn say_goodbye(mut gone: mpsc::UnboundedReceiver<Rc<Vm>>, patience: Duration) {
    while let Some(vm) = gone.recv().await {
        tokio::task::spawn_local(async move { vm.end(Instant::now() + patience).await });
    }
}

/// Closes a cluster's idle connections in time, and what other workers need, for as long as it is there.
pub(super) async fn sweep(cluster: Weak<LocalCluster>) {
    let Some((period, shared)) = cluster.upgrade().map(|cluster| (cluster.sweep_period(), Arc::clone(&cluster.shared)))
    else {
        return;
    };
    let mut timer = tokio::time::interval(period);
    let mut hungry = pin!(shared.hungry.notified());
    loop {
        let ticks = tokio::select! {
            _ = timer.tick() => true,
            () = hungry.as_mut() => false,
        };
        let Some(cluster) = cluster.upgrade() else { return };
        if ticks {
            cluster.sweep();
        } else {
            hungry.set(shared.hungry.notified());
            // From now on nothing is missed, whatever happens below.
            hungry.as_mut().enable();
            cluster.give_way();
        }
    }
}

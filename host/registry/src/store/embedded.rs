//! The embedded store: memory, and a file that is written whole at most once a second.
//!
//! The file is for restarts. It holds who was there, not when they were last heard of to the second: every host that comes from it gets a whole TTL,
//! because it could not be heard of while nobody listened. A file that cannot be read is put aside and complained of; hosts will come back with
//! their heartbeats, which a registry that refuses to start would never hear.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::future::{BoxFuture, ready};
use serde_json::{Map, Value, json};

use super::{Condition, Store, stored};
use crate::{
    catalog::{Catalog, Outcome, Record, Registered, Registration},
    error::{Problem, Refusal},
    files,
    host::{Fields, Selector, ServiceName, Weight},
    load::LoadState,
    metrics::Metrics,
};

/// Nobody's registry is that large.
const LARGEST: u64 = 256 * 1024 * 1024;

#[derive(Debug)]
pub(crate) struct Embedded {
    catalog: Arc<Catalog>,
    metrics: Arc<Metrics>,
    file: Option<PathBuf>,
    /// Something has changed that the file does not have.
    unsaved: AtomicBool,
}

impl Embedded {
    /// Reads the file, where there is one.
    pub(crate) async fn open(catalog: Arc<Catalog>, metrics: Arc<Metrics>, file: Option<PathBuf>) -> Self {
        if let Some(path) = file.clone() {
            let into = Arc::clone(&catalog);
            let loaded = tokio::task::spawn_blocking(move || load(&into, &path)).await;
            if let Err(error) = loaded {
                tracing::error!(%error, "the state was not read");
            }
        }
        Self { catalog, metrics, file, unsaved: AtomicBool::new(false) }
    }

    async fn save(&self) {
        let Some(path) = self.file.clone() else { return };
        // Before it is read: what changes meanwhile is for the next time.
        if !self.unsaved.swap(false, Ordering::AcqRel) {
            return;
        }
        let catalog = Arc::clone(&self.catalog);
        let written = tokio::task::spawn_blocking(move || {
            files::replace(&path, written(&catalog).to_string().as_bytes()).map_err(|error| (path, error))
        });
        match written.await {
            Ok(Ok(())) => {}
            Ok(Err((path, error))) => {
                self.metrics.store_failures.add(1);
                self.unsaved.store(true, Ordering::Release);
                tracing::error!(path = %path.display(), %error, "the state was not written");
            }
            Err(error) => tracing::error!(%error, "the state was not written"),
        }
    }

    fn changed(&self) {
        self.unsaved.store(true, Ordering::Release);
    }
}

impl Store for Embedded {
    fn register(&self, service: ServiceName, registration: Registration) -> BoxFuture<'_, Result<Registered, Refusal>> {
        let registered = self.catalog.register(&service, &registration, None);
        if registered.as_ref().is_ok_and(|registered| registered.outcome != Outcome::Unchanged) {
            self.changed();
        }
        Box::pin(ready(registered))
    }

    fn remove(&self, service: ServiceName, which: Selector) -> BoxFuture<'_, Vec<SocketAddr>> {
        let removed = self.catalog.remove(&service, which);
        if !removed.is_empty() {
            self.changed();
        }
        Box::pin(ready(removed))
    }

    fn weigh(
        &self,
        service: ServiceName,
        which: Option<Selector>,
        weight: Option<Weight>,
    ) -> BoxFuture<'_, Vec<SocketAddr>> {
        let weighed = self.catalog.weigh(&service, which, weight);
        if !weighed.is_empty() {
            self.changed();
        }
        Box::pin(ready(weighed))
    }

    fn tick(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if self.catalog.sweep() > 0 {
                self.changed();
            }
            self.save().await;
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.save())
    }

    fn condition(&self) -> Condition {
        Condition::Ready
    }
}

fn written(catalog: &Catalog) -> Value {
    let hosts = |records: &[Arc<Record>]| records.iter().map(|record| host(record)).collect::<Vec<Value>>();
    let services: Map<String, Value> =
        catalog.all().iter().map(|(name, records)| (name.to_string(), hosts(records).into())).collect();
    json!({"version": 1, "services": services})
}

fn host(record: &Record) -> Value {
    let mut host = stored::registration(record);
    if let Some(fields) = host.as_object_mut() {
        fields.insert("last_check_in".to_owned(), stored::since_1970(record.last_check_in).into());
        if let Some(weight) = record.operator {
            fields.insert("operator_weight".to_owned(), weight.number().into());
        }
        if let Some(load) = record.load.map(LoadState::write) {
            fields.insert("load_state".to_owned(), serde_json::to_value(load).unwrap_or_default());
        }
    }
    host
}

fn load(catalog: &Catalog, path: &Path) {
    let error = match files::read_blocking(path, LARGEST) {
        Ok(text) => match adopt(catalog, &text) {
            Ok(hosts) => return tracing::info!(path = %path.display(), hosts, "the state was read"),
            Err(problem) => problem.to_string(),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        Err(error) => error.to_string(),
    };
    let aside = path.with_extension("broken");
    tracing::error!(path = %path.display(), aside = %aside.display(), error, "the state cannot be read and is put aside");
    if let Err(error) = std::fs::rename(path, &aside) {
        tracing::error!(%error, "and stays where it is");
    }
}

/// All of the file or nothing of it.
fn adopt(catalog: &Catalog, text: &str) -> Result<usize, Problem> {
    let whole: Value = serde_json::from_str(text).map_err(|error| Problem::new("", format!("is not JSON: {error}")))?;
    if whole.get("version") != Some(&json!(1)) {
        return Err(Problem::new("version", "must be 1"));
    }
    let services = whole.get("services").and_then(Value::as_object);
    let services = services.ok_or_else(|| Problem::new("services", "must be an object"))?;
    let mut read = Vec::new();
    for (name, hosts) in services {
        let service = ServiceName::parse(name)?;
        let hosts = hosts.as_array().ok_or_else(|| Problem::new(name, "must be a list"))?;
        let records: Vec<Record> = hosts
            .iter()
            .enumerate()
            .map(|(index, host)| {
                let within = |problem: Problem| problem.within(&format!("{name}[{index}]"));
                host.as_object()
                    .ok_or_else(|| Problem::new("", "must be an object"))
                    .and_then(|host| record(catalog, host))
                    .map_err(within)
            })
            .collect::<Result<_, _>>()?;
        read.push((service, records));
    }
    let mut count = 0;
    for (service, records) in read {
        count += records.len();
        catalog.adopt(&service, records, |_| false, |_| true);
    }
    Ok(count)
}

fn record(catalog: &Catalog, host: &Fields) -> Result<Record, Problem> {
    let number = |name| host.get(name).and_then(Value::as_u64);
    let load = host.get("load_state").and_then(|load| stored::load(&load.to_string()));
    let (expires, now) = catalog.fresh();
    let last_check_in = number("last_check_in").map_or(now, stored::at);
    stored::record(host, number("operator_weight").and_then(stored::weight), load, last_check_in, expires)
}

//! What operators do to the pretended proxy.

use fyke::admin::dashboard::{
    action::{Action, Load, Module},
    model::{EventKind, Reload, ReloadOutcome, Severity, Subject},
    route::Refused,
};

use super::{
    Fake,
    catalogue::FILTERS,
    world::{Loaded, World},
};

const WHO: &str = "admin (127.0.0.1)";

fn refused(status: u16, text: &str) -> Refused {
    Refused { status, text: text.to_owned(), report: String::new() }
}

impl Fake {
    /// Does it.
    pub fn act(&self, action: &Action) -> Result<(), Refused> {
        self.with(|world| act(world, action))
    }
}

fn act(world: &mut World, action: &Action) -> Result<(), Refused> {
    match action {
        Action::Drain { cluster, address } => drain(world, cluster, address, true),
        Action::Restore { cluster, address } => drain(world, cluster, address, false),
        Action::Weight { cluster, address, weight } => {
            let one = world.endpoint(cluster, address).ok_or_else(|| refused(404, "there is no such endpoint"))?;
            one.weight = *weight;
            let subject = Subject::Endpoint { cluster: cluster.clone(), address: address.clone() };
            world.tell(
                world.now,
                EventKind::Operator,
                Severity::Info,
                subject,
                format!("weight {weight}, by {WHO}"),
                String::new(),
            );
            Ok(())
        }
        Action::Reload => {
            reloaded(world, "reload", ReloadOutcome::Unchanged, Vec::new());
            Ok(())
        }
        Action::Rollback { to } => {
            let to = to.unwrap_or(world.generation - 1);
            world.generation += 1;
            world.generation_since = world.now;
            reloaded(
                world,
                &format!("rollback to {to}"),
                ReloadOutcome::RolledBack,
                vec!["canary of filter rate-limit removed".into()],
            );
            Ok(())
        }
        Action::Load { filter, load } => swap(world, filter, load),
        Action::Promote { filter } => change(world, filter, "promote", |loaded, now| {
            let canary = loaded.canary.take().ok_or_else(|| refused(409, "there is no canary"))?;
            (loaded.version, loaded.since) = (Some(canary.0), Some(now));
            Ok(())
        }),
        Action::Abort { filter } => change(world, filter, "abort", |loaded, _| {
            loaded.canary.take().map(drop).ok_or_else(|| refused(409, "there is no canary"))
        }),
        Action::TakeBack { filter } => change(world, filter, "take back", |loaded, _| {
            *loaded = Loaded::default();
            Ok(())
        }),
    }
}

fn drain(world: &mut World, cluster: &str, address: &str, drained: bool) -> Result<(), Refused> {
    let now = world.now;
    let one = world.endpoint(cluster, address).ok_or_else(|| refused(404, "there is no such endpoint"))?;
    (one.drained, one.since) = (drained, now);
    let subject = Subject::Endpoint { cluster: cluster.to_owned(), address: address.to_owned() };
    let word = if drained { "drained" } else { "restored" };
    world.tell(now, EventKind::Operator, Severity::Info, subject, format!("{word} by {WHO}"), String::new());
    Ok(())
}

fn reloaded(world: &mut World, what: &str, outcome: ReloadOutcome, changes: Vec<String>) {
    let (at, generation) = (world.now, Some(world.generation));
    let (who, what) = (WHO.to_owned(), what.to_owned());
    world.reloads.push(Reload { at, who, what, outcome, generation, changes, diff: Vec::new(), error: None });
}

fn change(
    world: &mut World,
    filter: &str,
    what: &str,
    apply: impl FnOnce(&mut Loaded, fyke::admin::dashboard::model::Time) -> Result<(), Refused>,
) -> Result<(), Refused> {
    let known = FILTERS.iter().find(|it| it.0 == filter).ok_or_else(|| refused(404, "there is no such filter"))?;
    let now = world.now;
    let loaded = world.loaded.entry(known.0).or_default();
    apply(loaded, now)?;
    if what != "take back" {
        loaded.changes.insert(0, format!("{what}, by {WHO}"));
    }
    world.generation += 1;
    world.generation_since = now;
    reloaded(world, &format!("{what} {filter}"), ReloadOutcome::Applied, vec![format!("filter {filter} changed")]);
    let subject = Subject::Filter(filter.to_owned());
    let text = format!("{what}, generation {}", world.generation);
    world.tell(now, EventKind::Reload, Severity::Info, subject, text, String::new());
    Ok(())
}

fn swap(world: &mut World, filter: &str, load: &Load) -> Result<(), Refused> {
    let (version, module) = match &load.module {
        Some(Module::Named(name)) if name.starts_with("builtin:") => ("0.2.0".to_owned(), Some(name.clone())),
        Some(Module::Named(name)) => {
            let report = format!(
                "error: {name} is no builtin module\n  = help: builtin:NAME, or the bytes of a module as a file"
            );
            return Err(Refused { status: 422, text: "The module was refused; what ran goes on.".into(), report });
        }
        Some(Module::Uploaded(bytes)) => (format!("uploaded, {} bytes", bytes.len()), Some("uploaded".to_owned())),
        None => ("0.1.0".to_owned(), None),
    };
    change(world, filter, "load", |loaded, now| {
        match load.canary {
            Some(share) => loaded.canary = Some((version, share, now, 0.0)),
            None => (loaded.version, loaded.module, loaded.since) = (Some(version), module, Some(now)),
        }
        Ok(())
    })
}

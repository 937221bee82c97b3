//! Where new operations go and whether they may write, for all clients at once, whenever they connected.
//!
//! A client's connection keeps the filter with which it began, and so its configuration; a reload reaches new connections only. So each configuration says
//! where its switch stands in the data that workers and generations of a filter share, once, as soon as it serves; and everybody looks there a
//! few times a second. The last one that began to serve has the say, also when it is an older configuration that came back (`fyke rollback`).

use std::cell::{Cell, Ref, RefCell};
use std::future::ready;
use std::rc::Rc;
use std::time::Duration;

use fyke_sdk::abi::{self, Level};
use fyke_sdk::{ConfigError, Env, Shared, log};
use serde::{Deserialize, Serialize};

/// For how long what was seen is not looked at again, in nanoseconds.
const FRESH: u64 = 100_000_000;
/// Tasks run again and again; this one has nothing to do the second time.
const SELDOM: Duration = Duration::from_secs(24 * 3600);

/// How the switch stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Where new operations go.
    pub cluster: String,
    /// Whether none may write.
    pub denies_writes: bool,
}

/// The switch of all filters with this `stat_prefix`.
pub struct Switch {
    shared: Shared<Position>,
    /// What was seen, and when.
    seen: RefCell<(u64, Position)>,
}

impl Switch {
    /// This configuration's position; it holds for everybody once the configuration serves.
    ///
    /// # Errors
    /// The host refuses it.
    pub fn new(prefix: &str, own: Position, env: &mut Env) -> Result<Self, ConfigError> {
        let key = format!("mongo.switch.{prefix}");
        let shared: Shared<Position> = env.shared(&key)?;
        let publication = Rc::new((env.shared::<Position>(&key)?, own.clone(), Cell::new(false)));
        env.every(SELDOM, move || {
            let (shared, own, done) = &*publication;
            ready(if done.replace(true) { Ok(()) } else { publish(shared, own) })
        });
        Ok(Self { shared, seen: RefCell::new((0, own)) })
    }

    /// How it stands.
    pub fn position(&self) -> Ref<'_, Position> {
        let now = abi::monotonic();
        let mut seen = self.seen.borrow_mut();
        if seen.0 == 0 || now.saturating_sub(seen.0) >= FRESH {
            seen.0 = now.max(1);
            // What cannot be read changes nothing.
            if let Ok(Some(position)) = self.shared.load() {
                seen.1 = position;
            }
        }
        drop(seen);
        Ref::map(self.seen.borrow(), |seen| &seen.1)
    }
}

fn publish(shared: &Shared<Position>, own: &Position) -> fyke_sdk::Result<()> {
    let mut before = None;
    shared.update(|old| {
        before = old;
        own.clone()
    })?;
    if before.as_ref().is_some_and(|before| before != own) {
        let writes = if own.denies_writes { "writes are denied" } else { "writes go on" };
        log::write(Level::Info, &format!("mongo: new operations go to the cluster {}, and {writes}", own.cluster));
    }
    Ok(())
}

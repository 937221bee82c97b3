//! Watches files, and reloads when what is in one of them has changed.
//!
//! Files are looked at, not listened to: whether an editor writes in place or renames a new file over the old one, whether a link (or a
//! link in the middle of the path, as orchestrators swap them) points elsewhere, whether the file system tells anyone about changes at
//! all, a look at the path tells. A few looks a second cost nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::keeper::{self, Keeper};

/// Who asks, in the audit log.
pub(super) const WATCH: &str = "watch";
/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);
/// Looks in a row that must find the same before a change counts: whoever writes in several steps should be done.
const SETTLED: u32 = 2;
/// Where something changes all the time it is read all the same.
const MOST_LOOKS: u32 = 10;

/// What a look tells of a file: where it really is, and when it was last changed. `None`: it is not there.
type Sight = Option<(u64, u64, u64, i64, i64)>;

fn sight(path: &Path) -> Sight {
    let facts = fs::metadata(path).ok()?;
    Some((facts.dev(), facts.ino(), facts.size(), facts.mtime(), facts.mtime_nsec()))
}

type Sights = BTreeMap<PathBuf, Sight>;

fn sights(paths: impl IntoIterator<Item = PathBuf>) -> Sights {
    // Several generations name the same: each is looked at once.
    let paths: BTreeSet<PathBuf> = paths.into_iter().collect();
    paths
        .into_iter()
        .map(|path| {
            let sight = sight(&path);
            (path, sight)
        })
        .collect()
}

/// Watches until it is dropped.
pub async fn run(keeper: Arc<Keeper>) {
    // A file that is new to the configuration counts as changed: it may have been, since it was read.
    let mut known = Sights::new();
    loop {
        tokio::time::sleep(LOOK).await;
        let mut seen = sights(keeper.watched());
        if seen.iter().all(|(path, sight)| known.get(path) == Some(sight)) {
            // What only an older generation needs is no reason to reload, but must be none either when that one is gone back to.
            known = sights(keeper.once_watched().into_iter().filter(|path| !seen.contains_key(path)));
            known.extend(seen);
            continue;
        }
        let (mut same, mut looks) = (1, 1);
        while same < SETTLED && looks < MOST_LOOKS {
            looks += 1;
            tokio::time::sleep(LOOK).await;
            let again = sights(seen.keys().cloned());
            same = if again == seen { same + 1 } else { 1 };
            seen = again;
        }
        // Looked at before they are read: what is written meanwhile is found by the next look.
        known.extend(seen);
        let keeper = Arc::clone(&keeper);
        let reloaded = keeper::aside(move || {
            // Why it was refused is in the audit log.
            let _ = keeper.files_changed();
        })
        .await;
        if let Err(error) = reloaded {
            tracing::error!("cannot reload: {error}");
        }
    }
}

//! Outlier detection: hosts that do worse than they should are left out of load balancing for a while.
//!
//! Three parts, each with its own pace:
//!
//! * [`HostOutlier`], one per host, is bumped by all workers for every request, without locks. Success costs one
//!   addition on a cache line of the worker's own and one load of a line that nobody writes while all is well. When
//!   a row of failures reaches its threshold, [`HostOutlier::record`] returns a [`Detection`].
//! * [`Detector`], one per cluster, decides. Whoever was handed a detection passes it to [`Detector::try_eject`] at
//!   once, so that an ejection does not wait for the next interval. That takes a mutex; it is rare.
//! * [`Detector::sweep`], every [`Settings::interval`] on the control plane, ends ejections, looks at success rates and
//!   failure percentages, and lets the ejection time of hosts that behave shrink.
//!
//! Every decision is a [`Change`], which prints as a sentence for a log and carries a [`Reason`] for metrics.
//!
//! Invariants:
//! * No ejection takes the ejected share of the cluster over `max_ejection_percent`, save the one host that
//!   `always_eject_one_host` grants. (Removing healthy hosts afterwards may: nothing is un-ejected for that.)
//! * A host is ejected at most once at a time, and [`Counts::active`] is the number of hosts for which
//!   [`HostOutlier::is_ejected`] holds.
//! * An ejection ends at the first sweep after its time, at a passed active health check, or with the host.
//! * Time never is read here: every `now` is the caller's, and one that runs backwards only makes things later.

mod change;
mod counts;
mod detector;
mod host;
mod outcome;
mod settings;
mod statistics;

pub use change::{Change, Evidence, Return, Verdict};
pub use counts::Counts;
pub use detector::{Detector, HostReport};
pub use host::HostOutlier;
pub use outcome::{Detection, LocalOriginFailure, Outcome, Reason};
pub use settings::{Enforcing, FailurePercentage, Settings, SettingsError, SuccessRate};

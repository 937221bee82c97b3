//! Every kind of event, once: its word, how grave it is, and what its subject is.
//!
//! The emitter, the admin endpoint, the command line and the tests read these constants. Words are stable; what is told beside them is
//! in the event's message and fields.

/// How grave an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What an operator wants to have seen.
    Info,
    /// Something failed and the proxy coped.
    Warning,
    /// A human must act.
    Error,
}

impl Level {
    /// For JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One kind.
#[derive(Debug)]
pub struct Kind {
    /// Its word.
    pub name: &'static str,
    /// How grave it is.
    pub level: Level,
    /// How many may come.
    pub rate: Rate,
    /// What an event of it is, and what its subject is.
    pub about: &'static str,
}

/// How many events of a kind may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    /// As many as there are causes; each is told.
    Few,
    /// As many as there are requests: one of a subject is told in a second, with the number of those before it.
    Crowd,
}

macro_rules! kinds {
    ($($constant:ident: $level:ident $rate:ident $name:literal $about:literal;)*) => {
        $(
            #[doc = $about]
            pub const $constant: Kind = Kind { name: $name, level: Level::$level, rate: Rate::$rate, about: $about };
        )*
        /// All of them, in the order of this file.
        pub const ALL: &[Kind] = &[$($constant),*];
    };
}

kinds! {
    // Changes.
    STARTED: Info Few "started" "The process has started.";
    RELOADED: Info Few "reloaded" "A new generation runs, whoever asked for it.";
    RELOAD_REFUSED: Error Few "reload_refused" "A change was refused; what ran goes on.";
    ROLLED_BACK: Warning Few "rolled_back" "An older generation runs again.";
    CANARY_STARTED: Info Few "canary_started" "A canary of the subject, a filter, meets streams.";
    CANARY_ENDED: Info Few "canary_ended" "The canary of the subject, a filter, meets no more streams: it was promoted, ended, or taken back.";
    CANARY_ROLLED_BACK: Error Few "canary_rolled_back" "The canary of the subject, a filter, was worse than the version before and was taken back.";
    LOG_LEVEL: Info Few "log_level" "The level of the subject, a target of the log, was changed for a while.";
    DRAIN: Info Few "drain" "The process takes no more and ends.";

    // Control planes.
    CONTROL_PLANE_CONNECTED: Info Few "control_plane_connected" "There is a connection to the subject, a control plane.";
    CONTROL_PLANE_LOST: Warning Few "control_plane_lost" "There is no connection to the subject, a control plane; what it has sent goes on.";

    // Filters.
    TRAP: Warning Crowd "trap" "An instance of the subject, a filter, trapped.";
    BREAKER_OPEN: Error Crowd "breaker_open" "The subject, a filter, keeps trapping: its policy applies to every stream of a worker for a while.";

    // Clusters.
    ENDPOINT_HEALTH: Warning Few "endpoint_health" "A health check has changed what is known of an endpoint of the subject, a cluster, to the worse.";
    ENDPOINT_RECOVERED: Info Few "endpoint_recovered" "An endpoint of the subject, a cluster, passes its health check again.";
    ENDPOINT_EJECTED: Warning Few "endpoint_ejected" "An endpoint of the subject, a cluster, was ejected as an outlier.";
    ENDPOINT_UNEJECTED: Info Few "endpoint_unejected" "An endpoint of the subject, a cluster, was ejected and is used again.";
    ENDPOINTS_DISCOVERED: Info Few "endpoints_discovered" "Discovery has added or removed endpoints of the subject, a cluster, or no longer names some that are healthy.";
    DISCOVERY_FAILED: Warning Few "discovery_failed" "Where the endpoints of the subject, a cluster, are found cannot be reached, says what cannot be meant, or names nobody: they stay as they are.";
    ENDPOINT_CHANGED: Info Few "endpoint_changed" "An operator has drained or restored an endpoint of the subject, a cluster, or set its weight.";

    // The process.
    OVERLOAD: Warning Few "overload" "The subject, an action against overload, has begun.";
    OVERLOAD_OVER: Info Few "overload_over" "The subject, an action against overload, has ended.";
    CERTIFICATE_EXPIRES: Error Few "certificate_expires" "A certificate of the subject, a listener, expires within 14 days or has expired.";
    FILES_REOPENED: Info Few "files_reopened" "Files of sinks were opened anew.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn words_are_unique_and_plain() {
        let mut seen = BTreeSet::new();
        for kind in ALL {
            assert!(seen.insert(kind.name), "{} twice", kind.name);
            assert!(kind.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
            assert!(kind.about.ends_with('.'));
        }
    }
}

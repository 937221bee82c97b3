//! What all sources of endpoints have in common.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{dns, file, hosts::Hosts, rest, sentinel};
use crate::{
    config::resolved::{Discovery, Place},
    xds::assignments::{Assignment, Assignments},
};

/// Why a source says nothing. Endpoints stay as they are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// It cannot be reached, or does not answer.
    #[error("{0}")]
    Unreachable(String),
    /// What it says cannot be meant.
    #[error("{0}")]
    Malformed(String),
}

/// What a source says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// `None`: what it said before.
    pub hosts: Option<Hosts>,
    /// Which version of it that is; empty: it has none.
    pub version: String,
    /// For how long that holds, where it says so.
    pub holds: Option<Duration>,
    /// Of what it says nothing.
    pub lacks: Option<Lack>,
}

/// What an answer says nothing of, while it says something of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// Names, as endpoints present them, of which nothing was ever heard: endpoints that are known by them stay.
    pub names: Vec<String>,
    /// Why.
    pub why: String,
}

/// A source of the endpoints of one cluster.
pub enum Source {
    /// A file.
    File(file::File),
    /// Names.
    Dns(dns::Dns),
    /// A registry.
    Rest(rest::Rest),
    /// Sentinels.
    Sentinel(sentinel::Sentinel),
    /// A control plane.
    Xds(watch::Receiver<Option<Assignment>>),
}

impl Source {
    /// The source that a configuration names. Nothing is asked yet.
    #[must_use]
    pub fn new(settings: &Arc<Discovery>, assignments: &Assignments) -> Self {
        match &settings.place {
            Place::File(path) => Self::File(file::File::new(path.clone())),
            Place::Dns(name) => Self::Dns(dns::Dns::new(name.clone())),
            Place::Rest(registry) => Self::Rest(rest::Rest::new(registry.clone())),
            Place::Sentinel(sentinels) => Self::Sentinel(sentinel::Sentinel::new(sentinels.clone())),
            Place::Xds { plane, service } => {
                let mut followed = assignments.follow(plane, service);
                // What was said before counts as well.
                followed.mark_changed();
                Self::Xds(followed)
            }
        }
    }

    /// Asks it. Within its own time limit; of a control plane it waits until that says something new.
    ///
    /// # Errors
    /// [`SourceError`].
    pub async fn ask(&mut self) -> Result<Said, SourceError> {
        match self {
            Self::File(file) => file.ask(),
            Self::Dns(dns) => dns.ask().await,
            Self::Rest(rest) => rest.ask().await,
            Self::Sentinel(sentinel) => sentinel.ask().await,
            Self::Xds(followed) => loop {
                let gone = |_| SourceError::Unreachable("it is not asked any more".to_owned());
                followed.changed().await.map_err(gone)?;
                let said = followed.borrow_and_update().clone();
                if let Some(Assignment { version, hosts }) = said {
                    return Ok(Said { hosts: Some(hosts), version, holds: None, lacks: None });
                }
            },
        }
    }
}

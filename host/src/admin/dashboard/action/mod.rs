//! What somebody can have done from a page.
//!
//! Forms post to one path, [`PATH`], as `application/x-www-form-urlencoded`, or as `multipart/form-data` where they bring
//! a module. [`read`] makes an [`Action`] of that; the host carries it out, with the same code as its own paths.

mod multipart;
mod read;
#[cfg(test)]
mod tests;

pub use self::read::{read, sign_in};

/// Where forms go.
pub const PATH: &str = "/dashboard/act";
/// The form that signs in.
pub const SIGN_IN: &str = "/dashboard/sign-in";
/// The form that signs out.
pub const SIGN_OUT: &str = "/dashboard/sign-out";

/// Most bytes of a form without a module.
pub const FORM: usize = 256 << 10;
/// Most bytes of a form with a module: one of 64 MiB, and what is around it.
pub const UPLOAD: usize = (64 << 20) + FORM;

/// What the action with this word has done. A page says so in these words and no others, whatever its address has.
pub(crate) fn done_of_word(word: &str) -> Option<&'static str> {
    Some(match word {
        "drain" => "The endpoint drains.",
        "restore" => "The endpoint gets requests again.",
        "weight" => "The weight is set.",
        "reload" => "The configuration has been read again.",
        "rollback" => "An older generation runs again.",
        "load" => "The filter has been loaded.",
        "promote" => "The canary has taken the filter's place.",
        "abort" => "The canary is gone.",
        "take-back" => "The last change has been taken back.",
        _ => return None,
    })
}

/// Most bytes of a form with this content type.
#[must_use]
pub fn most(content_type: &str) -> usize {
    if multipart::boundary(content_type).is_some() { UPLOAD } else { FORM }
}

/// Something to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// An endpoint gets no new requests while others can take them.
    Drain {
        /// Its cluster.
        cluster: String,
        /// Its address.
        address: String,
    },
    /// It gets requests again.
    Restore {
        /// Its cluster.
        cluster: String,
        /// Its address.
        address: String,
    },
    /// An endpoint has this weight until another one is set, whatever is reloaded meanwhile.
    Weight {
        /// Its cluster.
        cluster: String,
        /// Its address.
        address: String,
        /// 0 to 65,535; 0: as if it drained.
        weight: u32,
    },
    /// The configuration, and the modules that it names, are read again.
    Reload,
    /// An older generation runs again.
    Rollback {
        /// Its number; `None`: the one before.
        to: Option<u64>,
    },
    /// A filter gets another module or configuration.
    Load {
        /// The filter.
        filter: String,
        /// What it gets.
        load: Load,
    },
    /// The canary of a filter takes its place.
    Promote {
        /// The filter.
        filter: String,
    },
    /// The canary of a filter goes.
    Abort {
        /// The filter.
        filter: String,
    },
    /// The last change of a filter is taken back.
    TakeBack {
        /// The filter.
        filter: String,
    },
}

/// What a filter gets. What is `None` stays as it is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Load {
    /// A module.
    pub module: Option<Module>,
    /// A configuration, as JSON or as the filter wants it.
    pub configuration: Option<String>,
    /// Share of the streams that get it, as a canary; `None`: all, at once.
    pub canary: Option<f64>,
    /// Streams that are needed before the canary is judged.
    pub min_streams: Option<u64>,
}

/// Where a module comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Module {
    /// It is named: `builtin:rate-limit`.
    Named(String),
    /// These are its bytes.
    Uploaded(Vec<u8>),
}

/// A form that was sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Posted {
    /// Proof that one of our own pages sent it.
    pub csrf: String,
    /// Whether somebody has said that they are sure.
    pub is_confirmed: bool,
    /// What is wanted.
    pub action: Action,
}

impl Action {
    /// Its word in forms.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Drain { .. } => "drain",
            Self::Restore { .. } => "restore",
            Self::Weight { .. } => "weight",
            Self::Reload => "reload",
            Self::Rollback { .. } => "rollback",
            Self::Load { .. } => "load",
            Self::Promote { .. } => "promote",
            Self::Abort { .. } => "abort",
            Self::TakeBack { .. } => "take-back",
        }
    }

    /// What it would do, as a question.
    #[must_use]
    pub fn question(&self) -> String {
        match self {
            Self::Drain { cluster, address } => {
                format!("Drain {address} of {cluster}? It gets no new requests while others can take them.")
            }
            Self::Restore { cluster, address } => format!("Send requests to {address} of {cluster} again?"),
            Self::Weight { cluster, address, weight } => {
                format!("Set the weight of {address} of {cluster} to {weight}?")
            }
            Self::Reload => {
                "Read the configuration and its modules again? If anything is wrong, what runs goes on.".to_owned()
            }
            Self::Rollback { to: Some(to) } => format!("Run generation {to} again?"),
            Self::Rollback { to: None } => "Run the generation before this one again?".to_owned(),
            Self::Load { filter, load: Load { canary: Some(_), .. } } => {
                format!("Try this version of {filter} out on a share of its streams?")
            }
            Self::Load { filter, .. } => format!("Have this version take the place of {filter} for all new streams?"),
            Self::Promote { filter } => format!("Have the canary take the place of {filter} for all new streams?"),
            Self::Abort { filter } => format!("Take the canary of {filter} back?"),
            Self::TakeBack { filter } => format!("Take the last change of {filter} back?"),
        }
    }

    /// What it has done.
    #[must_use]
    pub fn done(&self) -> String {
        match self {
            Self::Drain { address, .. } => format!("{address} drains."),
            Self::Restore { address, .. } => format!("{address} gets requests again."),
            Self::Weight { address, weight, .. } => format!("{address} has weight {weight}."),
            Self::Reload => "The configuration has been read again.".to_owned(),
            Self::Rollback { .. } => "An older generation runs again.".to_owned(),
            Self::Load { filter, load: Load { canary: Some(_), .. } } => format!("{filter} has a canary."),
            Self::Load { filter, .. } => format!("{filter} has been swapped."),
            Self::Promote { filter } => format!("The canary of {filter} has taken its place."),
            Self::Abort { filter } => format!("The canary of {filter} is gone."),
            Self::TakeBack { filter } => format!("The last change of {filter} has been taken back."),
        }
    }

    /// Whether one click too many could hurt.
    #[must_use]
    pub fn wants_confirmation(&self) -> bool {
        matches!(
            self,
            Self::Drain { .. }
                | Self::Reload
                | Self::Rollback { .. }
                | Self::Promote { .. }
                | Self::Abort { .. }
                | Self::TakeBack { .. }
        )
    }

    /// The page that one comes from and goes back to, by path and query.
    #[must_use]
    pub fn page(&self) -> String {
        match self {
            Self::Drain { cluster, .. } | Self::Restore { cluster, .. } | Self::Weight { cluster, .. } => {
                format!(
                    "{}?cluster={}",
                    crate::admin::dashboard::link::page("endpoints"),
                    crate::admin::dashboard::link::escaped(cluster)
                )
            }
            Self::Reload | Self::Rollback { .. } => crate::admin::dashboard::link::page(""),
            Self::Load { filter, .. }
            | Self::Promote { filter }
            | Self::Abort { filter }
            | Self::TakeBack { filter } => crate::admin::dashboard::link::filter(filter),
        }
    }

    /// The fields of a form that asks for it, but for modules.
    #[must_use]
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields = vec![("action", self.word().to_owned())];
        match self {
            Self::Drain { cluster, address } | Self::Restore { cluster, address } => {
                fields.extend([("cluster", cluster.clone()), ("address", address.clone())]);
            }
            Self::Weight { cluster, address, weight } => {
                fields.extend([
                    ("cluster", cluster.clone()),
                    ("address", address.clone()),
                    ("weight", weight.to_string()),
                ]);
            }
            Self::Reload | Self::Rollback { to: None } => {}
            Self::Rollback { to: Some(to) } => fields.push(("to", to.to_string())),
            Self::Load { filter, .. }
            | Self::Promote { filter }
            | Self::Abort { filter }
            | Self::TakeBack { filter } => fields.push(("filter", filter.clone())),
        }
        fields
    }
}

//! `register:`

use fyke_registry::client::RegistrationSettings;

/// What is announced at a registry.
#[derive(Debug, Clone)]
pub struct Register {
    /// What, where and by what right.
    pub settings: RegistrationSettings,
    /// What is reported with heartbeats.
    pub load: RegisterLoad,
    /// As it was written: the same is the same registration.
    pub written: serde_json::Value,
}

/// `load:`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RegisterLoad {
    /// How busy the machine is.
    #[default]
    Machine,
    /// How busy the proxy's control group is.
    Group,
    /// Nothing.
    None,
}

//! What is true, whoever knows it: which hosts run, and who can reach whom.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{MINUTE, SECOND, Time};

pub const ZONES: usize = 3;
/// The zone of the registry.
const REGISTRY: usize = 1;
/// One of so many hosts joins later, as many die, and half as many leave.
const FEW: usize = 50;
/// A host that leaves runs for so long after its farewell.
const DRAIN: Time = 20 * SECOND;
/// How much later than proxies hosts find another instance of the registry.
const DEAF: Time = 5 * SECOND;
const PORT: u16 = 8080;

#[derive(Clone)]
pub struct Scenario {
    pub name: &'static str,
    /// The probability that a message is lost.
    pub loss: f64,
    pub length: Time,
    /// When new hosts begin to come, and others to go, over a minute.
    pub joins: Time,
    pub deaths: Time,
    pub cuts: Vec<Cut>,
    pub outages: Vec<Outage>,
}

#[derive(Clone, Copy)]
pub struct Cut {
    pub from: Time,
    pub until: Time,
    pub split: Split,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// A zone from all others.
    Zone(usize),
    /// The hosts of a zone from the registry.
    Heartbeats(usize),
}

/// No instance of the registry answers; the next one knows nobody.
#[derive(Clone, Copy)]
pub struct Outage {
    pub from: Time,
    pub until: Time,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Runs all the time.
    Stays,
    /// Is new.
    Joins,
    /// Dies without a word.
    Dies,
    /// Takes its leave of the registry, and ends after that.
    Leaves,
}

pub struct World {
    pub scenario: Scenario,
    pub hosts: usize,
    pub proxies: usize,
    pub seed: u64,
}

impl World {
    pub fn new(scenario: Scenario, hosts: usize, proxies: usize, seed: u64) -> Self {
        Self { scenario, hosts, proxies, seed }
    }

    pub fn address(host: usize) -> SocketAddr {
        let number = u32::try_from(host).unwrap();
        SocketAddr::new(IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number)), PORT)
    }

    pub fn host(address: SocketAddr) -> usize {
        let IpAddr::V4(address) = address.ip() else { panic!("{address}") };
        usize::try_from(address.to_bits() - 0x0a00_0000).unwrap()
    }

    pub fn fate(host: usize) -> Fate {
        match host % (2 * FEW) {
            0 | 50 => Fate::Joins,
            7 | 57 => Fate::Dies,
            13 => Fate::Leaves,
            _ => Fate::Stays,
        }
    }

    /// In six moments, ten seconds apart.
    fn moment(host: usize) -> Time {
        10 * SECOND * Time::try_from(host / FEW % 6).unwrap()
    }

    /// When a host begins to run.
    pub fn born(&self, host: usize) -> Time {
        match Self::fate(host) {
            Fate::Joins => self.scenario.joins + Self::moment(host),
            _ => 0,
        }
    }

    /// When it takes its leave.
    pub fn leaves(&self, host: usize) -> Option<Time> {
        (Self::fate(host) == Fate::Leaves).then(|| self.scenario.deaths + Self::moment(host))
    }

    /// When it no longer runs.
    pub fn ends(&self, host: usize) -> Option<Time> {
        match Self::fate(host) {
            Fate::Dies => Some(self.scenario.deaths + Self::moment(host)),
            Fate::Leaves => self.leaves(host).map(|leaves| leaves + DRAIN),
            Fate::Joins | Fate::Stays => None,
        }
    }

    pub fn runs(&self, host: usize, now: Time) -> bool {
        self.born(host) <= now && self.ends(host).is_none_or(|ends| now < ends)
    }

    fn zone(number: usize) -> usize {
        number % ZONES
    }

    fn parts(split: Split, host: usize, proxy: usize) -> bool {
        matches!(split, Split::Zone(zone) if (Self::zone(host) == zone) != (Self::zone(proxy) == zone))
    }

    /// Whether a host runs and nothing is between it and a proxy: since when.
    pub fn reached_since(&self, host: usize, proxy: usize, now: Time) -> Option<Time> {
        if !self.runs(host, now) {
            return None;
        }
        let mut since = self.born(host);
        for cut in self.scenario.cuts.iter().filter(|cut| cut.from <= now && Self::parts(cut.split, host, proxy)) {
            if now < cut.until {
                return None;
            }
            since = since.max(cut.until);
        }
        Some(since)
    }

    /// The end of the cut that was between them.
    pub fn rejoined(&self, host: usize, proxy: usize) -> Option<Time> {
        self.scenario.cuts.iter().find(|cut| Self::parts(cut.split, host, proxy)).map(|cut| cut.until)
    }

    /// Whether heartbeats of a host come to the registry.
    pub fn heard(&self, host: usize, now: Time) -> bool {
        let deaf = |outage: &Outage| (outage.until..outage.until + DEAF).contains(&now);
        let cut_off = |cut: &Cut| {
            let parted = match cut.split {
                Split::Zone(_) => Self::parts(cut.split, host, REGISTRY),
                Split::Heartbeats(zone) => Self::zone(host) == zone,
            };
            parted && (cut.from..cut.until).contains(&now)
        };
        !self.scenario.outages.iter().any(deaf) && !self.scenario.cuts.iter().any(cut_off)
    }

    /// Whether questions of a proxy come to the registry.
    pub fn asked(&self, proxy: usize, now: Time) -> bool {
        let cuts = self.scenario.cuts.iter().filter(|cut| (cut.from..cut.until).contains(&now));
        !cuts.into_iter().any(|cut| Self::parts(cut.split, REGISTRY, proxy))
    }

    /// Whether one of the two messages of an exchange is lost.
    pub fn loses(&self, random: &mut fastrand::Rng) -> bool {
        let lost = |random: &mut fastrand::Rng| random.f64() < self.scenario.loss;
        lost(random) || lost(random)
    }

    /// Proxies start over half a minute, once the first hosts have registered.
    pub fn starts(&self, proxy: usize) -> Time {
        MINUTE / 2 + MINUTE / 2 * Time::try_from(proxy).unwrap() / Time::try_from(self.proxies).unwrap()
    }
}

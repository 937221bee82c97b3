//! Clusters that are there when somebody needs them: a request names one that is not, a control plane is asked for it, and the request waits
//! (Envoy's on-demand cluster discovery).

use std::{
    collections::{BTreeSet, HashMap},
    rc::Rc,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout_at},
};

use super::{Clusters, local::LocalCluster, shared::SharedCluster};
use crate::{
    config::resolved::OnDemand,
    telemetry::{Registry, names},
};

/// The longest name that is asked for, in bytes: it may be a client's.
const LONGEST: usize = 1024;
/// For so long a name that led to nothing is not asked for again.
const MEMORY: Duration = Duration::from_secs(1);
/// How often it is looked whether endpoints have come.
const LOOK: Duration = Duration::from_millis(5);

/// What is asked for. One per process.
#[derive(Debug, Default)]
pub struct Demand {
    state: Mutex<State>,
    /// Names that a control plane is asked for.
    names: watch::Sender<BTreeSet<String>>,
}

#[derive(Debug, Default)]
struct State {
    /// Who is asked, if anybody is.
    asked: Option<(String, OnDemand)>,
    wanted: HashMap<String, watch::Sender<Answer>>,
    /// What is not there, and since when that is known.
    missing: HashMap<String, Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Pending,
    There,
    Missing,
}

/// Somebody has asked.
struct Question {
    plane: String,
    until: Instant,
    answer: watch::Receiver<Answer>,
}

/// What became of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    /// Nobody can be asked.
    Nobody,
    /// The name cannot be meant, or there are too many.
    Bounds,
    /// It was not there a moment ago.
    Missing,
}

impl Demand {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on this control plane is asked, within these bounds; `None`: nobody is.
    pub fn serve(&self, asked: Option<(&str, OnDemand)>) {
        let mut state = self.state();
        let same = state.asked.as_ref().map(|(plane, _)| plane.as_str()) == asked.as_ref().map(|(plane, _)| *plane);
        state.asked = asked.map(|(plane, bounds)| (plane.to_owned(), bounds));
        if !same {
            for (_, answer) in state.wanted.drain() {
                answer.send_replace(Answer::Missing);
            }
            state.missing.clear();
            self.names.send_replace(BTreeSet::new());
        }
    }

    /// The names that are wanted, now and later.
    #[must_use]
    pub fn names(&self) -> watch::Receiver<BTreeSet<String>> {
        self.names.subscribe()
    }

    /// Of those that are waited for these run now.
    pub fn came(&self, runs: impl Fn(&str) -> bool) {
        let state = self.state();
        for (name, answer) in &state.wanted {
            answer.send_if_modified(|answer| {
                let comes = *answer == Answer::Pending && runs(name);
                if comes {
                    *answer = Answer::There;
                }
                comes
            });
        }
    }

    /// These were there when the process began: they are followed like those that were asked for. Returns those that there is no room for.
    pub fn restored(&self, names: impl IntoIterator<Item = String>) -> Vec<String> {
        let mut state = self.state();
        let most = state.asked.as_ref().map_or(0, |(_, bounds)| bounds.clusters);
        let mut left_out = Vec::new();
        for name in names {
            if state.wanted.len() >= most && !state.wanted.contains_key(&name) {
                left_out.push(name);
                continue;
            }
            state.wanted.entry(name.clone()).or_insert_with(|| watch::Sender::new(Answer::There));
            self.names.send_if_modified(|all| all.insert(name));
        }
        left_out
    }

    /// These are not there, or not any more: they are followed no longer, and whoever waits for one need not. Returns those that were followed.
    pub fn missing<'a>(&self, names: impl IntoIterator<Item = &'a String>) -> Vec<String> {
        let mut state = self.state();
        let mut followed = Vec::new();
        for name in names {
            let Some(answer) = state.wanted.remove(name) else { continue };
            answer.send_replace(Answer::Missing);
            state.missing.insert(name.clone(), Instant::now());
            self.names.send_if_modified(|all| all.remove(name));
            followed.push(name.clone());
        }
        followed
    }

    /// Whether a cluster of this name has come because somebody needed it, and its endpoints may be on their way.
    #[must_use]
    pub fn follows(&self, name: &str) -> bool {
        self.state().wanted.contains_key(name)
    }

    /// Whether all that is wanted is among these.
    #[must_use]
    pub fn is_answered_by(&self, names: &[String]) -> bool {
        self.state().wanted.keys().all(|wanted| names.contains(wanted))
    }

    fn ask(&self, name: &str) -> Result<Question, (Refused, String)> {
        let mut state = self.state();
        let state = &mut *state;
        let Some((plane, bounds)) = &state.asked else { return Err((Refused::Nobody, String::new())) };
        let until = Instant::now() + bounds.timeout;
        let question =
            |answer: &watch::Sender<Answer>| Question { plane: plane.clone(), until, answer: answer.subscribe() };
        if let Some(answer) = state.wanted.get(name) {
            return Ok(question(answer));
        }
        state.missing.retain(|_, since| since.elapsed() < MEMORY);
        if state.missing.contains_key(name) {
            return Err((Refused::Missing, plane.clone()));
        }
        // What was not there counts for as long as it is remembered: so no client makes others work without end.
        if name.is_empty() || name.len() > LONGEST || state.wanted.len() + state.missing.len() >= bounds.clusters {
            return Err((Refused::Bounds, plane.clone()));
        }
        let question =
            question(state.wanted.entry(name.to_owned()).or_insert_with(|| watch::Sender::new(Answer::Pending)));
        self.names.send_if_modified(|all| all.insert(name.to_owned()));
        Ok(question)
    }
}

/// The cluster of this name, when it has come, with its endpoints where these come by themselves. `None`: nobody has it, or it has not
/// come in time. `deadline` is when the wait ends: the first one says it for all of a request's.
///
/// Cancel safe: what was asked for comes all the same.
pub async fn bring(
    demand: &Demand,
    clusters: &Clusters,
    registry: &Registry,
    name: &str,
    deadline: &mut Option<Instant>,
) -> Option<Rc<LocalCluster>> {
    let tell = |plane: &str, outcome| {
        registry.counter(&names::CONTROL_PLANE_ON_DEMAND, &[("control_plane", plane), ("outcome", outcome)]).inc();
    };
    let Question { plane, until, mut answer } = match demand.ask(name) {
        Ok(question) => question,
        Err((Refused::Nobody, _)) => return None,
        Err((Refused::Bounds, plane)) => {
            tell(&plane, "refused");
            return None;
        }
        Err((Refused::Missing, plane)) => {
            tell(&plane, "missing");
            return None;
        }
    };
    let until = *deadline.get_or_insert(until);
    let answered = timeout_at(until, answer.wait_for(|answer| *answer != Answer::Pending)).await;
    let answered = match answered {
        Ok(answer) => answer.map_or(Answer::Missing, |answer| *answer),
        Err(_) => Answer::Pending,
    };
    // All workers have it when it is said to be there.
    let cluster = (answered == Answer::There).then(|| clusters.newest(name)).flatten();
    let Some(cluster) = cluster else {
        tell(&plane, if answered == Answer::Pending { "timeout" } else { "missing" });
        return None;
    };
    while !has_heard(&cluster.shared) && Instant::now() < until {
        sleep(LOOK).await;
    }
    tell(&plane, "came");
    Some(cluster)
}

/// Whether it is known which endpoints there are.
pub(super) fn has_heard(cluster: &SharedCluster) -> bool {
    let comes = cluster.settings.discovery.as_ref().is_some_and(|discovery| discovery.is_told());
    !comes || cluster.found.state().answered.is_some() || !cluster.membership().endpoints.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(clusters: usize) -> Demand {
        let demand = Demand::default();
        demand.serve(Some(("ads", OnDemand { timeout: Duration::from_secs(5), clusters })));
        demand
    }

    fn refused(demand: &Demand, name: &str) -> Option<Refused> {
        demand.ask(name).err().map(|(refused, _)| refused)
    }

    fn asked(demand: &Demand) -> Vec<String> {
        demand.names().borrow().iter().cloned().collect()
    }

    #[tokio::test(start_paused = true)]
    async fn everybody_who_asks_for_the_same_hears_the_same() {
        let demand = demand(10);
        let (mut first, mut second) = (demand.ask("a").ok().unwrap(), demand.ask("a").ok().unwrap());
        assert_eq!(asked(&demand), ["a"]);
        demand.came(|name| name == "a");
        for question in [&mut first, &mut second] {
            assert_eq!(*question.answer.borrow_and_update(), Answer::There);
        }
        assert_eq!(*demand.ask("a").ok().unwrap().answer.borrow(), Answer::There);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_there_is_asked_for_again_after_a_while() {
        let demand = demand(10);
        let question = demand.ask("a").ok().unwrap();
        demand.missing([&"a".to_owned(), &"never-asked".to_owned()]);
        assert_eq!(*question.answer.borrow(), Answer::Missing);
        assert_eq!((refused(&demand, "a"), asked(&demand).len()), (Some(Refused::Missing), 0));
        assert_eq!(refused(&demand, "never-asked"), None);
        tokio::time::advance(MEMORY).await;
        assert_eq!(refused(&demand, "a"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_makes_names_up_comes_to_an_end() {
        let demand = demand(2);
        assert_eq!(refused(&demand, &"x".repeat(LONGEST + 1)), Some(Refused::Bounds));
        assert_eq!(refused(&demand, ""), Some(Refused::Bounds));
        assert_eq!((refused(&demand, "a"), refused(&demand, "b")), (None, None));
        assert_eq!(refused(&demand, "c"), Some(Refused::Bounds));
        demand.missing([&"a".to_owned()]);
        assert_eq!(refused(&demand, "c"), Some(Refused::Bounds), "one that was not there counts for a while");
        tokio::time::advance(MEMORY).await;
        assert_eq!(refused(&demand, "c"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn another_control_plane_is_asked_for_nothing_of_the_last_one() {
        let demand = demand(10);
        let question = demand.ask("a").ok().unwrap();
        demand.restored(["old".to_owned()]);
        let bounds = OnDemand { timeout: Duration::from_secs(1), clusters: 1 };
        demand.serve(Some(("ads", bounds.clone())));
        assert_eq!((asked(&demand).len(), *question.answer.borrow()), (2, Answer::Pending), "it is the same");
        demand.serve(Some(("other", bounds)));
        assert_eq!((asked(&demand).len(), *question.answer.borrow()), (0, Answer::Missing));
        demand.serve(None);
        assert_eq!(refused(&demand, "a"), Some(Refused::Nobody));
    }
}

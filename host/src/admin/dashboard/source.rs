//! Where the pages get what they show.

use crate::admin::dashboard::model::{
    Certificate, ClusterEndpoints, Event, Explanation, FilterPage, FilterSummary, Flow, Overview, Panel, PanelPage,
    Process, Question, Service, ServiceKind, Sources, Tap, TapFilter, Time, Trend,
};

/// What the host implements. Every method is called when a page needs it and never for another one, at most once a
/// second for each page that somebody looks at; none may wait for the network.
///
/// Everything is as of now; a page that asks twice may get two answers.
pub trait Source: Sync {
    /// What time it is. Ages are counted from it.
    fn now(&self) -> Time;

    /// The process, for the frame of every page.
    fn process(&self) -> Process;

    /// Services, warnings and reloads. Services are those that the history has; of ten thousand clusters nobody wants a row each.
    fn overview(&self) -> Overview;

    /// All listeners together, for the overview's charts: at most `points` steps.
    fn total(&self, points: usize) -> Trend;

    /// One service, with a trend of at most `points` steps; `None`: there is no such.
    fn service(&self, kind: ServiceKind, name: &str, points: usize) -> Option<Service>;

    /// The way of requests.
    fn flow(&self) -> Flow;

    /// Names of the clusters, in the order of the configuration.
    fn clusters(&self) -> Vec<String>;

    /// Whether operators can have endpoints drain, and set their weights. Where they cannot, no page offers it.
    fn can_change_endpoints(&self) -> bool;

    /// Endpoints of one cluster, or of all. A page that shows one cluster asks for that one only.
    fn endpoints(&self, cluster: Option<&str>) -> Vec<ClusterEndpoints>;

    /// All filters, in the order of the configuration.
    fn filters(&self) -> Vec<FilterSummary>;

    /// One filter; `None`: there is no such.
    fn filter(&self, name: &str) -> Option<FilterPage>;

    /// The panels of a filter; `None`: there is no such filter, or it declares none.
    fn panels(&self, filter: &str) -> Option<PanelPage>;

    /// The one of them at this place.
    fn panel(&self, filter: &str, place: usize) -> Option<Panel> {
        self.panels(filter)?.panels.into_iter().nth(place)
    }

    /// Who says what there is.
    fn sources(&self) -> Sources;

    /// All certificates.
    fn certificates(&self) -> Vec<Certificate>;

    /// The last events, newest first, at most `most`.
    fn events(&self, most: usize) -> Vec<Event>;

    /// Names of the listeners, for the forms of the tester and the tap.
    fn listeners(&self) -> Vec<String>;

    /// Which way a request would take.
    fn explain(&self, question: &Question) -> Explanation;

    /// The last requests that a filter wants, newest first, at most `most`. Looking is what has the host record them: it
    /// stops when nobody has looked for a few seconds.
    fn tap(&self, filter: &TapFilter, most: usize) -> Tap;
}

//! Where in Envoy's configuration something is.

use std::rc::Rc;

/// What a resource is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceKind {
    /// The bootstrap file.
    Bootstrap,
    /// `envoy.config.listener.v3.Listener`
    Listener,
    /// `envoy.config.route.v3.RouteConfiguration`
    RouteConfiguration,
    /// `envoy.config.cluster.v3.Cluster`
    Cluster,
    /// `envoy.config.endpoint.v3.ClusterLoadAssignment`
    Endpoints,
    /// `envoy.extensions.transport_sockets.tls.v3.Secret`
    Secret,
    /// `envoy.config.core.v3.TypedExtensionConfig`
    ExtensionConfiguration,
    /// `envoy.service.runtime.v3.Runtime`
    Runtime,
}

impl ResourceKind {
    /// What it is called in findings.
    #[must_use]
    pub fn noun(self) -> &'static str {
        match self {
            Self::Bootstrap => "bootstrap",
            Self::Listener => "listener",
            Self::RouteConfiguration => "route configuration",
            Self::Cluster => "cluster",
            Self::Endpoints => "endpoints",
            Self::Secret => "secret",
            Self::ExtensionConfiguration => "extension configuration",
            Self::Runtime => "runtime",
        }
    }
}

#[derive(Debug)]
enum Segment {
    Resource(ResourceKind, String),
    Key(String),
    Index(usize),
}

#[derive(Debug)]
struct Link {
    parent: Option<Place>,
    segment: Segment,
    /// Something with a meaning of its own: a filter, a route. What is below it is told relative to it.
    unit: bool,
}

/// A value's way down from its resource. Cheap to make; text is made when somebody asks.
#[derive(Debug, Clone)]
pub(crate) struct Place(Rc<Link>);

/// [`Place`] in words.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub kind: ResourceKind,
    pub name: String,
    pub resource: String,
    pub path: String,
}

impl Place {
    pub fn resource(kind: ResourceKind, name: &str) -> Self {
        Self(Rc::new(Link { parent: None, segment: Segment::Resource(kind, name.to_owned()), unit: true }))
    }

    pub fn key(&self, key: &str) -> Self {
        self.below(Segment::Key(key.to_owned()))
    }

    pub fn index(&self, index: usize) -> Self {
        self.below(Segment::Index(index))
    }

    fn below(&self, segment: Segment) -> Self {
        Self(Rc::new(Link { parent: Some(self.clone()), segment, unit: false }))
    }

    /// The same place, as something with a meaning of its own.
    pub fn unit(self) -> Self {
        let segment = match &self.0.segment {
            Segment::Resource(..) => return self,
            Segment::Key(key) => Segment::Key(key.clone()),
            Segment::Index(index) => Segment::Index(*index),
        };
        Self(Rc::new(Link { parent: self.0.parent.clone(), segment, unit: true }))
    }

    pub fn location(&self) -> Location {
        let mut links = vec![&self.0];
        while let Some(parent) = links.last().and_then(|link| link.parent.as_ref()) {
            links.push(&parent.0);
        }
        links.reverse();
        let unit = links.iter().rposition(|link| link.unit).unwrap_or(0);
        let (mut kind, mut name, mut resource, mut path) =
            (ResourceKind::Bootstrap, String::new(), String::new(), String::new());
        let mut way = String::new();
        for (index, link) in links.iter().enumerate() {
            let text = if index > unit { &mut path } else { &mut way };
            match &link.segment {
                Segment::Resource(what, of) => {
                    (kind, name) = (*what, of.clone());
                    resource = if of.is_empty() { what.noun().to_owned() } else { format!("{} {of:?}", what.noun()) };
                }
                // Every filter has it, and it says nothing.
                Segment::Key(key) if key == "typed_config" && index <= unit => {}
                Segment::Key(key) => {
                    if !text.is_empty() {
                        text.push('.');
                    }
                    if key.contains(['.', '[', ' ', '"']) {
                        text.push_str(&format!("{key:?}"));
                    } else {
                        text.push_str(key);
                    }
                }
                Segment::Index(index) => text.push_str(&format!("[{index}]")),
            }
        }
        if !way.is_empty() {
            resource.push(' ');
            resource.push_str(&way);
        }
        Location { kind, name, resource, path }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_a_unit_is_told_relative_to_it() {
        let listener = Place::resource(ResourceKind::Listener, "http");
        let filter = listener.key("filter_chains").index(0).key("filters").index(1).unit();
        let filter = filter.key("typed_config").key("http_filters").index(2).unit();
        let location = filter.key("typed_config").key("rules").location();
        assert_eq!(location.resource, "listener \"http\" filter_chains[0].filters[1].http_filters[2]");
        assert_eq!(location.path, "typed_config.rules");
        assert_eq!((location.kind, location.name.as_str()), (ResourceKind::Listener, "http"));
    }

    #[test]
    fn keys_that_would_not_read_are_quoted() {
        let place = Place::resource(ResourceKind::Bootstrap, "").key("map").key("envoy.lb");
        assert_eq!(place.location().path, "map.\"envoy.lb\"");
        assert_eq!(place.location().resource, "bootstrap");
    }
}

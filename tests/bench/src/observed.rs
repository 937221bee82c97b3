//! Fyke as operators run it who want to see everything.

use std::{net::SocketAddr, path::Path};

use crate::contestant::Task;

/// Five filters, of which one begins traces and one counts by host, method and class of the answer. Spans go to the upstream, which takes them.
pub fn fyke(task: Task, listen: SocketAddr, admin: SocketAddr, header_filter: &Path) -> String {
    format!(
        "workers: {}\nadmin: {{ address: \"{admin}\" }}\ntracing: {{ otlp: {{ address: \"http://{}\", protocol: http }}, sample: 1% }}\n\
         listeners:\n  web:\n    address: \"{listen}\"\n    filters: [tracing-context, request-id, router, stats-tags, header]\n\
         filters:\n  tracing-context: {{ module: \"builtin:tracing-context\" }}\n  request-id: {{ module: \"builtin:request-id\" }}\n  \
         router: {{ module: \"builtin:router\", config: {{ routes: [{{ cluster: app }}] }} }}\n  \
         stats-tags:\n    module: \"builtin:stats-tags\"\n    config:\n      labels:\n        \
         - {{ label: host, from: host }}\n        - {{ label: method, from: method }}\n        \
         - {{ label: class, from: response_code, then: [status_class] }}\n  \
         header: {{ module: {:?} }}\n\
         clusters:\n  app: {{ endpoints: [\"{}\"] }}\n",
        task.workers, task.upstream, header_filter, task.upstream
    )
}

//! `fyke filter envoy-config`

use std::{
    fmt::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::json;

use super::{Failure, ended, print};
use crate::{
    config::{
        self, Format,
        resolved::{self, HeadersPause, ModuleSource},
    },
    envoy::{self, Layer},
    reload::prepare::{self, Records},
    wasm::manifest::Manifest,
};

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// The module
    module: PathBuf,
    /// The filter's configuration, in YAML or JSON
    #[arg(long, value_name = "FILE", conflicts_with = "proxy")]
    config: Option<PathBuf>,
    /// A proxy's configuration that has the filter in it: its configuration and the clusters that it may call are taken from there
    #[arg(long, value_name = "FILE")]
    proxy: Option<PathBuf>,
    /// A cluster that the filter calls, and where it is
    #[arg(long = "cluster", value_name = "NAME=ADDRESS", value_parser = cluster)]
    clusters: Vec<(String, SocketAddr)>,
}

fn cluster(text: &str) -> Result<(String, SocketAddr), String> {
    let (name, address) = text.split_once('=').ok_or("expected NAME=ADDRESS, like authz=127.0.0.1:9000")?;
    Ok((name.to_owned(), address.parse().map_err(|error| format!("{address}: {error}"))?))
}

pub(super) fn run(arguments: &Arguments) -> u8 {
    let text = match text(arguments) {
        Ok(text) => text,
        Err(failure) => return ended(Err(failure)),
    };
    print(format_args!("{}", text.trim_end()))
}

fn text(arguments: &Arguments) -> Result<String, Failure> {
    if arguments.module.to_string_lossy().starts_with("builtin:") {
        return Err(Failure::bad("a builtin filter is in this binary, and Envoy needs a file: name the module's"));
    }
    let module = arguments.module.canonicalize();
    let module = module.map_err(|error| Failure::bad(format!("{}: {error}", arguments.module.display())))?;
    if module.to_str().is_none() {
        return Err(Failure::bad(format!("{}: Envoy needs a path that is text", module.display())));
    }
    let given = match (&arguments.proxy, &arguments.config) {
        (Some(proxy), _) => of_proxy(proxy, &module)?,
        (None, Some(file)) => Given { configuration: Some(read(file)?), clusters: arguments.clusters.clone() },
        (None, None) => Given { configuration: None, clusters: arguments.clusters.clone() },
    };
    let bytes = std::fs::read(&module).map_err(|error| Failure::bad(format!("{}: {error}", module.display())))?;
    let manifest = fyke_engine::manifest(&bytes).map_err(|error| Failure::bad(error.to_string()))?;
    let manifest = manifest.map(|bytes| Manifest::parse(&bytes)).unwrap_or_default();
    let layer = if manifest.kind.as_deref() == Some("tcp") { Layer::Tcp } else { Layer::Http };
    let Accepted { configuration, labels } = accept(&given, layer, &module)?;
    let name = manifest.name.clone().unwrap_or_else(|| "filter".to_owned());
    let pauses = manifest.headers_pause() == HeadersPause::HeadersOnly;
    let filter = envoy::filter(layer, &name, &module, &configuration, pauses);
    let place = match layer {
        Layer::Http => "http_filters",
        Layer::Tcp => "filters",
    };
    let mut out = format!(
        "# {name}, for Envoy. In the {} of a listener:\n{}",
        if layer == Layer::Http {
            "connection manager, before the router,"
        } else {
            "filter chain, before what ends it,"
        },
        envoy::yaml(&json!({ place: [filter] }))
    );
    if !given.clusters.is_empty() {
        // What speaks gRPC needs HTTP/2, and what speaks HTTP may.
        let clusters = given.clusters.iter().map(|(name, address)| envoy::cluster(name, *address, false));
        out.push_str("\n# In `static_resources`; a cluster of gRPC needs HTTP/2 besides:\n");
        out.push_str(&envoy::yaml(&json!({ "clusters": clusters.collect::<Vec<_>>() })));
    }
    if !labels.is_empty() {
        out.push_str("\n# At the top, so that the filter's metrics have their labels again:\n");
        out.push_str(&envoy::yaml(&json!({ "stats_config": envoy::stats_tags(&labels) })));
    }
    Ok(out)
}

/// What the filter is to be given.
struct Given {
    /// YAML or JSON.
    configuration: Option<String>,
    clusters: Vec<(String, SocketAddr)>,
}

fn read(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file).map_err(|error| Failure::bad(format!("{}: {error}", file.display())))
}

/// The filter of a proxy's configuration that has this module.
fn of_proxy(file: &Path, module: &Path) -> Result<Given, Failure> {
    let config = config::load(file).map_err(|report| Failure::bad(report.render(false).trim_end().to_owned()))?;
    let mine = |filter: &&std::sync::Arc<resolved::Filter>| matches!(&filter.module, ModuleSource::File(path) if path.file_name() == module.file_name());
    let Some(filter) = config.filters.values().find(mine) else {
        return Err(Failure::bad(format!("{} has no filter with this module", file.display())));
    };
    let address = |name: &String| Some((name.clone(), config.clusters.get(name)?.endpoints.first()?.address));
    let configuration = String::from_utf8_lossy(&filter.configuration).into_owned();
    Ok(Given {
        configuration: (!configuration.is_empty()).then_some(configuration),
        clusters: filter.allow.clusters.iter().filter_map(address).collect(),
    })
}

/// What the filter said when it was given its configuration here.
struct Accepted {
    /// As modules are given it.
    configuration: String,
    /// Of its metrics.
    labels: Vec<String>,
}

fn accept(given: &Given, layer: Layer, module: &Path) -> Result<Accepted, Failure> {
    let protocol = if layer == Layer::Tcp { "tcp" } else { "http" };
    let end = if layer == Layer::Tcp { "{ endpoints: [], protocol: tcp }" } else { "{ endpoints: [] }" };
    let names: Vec<&str> = given.clusters.iter().map(|(name, _)| name.as_str()).collect();
    let mut proxy = format!(
        "listeners:\n  it: {{ address: '127.0.0.1:0', protocol: {protocol}, filters: [filter], cluster: its-upstream }}\n\
         clusters:\n  its-upstream: {end}\n"
    );
    for (name, address) in &given.clusters {
        let _ = writeln!(proxy, "  {}: {{ endpoints: ['{address}'] }}", json!(name));
    }
    let _ = writeln!(
        proxy,
        "filters:\n  filter:\n    allow: {{ clusters: {}, shared_data: true }}\n    module: {}",
        json!(names),
        json!(module)
    );
    if let Some(text) = &given.configuration {
        proxy.push_str("    config:\n");
        for line in text.lines() {
            let _ = writeln!(proxy, "      {line}");
        }
    }
    // Its lines are of a file that nobody has: what is wrong is said, and not where.
    let refused = |report: config::Report| {
        let problem = |problem: &config::Problem| problem.message.replace("filter \"filter\": ", "");
        let mut message = report.problems().iter().map(problem).collect::<Vec<_>>().join("\n");
        if message.contains("cluster") {
            message.push_str(
                "\nname the clusters that it calls, as in --cluster authz=127.0.0.1:9000, or take them from a --proxy",
            );
        }
        Failure::bad(message)
    };
    let config = config::load_text("its proxy", &proxy, Format::Yaml, Path::new("")).map_err(refused)?;
    let given = config
        .filters
        .values()
        .next()
        .map(|filter| String::from_utf8_lossy(&filter.configuration).into_owned())
        .unwrap_or_default();
    let prepared = prepare::prepare(config, &Records::Nowhere).map_err(refused)?;
    let mut labels: Vec<String> =
        prepared.registry().labelled().gather().into_iter().flat_map(|family| family.labels).collect();
    labels.sort();
    labels.dedup();
    Ok(Accepted { configuration: given, labels })
}

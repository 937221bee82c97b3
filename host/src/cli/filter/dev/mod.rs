//! `fyke filter dev`: builds the filter, runs a proxy with it, and does so again whenever a file changes.
//!
//! The proxy stays: each build is its next generation, so nobody is turned away meanwhile, and what has begun ends on the old filter.

mod echo;
mod watch;

use std::{
    io::IsTerminal as _,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Instant,
};

use clap::Args;

use super::{Failure, cargo, ended, project};
use crate::{
    cli::process::{self, Process},
    config::{
        self, Config,
        resolved::{Listener, ModuleSource, Sink},
    },
    reload::proxy::{Applied, Proxy},
    telemetry::logging::Control,
    wasm::tap::{Report, Wish},
};

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// The filter's project (default: here)
    directory: Option<PathBuf>,
    /// The proxy's configuration, below the project
    #[arg(long, value_name = "FILE", default_value = "proxy.yaml")]
    proxy: PathBuf,
    /// Cargo profile that the module is built with
    #[arg(long, value_name = "NAME", default_value = "release")]
    profile: String,
}

pub(super) fn run(arguments: &Arguments, log: Control) -> u8 {
    ended(develop(arguments, log))
}

/// The project, and the proxy that runs its filter.
fn place(arguments: &Arguments) -> Result<(PathBuf, PathBuf), Failure> {
    let project = project(arguments.directory.clone())?;
    let file = project.join(&arguments.proxy);
    if !file.is_file() {
        return Err(Failure::bad(format!(
            "{} is missing: it is the proxy that runs the filter; `fyke filter new` makes one, and --proxy names another",
            file.display()
        )));
    }
    Ok((project, file))
}

fn develop(arguments: &Arguments, log: Control) -> Result<(), Failure> {
    let (project, file) = place(arguments)?;
    let runtime = process::control_plane().map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
    let _entered = runtime.enter();
    let process = Arc::new(OnceLock::<Process>::new());
    let ending = Arc::clone(&process);
    runtime.spawn(async move {
        tokio::select! {
            () = process::asked_to_end(None) => {}
            () = process::hung_up() => {}
        }
        if let Some(process) = ending.get() {
            process.forget_token();
        }
        std::process::exit(0);
    });
    let mut bench = Bench {
        project,
        file,
        profile: arguments.profile.clone(),
        process,
        log,
        echoes: echo::Echoes::default(),
        written: Vec::new(),
    };
    let mut seen = watch::state(&bench.project, &[bench.file.clone()], &bench.written);
    loop {
        match bench.turn() {
            Ok(live) => eprintln!("{live}"),
            Err(Failure(_, message)) => {
                let stays = if bench.process.get().is_some() { "; what ran before still does" } else { "" };
                eprintln!("{message}\nnot swapped{stays}; waiting for a change");
            }
        }
        seen = watch::change(&bench.project, &[bench.file.clone()], &bench.written, &seen);
        eprintln!("\na file has changed");
    }
}

/// What is built, and what runs.
struct Bench {
    project: PathBuf,
    file: PathBuf,
    profile: String,
    process: Arc<OnceLock<Process>>,
    log: Control,
    echoes: echo::Echoes,
    /// What the proxy itself writes: no reason to build again.
    written: Vec<PathBuf>,
}

impl Bench {
    /// Builds, and puts the new filter in the old one's place.
    fn turn(&mut self) -> Result<String, Failure> {
        let began = Instant::now();
        let module = cargo::build(&self.project, &self.profile)?;
        let built = began.elapsed();
        let refused =
            |report: config::Report| Failure::bad(report.render(std::io::stderr().is_terminal()).trim_end().to_owned());
        let mut config = config::load(&self.file).map_err(refused)?;
        config.workers = 1;
        if !point_at(&mut config, &module) {
            return Err(Failure::bad(format!(
                "{} has no filter with `module: .../{}`, which is what the build made",
                self.file.display(),
                module.file_name().unwrap_or_default().to_string_lossy()
            )));
        }
        for address in self.echoes.fill(&config) {
            let leads = config
                .clusters
                .values()
                .find(|cluster| cluster.endpoints.iter().any(|endpoint| endpoint.address == address));
            let name = leads.map(|cluster| cluster.name.as_str()).unwrap_or_default();
            eprintln!("nobody listened on {address}, for the cluster {name}: an echo does now");
        }
        self.written = config
            .sinks
            .values()
            .filter_map(|sink| if let Sink::File(path) = sink { path.canonicalize().ok() } else { None })
            .collect();
        let process = match self.process.get() {
            None => {
                let process = Process::start(config, None, false, self.log.clone()).map_err(refused)?;
                show_streams(&process.keeper().proxy);
                self.process.get_or_init(|| process)
            }
            Some(process) => {
                if let Applied::Unchanged(_) = process.keeper().replace("dev", config).map_err(refused)? {
                    return Ok("nothing has changed that runs".to_owned());
                }
                process
            }
        };
        let addresses: Vec<String> = process.listeners().iter().map(|(_, address)| address.to_string()).collect();
        let mut live = format!(
            "live on {} after {:.1} s (built in {:.1} s)",
            addresses.join(", "),
            began.elapsed().as_secs_f64(),
            built.as_secs_f64()
        );
        if let Some(address) = &process.admin_address {
            live.push_str(&format!("\nadmin endpoint and dashboard on {address}"));
        }
        Ok(live)
    }
}

/// Has the proxy load the module that was just built, wherever cargo's target directory is.
fn point_at(config: &mut Config, built: &Path) -> bool {
    let mut found = false;
    let of_listeners = config.listeners.iter_mut().flat_map(Listener::filter_lists_mut).flatten();
    for filter in config.filters.values_mut().chain(of_listeners) {
        if let ModuleSource::File(path) = &filter.module
            && path.file_name() == built.file_name()
        {
            Arc::make_mut(filter).module = ModuleSource::File(built.to_owned());
            found = true;
        }
    }
    found
}

/// Prints what becomes of streams, from now on.
fn show_streams(proxy: &Proxy) {
    let mut watching = proxy.tap().watch(Wish::default());
    std::thread::spawn(move || {
        while let Some(report) = watching.wait() {
            show(&report);
        }
    });
}

fn show(report: &Report) {
    let mut text = report.line.clone();
    for (filter, notes) in &report.notes {
        if notes.is_empty() {
            text.push_str(&format!("\n  {filter}: nothing"));
        }
        for note in notes {
            text.push_str(&format!("\n  {filter}: {note}"));
        }
    }
    println!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_without_a_proxy_says_so() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("Cargo.toml"), "").unwrap();
        let arguments = Arguments {
            directory: Some(folder.path().to_owned()),
            proxy: Path::new("proxy.yaml").to_owned(),
            profile: "release".to_owned(),
        };
        let Err(Failure(code, message)) = place(&arguments) else { panic!("there is no proxy") };
        assert_eq!(code, crate::cli::BAD_CONFIGURATION);
        assert!(message.contains("proxy.yaml is missing"), "{message}");
    }
}

//! `fyke filter new`

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};

use super::{Failure, ended, print, sdk};

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// Name of the filter, like rate-limit; a folder of that name is made
    name: String,
    /// What the filter begins as
    #[arg(long, value_enum, default_value_t = Template::Header)]
    template: Template,
    /// Make the folder here (default: in the current one)
    #[arg(long, value_name = "FOLDER")]
    into: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Template {
    /// Reads and writes headers
    Header,
    /// Asks a service and waits for its answer
    Auth,
    /// Looks at bodies, in chunks and whole
    Body,
    /// Takes part in TCP connections
    Tcp,
    /// Counts and measures, with labels
    Metrics,
}

impl Template {
    /// The filter, and a proxy's configuration for it.
    fn files(self) -> (&'static str, &'static str) {
        macro_rules! of {
            ($name:literal) => {
                (
                    include_str!(concat!("../../../templates/", $name, "/lib.rs")),
                    include_str!(concat!("../../../templates/", $name, "/proxy.yaml")),
                )
            };
        }
        match self {
            Self::Header => of!("header"),
            Self::Auth => of!("auth"),
            Self::Body => of!("body"),
            Self::Tcp => of!("tcp"),
            Self::Metrics => of!("metrics"),
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> u8 {
    let folder = match begin(arguments) {
        Ok(folder) => folder,
        Err(failure) => return ended(Err(failure)),
    };
    let folder = folder.display();
    let (_, proxy) = arguments.template.files();
    // Its first line says what there is to be seen.
    let trial = proxy.lines().next().unwrap_or_default().trim_start_matches("# ");
    print(format_args!(
        "{folder} is a filter. Next:\n  cd {folder}\n  cargo test          its tests, natively\n  fyke filter dev     a local proxy with it: builds and swaps whenever a file changes\n{trial}"
    ))
}

fn begin(arguments: &Arguments) -> Result<PathBuf, Failure> {
    let names = Names::of(&arguments.name)?;
    let folder = arguments.into.clone().unwrap_or_default().join(&arguments.name);
    if folder.exists() {
        return Err(Failure::bad(format!(
            "{} is there already: choose another name, or another folder with --into",
            folder.display()
        )));
    }
    write(&folder, &names, arguments.template)
        .map_err(|error| Failure::failed(format!("cannot write {}: {error}", folder.display())))?;
    Ok(folder)
}

fn write(folder: &Path, names: &Names, template: Template) -> io::Result<()> {
    fs::create_dir_all(folder.join("src"))?;
    let (filter, proxy) = template.files();
    for (path, contents) in [
        ("Cargo.toml", include_str!("../../../templates/project/Cargo.toml")),
        ("README.md", include_str!("../../../templates/project/README.md")),
        (".gitignore", include_str!("../../../templates/project/gitignore")),
        (".rustfmt.toml", include_str!("../../../../.rustfmt.toml")),
        ("src/lib.rs", filter),
        ("proxy.yaml", proxy),
    ] {
        fs::write(folder.join(path), names.fill(contents))?;
    }
    sdk::write(&folder.join("vendor/fyke-sdk"))
}

/// Names of crates that the project has.
const RESERVED: &[&str] =
    &["alloc", "core", "fyke-sdk", "fyke-sdk-macros", "log", "proc-macro", "serde", "serde_json", "std", "test"];

/// Names of types that the templates use.
const TAKEN: &[&str] = &[
    "Body",
    "Chunk",
    "Cluster",
    "Config",
    "ConfigError",
    "Counter",
    "Ctx",
    "Data",
    "Duration",
    "Env",
    "FilterConfig",
    "Flow",
    "Histogram",
    "HttpFilter",
    "HttpRequest",
    "Option",
    "Reply",
    "Request",
    "Response",
    "Result",
    "Self",
    "Side",
    "StreamLog",
    "String",
    "SystemTime",
    "TcpFilter",
    "TcpFlow",
    "Vec",
];

/// A name in the ways that it is written.
#[derive(Debug)]
struct Names {
    /// `rate-limit`
    package: String,
    /// `rate_limit`
    module: String,
    /// `RateLimit`
    kind: String,
}

impl Names {
    fn of(name: &str) -> Result<Self, Failure> {
        let legal =
            name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte));
        if !legal || !name.starts_with(|first: char| first.is_ascii_lowercase()) || name.len() > 64 {
            return Err(Failure::bad(format!(
                "\"{name}\" cannot be a filter's name: lower-case letters, digits, '-' and '_', the first a letter, at most 64"
            )));
        }
        if RESERVED.contains(&name) {
            return Err(Failure::bad(format!(
                "\"{name}\" is the name of a crate that the filter uses: choose another one"
            )));
        }
        let words = name.split(['-', '_']).filter(|word| !word.is_empty());
        let capital = |word: &str| {
            word.chars().take(1).flat_map(char::to_uppercase).chain(word.chars().skip(1)).collect::<String>()
        };
        let mut kind: String = words.map(capital).collect();
        if TAKEN.contains(&kind.as_str()) {
            kind.push_str("Filter");
        }
        Ok(Self { package: name.to_owned(), module: name.replace('-', "_"), kind })
    }

    fn fill(&self, text: &str) -> String {
        text.replace("__name__", &self.package).replace("__module__", &self.module).replace("__Name__", &self.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_written_in_three_ways() {
        let names = Names::of("rate-limit_2").ok().unwrap();
        assert_eq!(names.fill("__name__ __module__ __Name__"), "rate-limit_2 rate_limit_2 RateLimit2");
        assert_eq!(Names::of("config").ok().unwrap().kind, "ConfigFilter");
        for bad in ["fyke-sdk", "serde", "", "-a", "2a", "Rate", "a b", "../a", "ä"] {
            assert!(Names::of(bad).is_err(), "{bad}");
        }
    }
}

//! A configuration file that is read again and again, in Fyke's words or in Envoy's.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use fyke_envoy::{Conversion, Schema, Severity, Translator};

use crate::xds::Inline;

use super::{Beside, Config, Format, Fragment, Origin, Problem, Report, environment, load_from, load_with_received};

/// See the module.
#[derive(Debug, Clone)]
pub struct Written {
    /// Where it is.
    pub path: PathBuf,
    /// Whether it is Envoy's bootstrap.
    pub is_envoys: bool,
}

impl Written {
    /// Reads it, with what control planes have sent. Of Envoy's bootstrap everything must have a counterpart: a proxy does not run with half of what was meant.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn load(&self, received: &[Fragment]) -> Result<Config, Report> {
        if !self.is_envoys {
            return load_with_received(&self.path, received);
        }
        let name = self.path.display().to_string();
        let problem = |message: String| {
            let origin = Origin { file: name.clone(), line: 0, column: 0 };
            Problem::new(origin, message)
        };
        let conversion = convert(&self.path, None).map_err(|error| Report::single(Arc::default(), problem(error)))?;
        let lost = conversion.findings.iter().filter(|finding| finding.severity == Severity::Refused);
        let problems: Vec<Problem> = lost
            .map(|finding| {
                problem(format!("{}: {}: {}", finding.resource, finding.path, finding.reason))
                    .help("`fyke convert` prints what can be carried over, to go on from there")
            })
            .collect();
        if !problems.is_empty() {
            return Err(Report::of(Arc::default(), problems));
        }
        let base = self.path.parent().unwrap_or(Path::new(""));
        // What is kept of it is read by its name.
        let name = if Format::of(&self.path) == Format::Yaml { name } else { format!("{name}.yaml") };
        let beside = Beside { received, ..Beside::default() };
        load_from((&name, &conversion.to_yaml()), Format::Yaml, base, &environment, beside)
    }
}

/// Envoy's bootstrap in Fyke's words. `files` is the folder for what is written into it and has to be a file here.
///
/// # Errors
/// It cannot be read.
pub fn convert(file: &Path, files: Option<&Path>) -> Result<Conversion, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let text = fs::read_to_string(file).map_err(|error| failed(&error))?;
    let is_json = file.extension() == Some(OsStr::new("json"));
    let format = if is_json { fyke_envoy::Format::Json } else { fyke_envoy::Format::Yaml };
    let schema = Schema::load().map_err(|error| error.to_string())?;
    let mut translator = Translator::new(schema);
    if let Some(folder) = files {
        let folder = std::path::absolute(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        translator = translator.with_inline_files(Arc::new(Inline::within(folder)));
    }
    translator.convert(&text, format).map_err(|error| failed(&error))
}

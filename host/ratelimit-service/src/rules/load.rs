//! Files of rules, and whether they have changed.

use std::fs::{self, Metadata};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{Reading, Rules, read::Reader};
use crate::error::Mistakes;
use crate::yaml::{self, Mistake};

/// Larger files are refused.
const LARGEST: u64 = 16 << 20;

/// More files in a directory are refused.
const MOST: usize = 1_000;

/// A file that was written less than this before it was looked at may be written again without its metadata showing it.
const SETTLED: Duration = Duration::from_secs(2);

/// What files look like from outside. Two that are the same mean the same contents, but for files that are [too young](Signature::is_settled).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Signature {
    files: Vec<(PathBuf, u64, u64, u64, i64, i64)>,
    newest: Option<SystemTime>,
}

impl Signature {
    /// Of the rules at a path, and of other files. What cannot be read is not there.
    pub fn of(rules: &Path, others: &[PathBuf]) -> Self {
        let mut signature = Self::default();
        let files = files(rules).unwrap_or_default();
        for path in files.iter().chain(others) {
            if let Ok(metadata) = fs::metadata(path) {
                signature.add(path, &metadata);
            }
        }
        signature
    }

    fn add(&mut self, path: &Path, metadata: &Metadata) {
        let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
        self.files.push((path.to_owned(), metadata.dev(), metadata.ino(), metadata.len(), seconds, nanoseconds));
        self.newest = self.newest.max(metadata.modified().ok());
    }

    /// Whether the files are old enough for any change to show.
    pub fn is_settled(&self) -> bool {
        self.newest.is_none_or(|newest| newest.elapsed().is_ok_and(|age| age > SETTLED))
    }
}

/// What was read.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// Or every mistake in all of the files, in their order.
    pub rules: Result<Rules, Vec<Mistake>>,
    /// A hash of the files' contents.
    pub fingerprint: u64,
}

/// A hash of the contents of the rules at a path.
pub(crate) fn fingerprint(path: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    for file in files(path).unwrap_or_default() {
        contents(&file).unwrap_or_default().hash(&mut hasher);
    }
    hasher.finish()
}

/// Reads the rules in a file, or in the files of a directory whose names end with `.yaml` or `.yml` and do not begin with a dot.
pub(crate) fn load(path: &Path, reading: &Reading) -> Loaded {
    let about = |path: &Path, message: String| Mistake {
        file: path.display().to_string(),
        line: 0,
        column: 0,
        path: String::new(),
        message,
    };
    let (mut mistakes, mut rules) = (Vec::new(), Rules::default());
    let files = match files(path) {
        Ok(files) => files,
        Err(error) => {
            mistakes.push(about(path, format!("cannot be read: {error}")));
            return Loaded { rules: Err(mistakes), fingerprint: DefaultHasher::new().finish() };
        }
    };
    if files.is_empty() {
        mistakes.push(about(path, "has no files whose names end with .yaml or .yml".to_owned()));
    }
    let mut hasher = DefaultHasher::new();
    for file in &files {
        let text = contents(file).unwrap_or_else(|error| {
            mistakes.push(about(file, format!("cannot be read: {error}")));
            String::new()
        });
        text.hash(&mut hasher);
        if !text.is_empty() || mistakes.is_empty() {
            add(&mut rules, &file.display().to_string(), &text, reading, &mut mistakes);
        }
    }
    let rules = if mistakes.is_empty() { Ok(rules) } else { Err(mistakes) };
    Loaded { rules, fingerprint: hasher.finish() }
}

/// Adds a file's domain.
pub(super) fn add(rules: &mut Rules, file: &str, text: &str, reading: &Reading, mistakes: &mut Vec<Mistake>) {
    let root = match yaml::parse(text) {
        Ok(root) => root,
        Err(mistake) => return mistakes.push(Mistake { file: file.to_owned(), ..mistake }),
    };
    let Some((name, domain)) = Reader::new(file, reading, mistakes, &mut rules.warnings).domain(&root) else { return };
    if let Some(other) = rules.domains.get(&name) {
        let message = format!("the domain {name:?} is already in {}:{}: a domain has one file", other.file, other.line);
        let (file, path) = (file.to_owned(), "domain".to_owned());
        return mistakes.push(Mistake { file, line: domain.line, column: 1, path, message });
    }
    rules.domains.insert(name, domain);
}

fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        // Of a link, what it leads to.
        if yaml && !hidden && fs::metadata(&path).is_ok_and(|metadata| metadata.is_file()) {
            files.push(path);
        }
        if files.len() > MOST {
            return Err(io::Error::other(format!("there are more than {MOST} files in it")));
        }
    }
    files.sort();
    Ok(files)
}

fn contents(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(LARGEST + 1).read_to_string(&mut text)?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > LARGEST {
        return Err(io::Error::other(format!("it is larger than {} MiB", LARGEST >> 20)));
    }
    Ok(text)
}

impl Rules {
    /// Reads the rules in a file or a directory, as a service does, to know whether they are right.
    ///
    /// # Errors
    /// Every mistake in them.
    pub fn load(path: &Path) -> Result<Self, Mistakes> {
        load(path, &Reading { registry: Arc::default() }).rules.map_err(Mistakes)
    }

    /// Reads rules out of files' contents, by the files' names.
    ///
    /// # Errors
    /// Every mistake in them.
    pub fn parse<'t>(files: impl IntoIterator<Item = (&'t str, &'t str)>) -> Result<Self, Mistakes> {
        let reading = Reading { registry: Arc::default() };
        let (mut rules, mut mistakes) = (Self::default(), Vec::new());
        for (file, text) in files {
            add(&mut rules, file, text, &reading, &mut mistakes);
        }
        if mistakes.is_empty() { Ok(rules) } else { Err(Mistakes(mistakes)) }
    }
}

//! Where results are kept, and what machine they are of.

use std::{collections::BTreeSet, fs, path::Path, process::Command, time::Duration};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::process;

/// Part of a document that a measurement owns.
pub struct Section {
    /// Its name in the markers.
    pub name: &'static str,
    /// Markdown.
    pub text: String,
}

impl Section {
    /// Puts it into the file: between the markers of its name, or with markers at the end. The rest stays as people wrote it.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let old = if path.exists() { fs::read_to_string(path)? } else { "# Benchmarks\n".to_owned() };
        fs::write(path, self.put_into(&old)).with_context(|| format!("cannot write {}", path.display()))
    }

    fn put_into(&self, old: &str) -> String {
        let (begin, end) =
            (format!("<!-- fyke-bench {} -->", self.name), format!("<!-- end of fyke-bench {} -->", self.name));
        let own = format!("{begin}\n{}\n{end}", self.text.trim_end());
        let inside = old.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
        match inside {
            Some((before, after)) => format!("{before}{own}{after}"),
            None => format!("{}\n\n{own}\n", old.trim_end()),
        }
    }
}

/// Facts about this machine.
pub fn machine() -> anyhow::Result<Value> {
    let processor = fs::read_to_string("/proc/cpuinfo")?;
    let model = processor
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown", |(_, model)| model.trim());
    let memory = fs::read_to_string("/proc/meminfo")?;
    let kibibytes: u64 = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok())
        .context("no MemTotal")?;
    let load = fs::read_to_string("/proc/loadavg")?;
    let date = process::output(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"]), Duration::from_secs(5))?;
    Ok(json!({
        "date": date.trim(),
        "processor": model,
        "cores": processor.lines().filter(|line| line.starts_with("processor")).count(),
        "memory_bytes": kibibytes * 1024,
        "kernel": fs::read_to_string("/proc/sys/kernel/osrelease")?.trim(),
        "load_average": load.split_whitespace().next(),
    }))
}

/// The same as a line, with the versions of the programs.
pub fn facts<'a>(versions: impl Iterator<Item = &'a str>) -> anyhow::Result<String> {
    let machine = machine()?;
    let word = |name: &str| {
        machine
            .get(name)
            .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            .unwrap_or_default()
    };
    let gibibytes =
        process::precise(machine.get("memory_bytes").and_then(Value::as_u64).unwrap_or_default()) / f64::from(1 << 30);
    let versions: BTreeSet<&str> = versions.collect();
    Ok(format!(
        "{}; {}, {} cores, {gibibytes:.0} GiB, Linux {}. {}.\n",
        word("date"),
        word("processor"),
        word("cores"),
        word("kernel"),
        versions.into_iter().collect::<Vec<_>>().join("; "),
    ))
}

/// Writes a value, readable.
pub fn write_json(path: &Path, value: &Value) -> anyhow::Result<()> {
    fs::write(path, format!("{value:#}\n")).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_replaces_its_own_former_text_and_nothing_else() {
        let section = |text: &str| Section { name: "cpu", text: text.to_owned() };
        let first = section("one").put_into("# Benchmarks\nprose\n");
        assert_eq!(first, "# Benchmarks\nprose\n\n<!-- fyke-bench cpu -->\none\n<!-- end of fyke-bench cpu -->\n");
        let second = section("two").put_into(&format!("{first}more prose\n"));
        assert_eq!(
            second,
            "# Benchmarks\nprose\n\n<!-- fyke-bench cpu -->\ntwo\n<!-- end of fyke-bench cpu -->\nmore prose\n"
        );
    }
}

//! `host/docs/conformance.md`, written from the results.

use crate::{
    stage::VERSIONS,
    support::process::root,
    table::{Results, Table},
};

/// Compares the page with the results, or writes it where `FYKE_BLESS=1` asks for that.
pub fn compare(table: &Table, results: &Results) -> Result<(), String> {
    let page = render(table, results);
    let path = root().join("host/docs/conformance.md");
    if std::env::var_os("FYKE_BLESS").is_some_and(|value| value == "1") {
        return std::fs::write(&path, page).map_err(|error| error.to_string());
    }
    if std::fs::read_to_string(&path).unwrap_or_default() == page {
        return Ok(());
    }
    Err("host/docs/conformance.md does not say what these rows say; write it anew with FYKE_BLESS=1 and look at the difference".to_owned())
}

fn render(table: &Table, results: &Results) -> String {
    let results = results.lock().unwrap();
    let rows: usize = table.groups.iter().map(|(_, rows)| rows.len()).sum();
    let versions: Vec<_> = VERSIONS.iter().map(|version| version.name).collect();
    let mut page = format!(
        "# Conformance with Proxy-Wasm\n\n\
         Written by `tests/conformance` from its results; do not edit it. Each row is a test against the real binary, with a small guest \
         written for it. Rows run for the ABI versions {} alike, unless they speak of one.\n\n\
         **{} of {rows} rows hold.** The last column says where Fyke departs from Envoy or from the specification on purpose, and why.\n",
        versions.join(", "),
        results.len(),
    );
    for (title, rows) in &table.groups {
        page += &format!("\n## {title}\n\n| row | what | outcome | note |\n|---|---|---|---|\n");
        for row in rows {
            let outcome = if results.contains(row.id) { "holds" } else { "fails" };
            page += &format!(
                "| {} | {} | {outcome} | {} |\n",
                row.id,
                row.title.replace('|', "\\|"),
                row.note.unwrap_or_default()
            );
        }
    }
    page
}

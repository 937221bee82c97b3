//! Lines of a table, as many as fit.

use serde_json::Value;

use super::table::{self, TABS, Tab};
use crate::cli::words::{aligned, printable};

/// What was pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Quit,
    NextTab,
    PreviousTab,
    NextColumn,
    PreviousColumn,
    Up,
    Down,
    PageUp,
    PageDown,
    Top,
    Letter(char),
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Title,
    Heading,
    Warning,
}

/// What is looked at, and how.
#[derive(Debug, Default)]
pub(super) struct View {
    tab: usize,
    /// By table: the column that it is sorted by, and whether the other way round.
    sort: [(usize, bool); TABS.len()],
    first: usize,
    /// Rows that fit; known once something was drawn.
    page: std::cell::Cell<usize>,
    /// Why the numbers are old.
    pub trouble: Option<String>,
}

impl View {
    /// The table of this name.
    pub fn of(name: &str) -> Self {
        Self { tab: TABS.iter().position(|tab| tab.name == name).unwrap_or(0), ..Self::default() }
    }

    fn table(&self) -> &'static Tab {
        let [first, ..] = &TABS;
        TABS.get(self.tab).unwrap_or(first)
    }

    fn sorted(&self) -> (usize, bool) {
        self.sort.get(self.tab).copied().unwrap_or_default()
    }

    fn sort_by(&mut self, column: usize) {
        if let Some(sort) = self.sort.get_mut(self.tab) {
            *sort = (column, sort.0 == column && !sort.1);
        }
        self.first = 0;
    }

    /// Does what a key means.
    pub fn press(&mut self, key: Key) {
        let (columns, page) = (self.table().columns.len(), self.page.get().max(1));
        let (sort, _) = self.sorted();
        match key {
            Key::Quit => {}
            Key::NextTab => self.switch((self.tab + 1) % TABS.len()),
            Key::PreviousTab => self.switch((self.tab + TABS.len() - 1) % TABS.len()),
            Key::NextColumn => self.sort_by((sort + 1) % columns),
            Key::PreviousColumn => self.sort_by((sort + columns - 1) % columns),
            Key::Up => self.first = self.first.saturating_sub(1),
            Key::Down => self.first = self.first.saturating_add(1),
            Key::PageUp => self.first = self.first.saturating_sub(page),
            Key::PageDown => self.first = self.first.saturating_add(page),
            Key::Top => self.first = 0,
            Key::Letter(letter) => {
                if let Some(column) = self.table().columns.iter().position(|column| column.letter == letter) {
                    self.sort_by(column);
                }
            }
        }
    }

    fn switch(&mut self, tab: usize) {
        (self.tab, self.first) = (tab, 0);
    }

    /// All rows below their headings.
    pub fn plain(&self, rates: &Value) -> Vec<String> {
        let tab = self.table();
        let mut rows = vec![tab.columns.iter().map(|column| column.title.to_owned()).collect()];
        rows.extend(self.rows(rates));
        aligned(&rows, |column| tab.columns.get(column).is_some_and(|column| !column.kind.is_text()))
    }

    fn rows(&self, rates: &Value) -> Vec<Vec<String>> {
        let (sort, reverse) = self.sorted();
        let rows = table::rows(self.table(), rates, sort, reverse);
        rows.into_iter().map(|row| row.into_iter().map(|cell| printable(&cell.text)).collect()).collect()
    }

    /// Exactly `height` lines of at most `width` characters.
    pub fn draw(&self, rates: &Value, width: usize, height: usize) -> Vec<(Style, String)> {
        let tab = self.table();
        let names = TABS
            .iter()
            .map(|one| if one.name == tab.name { format!("[{}]", one.name) } else { format!(" {} ", one.name) });
        let title = format!("fyke top  {}", names.collect::<String>());
        // Where there is no room for all of them, the one that is looked at is still named.
        let title = if title.chars().count() > width {
            format!("[{}] {}/{}", tab.name, self.tab + 1, TABS.len())
        } else {
            title
        };
        let (sort, reverse) = self.sorted();
        let heading = tab.columns.iter().enumerate().map(|(number, column)| {
            let mark = if number != sort {
                ""
            } else if reverse {
                "^"
            } else {
                "v"
            };
            format!("{}({}){mark}", column.title, column.letter)
        });
        let mut rows: Vec<Vec<String>> = vec![heading.collect()];
        rows.extend(self.rows(rates));
        let fitting = fitting(&rows, sort, width);
        let left_out = tab.columns.len() - fitting.len();
        let rows: Vec<Vec<String>> = rows.iter().map(|row| shown(row, &fitting, width)).collect();
        let is_number = |place: usize| {
            let column = fitting.get(place).and_then(|column| tab.columns.get(*column));
            column.is_some_and(|column| !column.kind.is_text())
        };
        let mut lines = aligned(&rows, is_number).into_iter();
        let help =
            ["Tab: next table  letter, < >: sort  arrows: scroll  q: end", "Tab: next  < >: sort  q: end", "q: end"];
        let more =
            if left_out > 0 { format!("  {left_out} columns hidden: sort by them, or widen") } else { String::new() };
        let help = help
            .into_iter()
            .find(|help| help.len() + more.len() <= width)
            .map_or("q: end".to_owned(), |help| format!("{help}{more}"));
        let last = match &self.trouble {
            Some(trouble) => (Style::Warning, format!("NOT LIVE: {}", printable(trouble))),
            None if rates.is_null() => (Style::Plain, "waiting for the first rates".to_owned()),
            None => (Style::Plain, help),
        };
        let room = height.saturating_sub(3);
        self.page.set(room);
        let mut drawn = vec![(Style::Title, title), (Style::Heading, lines.next().unwrap_or_default())];
        let all = lines.len();
        // The last page is full.
        let first = self.first.min(all.saturating_sub(room));
        drawn.extend(lines.skip(first).take(room).map(|line| (Style::Plain, line)));
        drawn.resize(height.saturating_sub(1).max(1), (Style::Plain, String::new()));
        if height > 1 {
            drawn.push(last);
        }
        drawn.truncate(height);
        drawn.into_iter().map(|(style, line)| (style, line.chars().take(width).collect())).collect()
    }
}

/// Columns that have room beside each other: the first, the one that is sorted by, and then as many as there are from the left.
fn fitting(rows: &[Vec<String>], sort: usize, width: usize) -> Vec<usize> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let needs = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        let wide = cells.max().unwrap_or(0);
        if column == 0 { wide.min(longest_name(width)) } else { wide + 2 }
    };
    let mut taken = vec![0];
    let mut room = width.saturating_sub(needs(0));
    if sort != 0 && sort < columns {
        taken.push(sort);
        room = room.saturating_sub(needs(sort));
    }
    for column in 1..columns {
        if !taken.contains(&column) {
            if needs(column) > room {
                break;
            }
            room -= needs(column);
            taken.push(column);
        }
    }
    taken.sort_unstable();
    taken
}

/// Names may have two fifths of a narrow terminal, so that there is room for numbers.
fn longest_name(width: usize) -> usize {
    if width >= 80 { width } else { (width * 2 / 5).max(10) }
}

/// The cells of these columns, names cut in their middle: what tells them apart may be at either end.
fn shown(row: &[String], columns: &[usize], width: usize) -> Vec<String> {
    let cell = |column: &usize| {
        let cell = row.get(*column).map_or("", String::as_str);
        let (length, most) = (cell.chars().count(), longest_name(width));
        if *column != 0 || length <= most {
            return cell.to_owned();
        }
        let half = (most - 1) / 2;
        let end: String = cell.chars().skip(length - half).collect();
        format!("{}~{end}", cell.chars().take(most - 1 - half).collect::<String>())
    };
    columns.iter().map(cell).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rates(count: usize) -> Value {
        let listeners: serde_json::Map<_, _> =
            (0..count).map(|number| (format!("l{number:02}"), json!({ "requests": number, "p50": 0.001 }))).collect();
        json!({ "listeners": listeners, "workers": { "0": { "cpu": 0.25 }, "10": { "cpu": 0.5 }, "2": {} } })
    }

    fn text(view: &View, rates: &Value, width: usize, height: usize) -> Vec<String> {
        let drawn = view.draw(rates, width, height);
        assert_eq!(drawn.len(), height, "as many lines as there are");
        assert!(drawn.iter().all(|(_, line)| line.chars().count() <= width));
        drawn.into_iter().map(|(_, line)| line).collect()
    }

    #[test]
    fn a_screen_is_full_and_never_more_whatever_its_size() {
        let (mut view, rates) = (View::default(), rates(50));
        for key in [Key::Down, Key::PageDown, Key::NextTab, Key::PreviousTab, Key::PageDown] {
            for (width, height) in [(80, 24), (200, 60), (10, 5), (1, 1), (3, 2), (80, 3)] {
                text(&view, &rates, width, height);
            }
            view.press(key);
        }
        assert_eq!(view.draw(&rates, 80, 0).len(), 0);
    }

    #[test]
    fn a_narrow_terminal_has_whole_columns_and_the_one_that_is_sorted_by() {
        let mut view = View::default();
        let rates = json!({ "listeners": { "a-listener-with-a-rather-long-name": { "requests": 12.5, "p99": 0.25, "sent_bytes": 3000.0 } } });
        let lines = text(&view, &rates, 40, 6);
        assert_eq!(lines[0], "[listeners] 1/5");
        assert!(
            lines[1].starts_with("LISTENER(n)v") && lines[1].contains("REQ/S(r)") && !lines[1].contains("OUT/S"),
            "{lines:#?}"
        );
        assert!(lines[2].starts_with("a-listen~ng-name") && lines[2].contains("12.5"), "{lines:#?}");
        assert!(lines[5].contains("q: end"), "{lines:#?}");
        view.press(Key::Letter('9'));
        let lines = text(&view, &rates, 40, 6);
        assert!(lines[1].contains("P99(9)v") && lines[2].contains("250.0ms"), "{lines:#?}");
        let lines = text(&view, &rates, 90, 6);
        assert!(lines[5].contains("columns hidden"), "{lines:#?}");
        assert!(text(&view, &rates, 200, 6)[1].contains("OUT/S(o)"));
    }

    #[test]
    fn keys_switch_tables_sort_and_scroll() {
        let (mut view, rates) = (View::default(), rates(50));
        let lines = text(&view, &rates, 200, 13);
        assert!(lines[0].contains("[listeners]") && lines[1].contains("LISTENER(n)v"), "{lines:#?}");
        assert!(lines[2].starts_with("l00") && lines[11].starts_with("l09"), "{lines:#?}");
        view.press(Key::PageDown);
        assert!(text(&view, &rates, 200, 13)[2].starts_with("l10"));
        view.press(Key::Letter('r'));
        let lines = text(&view, &rates, 200, 13);
        assert!(lines[2].starts_with("l49") && lines[1].contains("REQ/S(r)v"), "{lines:#?}");
        view.press(Key::Letter('r'));
        let lines = text(&view, &rates, 200, 13);
        assert!(lines[2].starts_with("l00") && lines[1].contains("REQ/S(r)^"), "{lines:#?}");
        for _ in 0..100 {
            view.press(Key::PageDown);
        }
        assert!(text(&view, &rates, 200, 13)[11].starts_with("l49"), "the last page is full");
        view.press(Key::PreviousTab);
        let lines = text(&view, &rates, 200, 13);
        assert!(lines[0].contains("[workers]") && lines[2].starts_with("10") && lines[2].contains("50%"), "{lines:#?}");
        view.press(Key::Letter('?'));
    }

    #[test]
    fn old_numbers_are_called_old_and_hostile_names_stay_texts() {
        let mut view = View { trouble: Some("gone\x1b[2J".to_owned()), ..View::default() };
        let rates = json!({ "listeners": { "a\x1b[31m": {} } });
        let lines = text(&view, &rates, 100, 5);
        assert_eq!(lines[4], "NOT LIVE: gone?[2J");
        assert!(lines[2].starts_with("a?[31m"), "{lines:?}");
        view.trouble = None;
        assert_eq!(text(&view, &Value::Null, 100, 5)[4], "waiting for the first rates");
        assert_eq!(View::of("filters").plain(&rates).len(), 1);
    }
}

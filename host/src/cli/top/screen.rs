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
        let mut rows = vec![heading.collect()];
        rows.extend(self.rows(rates));
        let mut lines =
            aligned(&rows, |column| tab.columns.get(column).is_some_and(|column| !column.kind.is_text())).into_iter();
        let help = "Tab: next table  letter, < >: sort  arrows: scroll  q: end";
        let last = match &self.trouble {
            Some(trouble) => (Style::Warning, format!("NOT LIVE: {}", printable(trouble))),
            None if rates.is_null() => (Style::Plain, "waiting for the first rates".to_owned()),
            None => (Style::Plain, help.to_owned()),
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

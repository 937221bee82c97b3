//! The busiest keys of rules that ask for them, in a metric, every ten seconds.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use fyke_limiter::TopKeys;
use fyke_sdk::{ConfigError, Env, Gauge};

use crate::rule::Rules;

/// How often they are shown; what was counted before counts half each time.
const PERIOD: Duration = Duration::from_secs(10);

/// The longest key in the metric, in bytes.
const LONGEST: usize = 64;

/// For each that is shown so many are counted, so that those that are shown are the right ones.
const ROOM: usize = 8;

/// The sketches of all rules, those without being empty.
#[derive(Debug)]
pub struct Busiest {
    rules: Vec<Sketch>,
    gauge: Gauge<2>,
}

#[derive(Debug)]
struct Sketch {
    name: String,
    shown: usize,
    keys: TopKeys,
    /// What the metric has, so that it is set to zero when it is busy no more.
    before: BTreeSet<String>,
}

impl Busiest {
    /// Defines the metric, and begins to show it, where a rule asks for that.
    ///
    /// # Errors
    /// When the host refuses it.
    pub fn begin(rules: &Rules, env: &mut Env) -> Result<Option<Rc<RefCell<Self>>>, ConfigError> {
        if rules.rules.iter().all(|rule| rule.top == 0) {
            return Ok(None);
        }
        let gauge = env.gauge("rate_limit_top_requests", ["rule", "key"])?;
        let sketch = |rule: &crate::rule::Rule| Sketch {
            name: rule.name.clone(),
            shown: rule.top,
            keys: TopKeys::new(rule.top * ROOM),
            before: BTreeSet::new(),
        };
        let busiest = Rc::new(RefCell::new(Self { rules: rules.rules.iter().map(sketch).collect(), gauge }));
        let shown = Rc::clone(&busiest);
        env.every(PERIOD, move || {
            if let Ok(mut busiest) = shown.try_borrow_mut() {
                busiest.show();
            }
            std::future::ready(Ok(()))
        });
        Ok(Some(busiest))
    }

    /// Counts a key, by what it is made of.
    pub fn add(&mut self, rule: usize, entries: &[String]) {
        if let Some(sketch) = self.rules.get_mut(rule) {
            sketch.keys.add(text(entries).as_bytes(), 1);
        }
    }

    fn show(&mut self) {
        for sketch in self.rules.iter_mut().filter(|sketch| sketch.shown > 0) {
            let mut now = BTreeSet::new();
            for top in sketch.keys.top(sketch.shown).into_iter().filter(|top| top.count > 0) {
                let key = String::from_utf8_lossy(&top.key).into_owned();
                self.gauge.set(i64::try_from(top.count).unwrap_or(i64::MAX), [&sketch.name, &key]);
                now.insert(key);
            }
            for gone in sketch.before.difference(&now) {
                self.gauge.set(0, [&sketch.name, gone]);
            }
            sketch.before = now;
            sketch.keys.age();
        }
    }
}

/// Values, separated by bars. What would be too long ends in dots.
fn text(entries: &[String]) -> String {
    let mut text = String::new();
    for (at, entry) in entries.iter().enumerate() {
        if at > 0 {
            text.push('|');
        }
        text.push_str(entry);
        if text.len() > LONGEST {
            text.truncate(text.floor_char_boundary(LONGEST - 3));
            text.push_str("...");
            break;
        }
    }
    text
}

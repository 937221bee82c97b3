//! Who may do what.

use fyke_sdk::ConfigError;

use crate::config::{Action, Match, Rule, known};
use crate::message::command::Command;
use crate::message::request::Request;

/// Rules in order.
#[derive(Debug)]
pub struct Rules {
    rules: Vec<(Action, String, Pattern)>,
    otherwise: Action,
}

/// Which operations are meant.
#[derive(Debug, Default)]
pub struct Pattern {
    databases: Texts,
    collections: Texts,
    commands: Vec<&'static str>,
    callsites: Texts,
    applications: Texts,
    users: Texts,
}

/// Names, or beginnings of names; none: all.
#[derive(Debug, Default)]
pub struct Texts(Vec<Text>);

/// Who does something, as far as that is known.
#[derive(Debug, Clone, Copy, Default)]
pub struct Who<'a> {
    pub application: &'a [u8],
    pub callsite: &'a [u8],
    pub user: &'a str,
}

#[derive(Debug)]
enum Text {
    Whole(Box<[u8]>),
    Beginning(Box<[u8]>),
}

/// What was decided, and by which rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision<'a> {
    /// What.
    pub action: Action,
    /// The rule's name; `otherwise` where none fitted.
    pub by: &'a str,
}

/// A database and a collection that an operation is about.
pub type Place<'a> = (&'a [u8], &'a [u8]);

impl Rules {
    /// Of the configuration.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn new(rules: &[Rule], otherwise: Action) -> Result<Self, ConfigError> {
        let mut all = Vec::with_capacity(rules.len());
        for (at, rule) in rules.iter().enumerate() {
            let place = format!("rules[{at}]");
            let matches = Match {
                databases: rule.databases.clone(),
                collections: rule.collections.clone(),
                commands: rule.commands.clone(),
                applications: rule.applications.clone(),
                ..Match::default()
            };
            let pattern = Pattern::new(&matches).map_err(|error| error.under(&place))?;
            all.push((rule.action, rule.name.clone().unwrap_or(place), pattern));
        }
        Ok(Self { rules: all, otherwise })
    }

    /// Whether anything could be denied.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.otherwise == Action::Allow && self.rules.iter().all(|(action, ..)| *action == Action::Allow)
    }

    /// Decides. Of several collections (`bulkWrite`) one that is denied is enough.
    #[must_use]
    pub fn judge(&self, request: &Request, application: &[u8]) -> Decision<'_> {
        let command = request.command();
        let mut decision = Decision { action: Action::Allow, by: "otherwise" };
        for place in request.places() {
            decision = self.judge_one(command, place, application);
            if decision.action == Action::Deny {
                break;
            }
        }
        decision
    }

    fn judge_one(&self, command: &Command, place: Place<'_>, application: &[u8]) -> Decision<'_> {
        let who = Who { application, ..Who::default() };
        let found = self.rules.iter().find(|(_, _, pattern)| pattern.fits(command, place, who));
        match found {
            Some((action, name, _)) => Decision { action: *action, by: name },
            None if command.handshake => Decision { action: Action::Allow, by: "otherwise" },
            None => Decision { action: self.otherwise, by: "otherwise" },
        }
    }
}

impl Pattern {
    /// Of the configuration.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn new(matches: &Match) -> Result<Self, ConfigError> {
        let commands = matches.commands.iter().enumerate().map(|(at, name)| {
            known(name).map(|command| command.name).map_err(|error| error.under(format!("commands[{at}]")))
        });
        Ok(Self {
            databases: Texts::new("databases", &matches.databases)?,
            collections: Texts::new("collections", &matches.collections)?,
            commands: commands.collect::<Result<_, _>>()?,
            callsites: Texts::new("callsites", &matches.callsites)?,
            applications: Texts::new("applications", &matches.applications)?,
            users: Texts::new("users", &matches.users)?,
        })
    }

    /// Whether an operation is meant.
    #[must_use]
    pub fn fits(&self, command: &Command, (database, collection): Place<'_>, who: Who<'_>) -> bool {
        let is_named = self.commands.contains(&command.name);
        (is_named || (self.commands.is_empty() && !command.handshake))
            && self.databases.fits(database)
            && self.collections.fits(collection)
            && self.callsites.fits(who.callsite)
            && self.applications.fits(who.application)
            && self.users.fits(who.user.as_bytes())
    }
}

impl Texts {
    /// Of a list under this key of the configuration.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn new(key: &str, texts: &[String]) -> Result<Self, ConfigError> {
        let read = |(at, text): (usize, &String)| Text::new(text).map_err(|error| error.under(format!("{key}[{at}]")));
        texts.iter().enumerate().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// Whether everything is meant.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of them is meant.
    #[must_use]
    pub fn fits(&self, value: &[u8]) -> bool {
        self.0.is_empty()
            || self.0.iter().any(|text| match text {
                Text::Whole(whole) => **whole == *value,
                Text::Beginning(beginning) => value.starts_with(beginning),
            })
    }
}

impl Text {
    fn new(text: &str) -> Result<Self, ConfigError> {
        let beginning = text.strip_suffix('*');
        let name = beginning.unwrap_or(text);
        if text.is_empty() || name.contains('*') {
            return Err(ConfigError::new(format!(
                "\"{text}\" is neither a name nor the beginning of one with a star behind it"
            )));
        }
        let bytes = name.as_bytes().into();
        Ok(if beginning.is_some() { Self::Beginning(bytes) } else { Self::Whole(bytes) })
    }
}

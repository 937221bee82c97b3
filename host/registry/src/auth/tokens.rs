//! The tokens file.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::{
    error::{Problem, shown},
    host::ServiceName,
    yaml::{self, Node},
};

type Digest = [u8; 32];

/// Whom a token is known as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// The service in question.
    Service,
    /// One that may read.
    Reader,
    /// Another service.
    Other,
    /// Nobody.
    Nobody,
}

/// Digests of tokens, by what they are good for. Tokens themselves are not kept.
#[derive(Default)]
pub(crate) struct Tokens {
    /// Of the file's text.
    file: Digest,
    services: BTreeMap<ServiceName, Vec<Digest>>,
    /// Good for every service.
    every: Vec<Digest>,
    read: Vec<Digest>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("services", &self.services.len()).finish_non_exhaustive()
    }
}

fn digest(bytes: &[u8]) -> Digest {
    Sha256::digest(bytes).into()
}

impl Tokens {
    /// Largest file.
    pub(crate) const FILE: u64 = 1024 * 1024;
    /// Shorter ones can be guessed.
    const SHORTEST: usize = 16;
    const LONGEST: usize = 4096;

    /// Reads a file: YAML, of which JSON is a part. `services` has tokens by service, `"*"` among them for every service; `read` has those that may only read.
    pub(crate) fn read(text: &str) -> Result<Self, Problem> {
        if text.trim().is_empty() {
            // It is being written.
            return Err(Problem::new("tokens", "the file is empty: say `services: {}` for none"));
        }
        let mut tokens = Self { file: digest(text.as_bytes()), ..Self::default() };
        for (name, value) in fields(yaml::read(text)?, "")? {
            match name.as_str() {
                "services" => tokens.read_services(value)?,
                "read" => tokens.read = list(value, "read")?,
                _ => return Err(Problem::new(shown(name), "is neither `services` nor `read`")),
            }
        }
        Ok(tokens)
    }

    fn read_services(&mut self, value: Node) -> Result<(), Problem> {
        for (name, value) in fields(value, "services")? {
            let field = format!("services.{}", shown(&name));
            let tokens = list(value, &field)?;
            if name == "*" {
                self.every = tokens;
            } else {
                let service = ServiceName::parse(&name).map_err(|problem| Problem::new(field, problem.message))?;
                self.services.insert(service, tokens);
            }
        }
        Ok(())
    }

    /// Whether it was read from this text.
    pub(crate) fn is_of(&self, text: &str) -> bool {
        self.file == digest(text.as_bytes())
    }

    pub(crate) fn services(&self) -> usize {
        self.services.len()
    }

    /// Whom a token is known as. Every known one is compared, whole: the time says nothing of which is near.
    pub(crate) fn known(&self, token: &str, service: Option<&ServiceName>) -> Known {
        let token = digest(token.as_bytes());
        let among = |list: &[Digest]| list.iter().fold(Choice::from(0), |found, known| found | known.ct_eq(&token));
        let mut own = among(&self.every);
        let mut other = Choice::from(0);
        for (name, list) in &self.services {
            let found = among(list);
            if Some(name) == service { own |= found } else { other |= found }
        }
        let read = among(&self.read);
        match (bool::from(own), bool::from(read), bool::from(other)) {
            (true, ..) => Known::Service,
            (_, true, _) => Known::Reader,
            (_, _, true) => Known::Other,
            _ => Known::Nobody,
        }
    }
}

fn fields(node: Node, field: &str) -> Result<Vec<(String, Node)>, Problem> {
    match node {
        Node::Map(fields) => Ok(fields),
        // An empty file, or a name with nothing behind it.
        Node::Text(text) if text.is_empty() => Ok(Vec::new()),
        _ => Err(Problem::new(field, "must be a map")),
    }
}

fn list(node: Node, field: &str) -> Result<Vec<Digest>, Problem> {
    let Node::List(items) = node else {
        return Err(Problem::new(field, "must be a list of tokens"));
    };
    let one = |(index, item)| {
        let problem = |message: String| Problem::new(format!("{field}[{index}]"), message);
        let Node::Text(token) = item else { return Err(problem("must be a token".to_owned())) };
        if let Some(hex) = token.strip_prefix("sha256:") {
            let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok();
            let digest = bytes.and_then(|bytes| Digest::try_from(bytes).ok());
            return digest.ok_or_else(|| problem("must have 64 hexadecimal digits behind `sha256:`".to_owned()));
        }
        if !(Tokens::SHORTEST..=Tokens::LONGEST).contains(&token.len()) {
            return Err(problem(format!("must have {} to {} characters", Tokens::SHORTEST, Tokens::LONGEST)));
        }
        Ok(digest(token.as_bytes()))
    };
    items.into_iter().enumerate().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str) -> ServiceName {
        ServiceName::parse(name).unwrap()
    }

    #[test]
    fn tokens_are_known_by_what_they_are_good_for() {
        let hashed = data_encoding::HEXUPPER.encode(&digest(b"token-of-orders-1"));
        let yaml = format!(
            "services:\n  users: [token-of-users-01, 'token-of-users-02']\n  orders:\n  - sha256:{hashed}\n  \"*\": [token-of-everyone]\nread: [token-of-readers-1]\n"
        );
        let tokens = Tokens::read(&yaml).unwrap();
        let users = service("users");
        for (token, known) in [
            ("token-of-users-01", Known::Service),
            ("token-of-users-02", Known::Service),
            ("token-of-everyone", Known::Service),
            ("token-of-orders-1", Known::Other),
            ("token-of-readers-1", Known::Reader),
            ("token-of-users-0", Known::Nobody),
            ("", Known::Nobody),
            (&format!("sha256:{hashed}"), Known::Nobody),
        ] {
            assert_eq!(tokens.known(token, Some(&users)), known, "{token}");
        }
        assert_eq!(tokens.known("token-of-users-01", None), Known::Other);
        assert!(tokens.is_of(&yaml) && !tokens.is_of(""));
    }

    #[test]
    fn json_is_read_as_well() {
        let tokens = Tokens::read(r#"{"services": {"users": ["token-of-users-01"]}}"#).unwrap();
        assert_eq!(tokens.known("token-of-users-01", Some(&service("users"))), Known::Service);
    }

    #[test]
    fn a_file_that_is_wrong_says_where() {
        for (text, message) in [
            ("services: [a]", "services: must be a map"),
            ("services: {users: token}", "services.users: must be a list of tokens"),
            ("services: {users: [short]}", "services.users[0]: must have 16 to 4096 characters"),
            ("services: {users: ['sha256:ab']}", "services.users[0]: must have 64 hexadecimal digits behind `sha256:`"),
            ("services: {users: [[a]]}", "services.users[0]: must be a token"),
            ("service: {}", "service: is neither `services` nor `read`"),
        ] {
            assert_eq!(Tokens::read(text).unwrap_err().to_string(), message, "{text}");
        }
        assert_eq!(Tokens::read("services: {a b: []}").unwrap_err().field, "services.a b");
        assert!(Tokens::read(" \n").unwrap_err().to_string().contains("the file is empty"));
        Tokens::read("services:\n").unwrap();
    }
}

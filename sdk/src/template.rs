//! Text with properties in it.

mod command;

use crate::property::Typed;

use self::command::Command;

/// Text with properties in it, as configurations write it: `for=%{source.address}`. `%%` is a percent sign. Envoy's
/// command operators are known too, as far as they stand for one property: `%REQ(name?alternative):length%`,
/// `%RESP(name)%`, `%REQ_WITHOUT_QUERY(name)%`, `%PROPERTY(path)%`, `%PROTOCOL%`,
/// `%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%` and so on.
///
/// ```
/// use fyke_sdk::Template;
///
/// let template = Template::parse("for=%{source.address};proto=%{request.scheme}").unwrap();
/// assert!(!template.is_literal());
/// assert!(Template::parse("%REQ(x-user?x-name):16%").is_ok());
/// assert!(Template::parse("100%").is_err());
/// ```
#[derive(Debug, Clone)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone)]
enum Piece {
    Literal(String),
    Property(Typed),
    Command(Command),
}

impl Template {
    /// Takes it apart.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('%') {
            literal.push_str(before);
            if let Some(after) = after.strip_prefix('%') {
                literal.push('%');
                rest = after;
                continue;
            }
            let property = after.strip_prefix('{').and_then(|after| after.split_once('}'));
            let (piece, after) = if let Some((path, after)) = property {
                (Piece::Property(Typed::parse(path)?), after)
            } else {
                let (command, after) = Command::parse(after)?;
                (Piece::Command(command), after)
            };
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(piece);
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Self { pieces })
    }

    /// The text where there is no property in it, `%%` being a percent sign.
    #[must_use]
    pub fn literal(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [] => Some(""),
            [Piece::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// Whether there is no property in it.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.pieces.iter().all(|piece| matches!(piece, Piece::Literal(_)))
    }

    /// The text for the current stream. A property that it does not have is empty; where there are properties and the
    /// stream has none of them, there is no text. What a property says is bytes, and may be anything: a header's value
    /// needs a look first.
    #[must_use]
    pub fn render(&self) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        let mut found = self.is_literal();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(literal) => text.extend_from_slice(literal.as_bytes()),
                Piece::Property(property) => {
                    let value = property.read();
                    found |= value.is_some();
                    text.extend_from_slice(&value.map(crate::property::Value::into_text).unwrap_or_default());
                }
                Piece::Command(command) => {
                    let value = command.read();
                    found |= value.is_some();
                    text.extend(value.unwrap_or_default());
                }
            }
        }
        found.then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;

    #[test]
    fn properties_are_filled_in_and_absent_ones_are_empty() {
        World::reset();
        World::with(|world| {
            world.stream_mut(1).set_property("source.address", "10.0.0.1:7");
            world.stream_mut(1).set_property("source.port", 7_i64.to_le_bytes());
        });
        let render = |text: &str| Template::parse(text).unwrap().render().map(|text| String::from_utf8(text).unwrap());
        assert_eq!(render("for=%{source.address};by=%{x.y};100%%").unwrap(), "for=10.0.0.1:7;by=;100%");
        assert_eq!(render("%{source.port}").unwrap(), "7");
        assert_eq!(render("by=%{x.y}"), None);
        assert_eq!(render("").unwrap(), "");
        assert_eq!(render("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%|%DOWNSTREAM_REMOTE_PORT%").unwrap(), "10.0.0.1|7");
        assert_eq!(render("%PROPERTY(source.address):4%").unwrap(), "10.0");
        assert_eq!(render("%ROUTE_NAME%"), None);
        assert_eq!(Template::parse("100%%").unwrap().literal(), Some("100%"));
        assert_eq!(Template::parse("%PROTOCOL%").unwrap().literal(), None);
    }

    #[test]
    fn mistakes_are_named() {
        for bad in ["%", "5%", "%{", "%{a", "%{}", "%{a..b}", "%x", "%x%", "%REQ%"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }
}

//! Text with properties in it.

use crate::property::Typed;

/// Text with properties in it, as configurations write it: `for=%{source.address}`. `%%` is a percent sign.
///
/// ```
/// use fyke_sdk::Template;
///
/// let template = Template::parse("for=%{source.address};proto=%{request.scheme}").unwrap();
/// assert!(!template.is_literal());
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
            let Some((path, after)) = after.strip_prefix('{').and_then(|after| after.split_once('}')) else {
                return Err("a percent sign begins a property, like %{source.address}; the sign itself is written %%"
                    .to_owned());
            };
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(Piece::Property(Typed::parse(path)?));
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Self { pieces })
    }

    /// Whether there is no property in it.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.pieces.iter().all(|piece| matches!(piece, Piece::Literal(_)))
    }

    /// The text for the current stream. A property that it does not have is empty; where there are properties and the stream has none of
    /// them, there is no text.
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
                    text.extend(value.map(crate::property::Value::into_text).unwrap_or_default());
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
    }

    #[test]
    fn mistakes_are_named() {
        for bad in ["%", "5%", "%{", "%{a", "%{}", "%{a..b}", "%x"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }
}

//! Reading the fields of a command, with MongoDB's indifference to the kind of a number.

use bson::{Bson, Document};

use crate::error::{Failure, Result};

/// The value of any kind of number.
pub(crate) fn number(value: &Bson) -> Option<f64> {
    match value {
        Bson::Int32(value) => Some(f64::from(*value)),
        Bson::Int64(value) => Some(*value as f64),
        Bson::Double(value) => Some(*value),
        Bson::Decimal128(value) => value.to_string().parse().ok(),
        _ => None,
    }
}

/// The value of a whole number.
pub(crate) fn integer(value: &Bson) -> Option<i64> {
    match value {
        Bson::Int32(value) => Some(i64::from(*value)),
        Bson::Int64(value) => Some(*value),
        _ => number(value).filter(|value| value.fract() == 0.0).map(|value| value as i64),
    }
}

/// Truth as MongoDB sees it: neither false, zero, null nor missing.
pub(crate) fn truth(value: Option<&Bson>) -> bool {
    match value {
        None | Some(Bson::Null | Bson::Undefined) => false,
        Some(Bson::Boolean(value)) => *value,
        Some(value) => number(value) != Some(0.0),
    }
}

/// Typed access to the fields of a command.
pub(crate) trait Fields {
    /// The field as text.
    fn text(&self, field: &str) -> Result<&str>;
    /// The field as a whole number, if it is there.
    fn int(&self, field: &str) -> Result<Option<i64>>;
    /// The field as a truth; missing is false.
    fn flag(&self, field: &str) -> bool;
    /// The field as a document, if it is there.
    fn sub(&self, field: &str) -> Result<Option<&Document>>;
    /// The field as an array of documents.
    fn documents(&self, field: &str) -> Result<Vec<&Document>>;
}

impl Fields for Document {
    fn text(&self, field: &str) -> Result<&str> {
        match self.get(field) {
            Some(Bson::String(text)) => Ok(text),
            Some(_) => Err(Failure::type_mismatch(field, "string")),
            None => Err(Failure::missing(field)),
        }
    }

    fn int(&self, field: &str) -> Result<Option<i64>> {
        match self.get(field) {
            None | Some(Bson::Null) => Ok(None),
            Some(value) => integer(value).map(Some).ok_or_else(|| Failure::type_mismatch(field, "long")),
        }
    }

    fn flag(&self, field: &str) -> bool {
        truth(self.get(field))
    }

    fn sub(&self, field: &str) -> Result<Option<&Document>> {
        match self.get(field) {
            None | Some(Bson::Null) => Ok(None),
            Some(Bson::Document(document)) => Ok(Some(document)),
            Some(_) => Err(Failure::type_mismatch(field, "object")),
        }
    }

    fn documents(&self, field: &str) -> Result<Vec<&Document>> {
        let Some(value) = self.get(field) else { return Err(Failure::missing(field)) };
        let Bson::Array(values) = value else { return Err(Failure::type_mismatch(field, "array")) };
        values.iter().map(|value| value.as_document().ok_or_else(|| Failure::type_mismatch(field, "object"))).collect()
    }
}

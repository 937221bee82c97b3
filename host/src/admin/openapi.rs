//! The description of the endpoint in OpenAPI 3.1, made from its operations.

use serde_json::{Map, Value, json};

use super::{
    access::Right,
    routes::{self, Content, In, Operation, Parameter, Place, VERSION},
};

/// The schemas of bodies and answers.
const SCHEMAS: &str = include_str!("openapi/schemas.json");

/// `/v1/openapi.json`
pub(super) fn document() -> Value {
    let mut paths = Map::new();
    for operation in routes::ALL {
        let version = if operation.place == Place::Bare { "" } else { VERSION };
        let path = paths.entry(format!("{version}{}", operation.path)).or_insert_with(|| json!({}));
        if let Some(methods) = path.as_object_mut() {
            methods.insert(operation.method.as_str().to_ascii_lowercase(), described(operation));
        }
    }
    let schemas: Value = serde_json::from_str(SCHEMAS).unwrap_or_default();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Fyke admin API",
            "version": "1",
            "summary": "What operators ask a running proxy, and have it do.",
            "description": "Reading is open on loopback and on the unix socket; changing anything, the tap, and reading from elsewhere need the token. Times are seconds since 1970 unless their name says otherwise.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "The endpoint that serves this." }],
        "tags": [{ "name": "read" }, { "name": "change" }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer", "description": "What is in `token_file`." } },
        },
    })
}

fn described(operation: &Operation) -> Value {
    let mut about = operation.about.to_owned();
    if operation.place == Place::Both {
        about.push_str(&format!(" Also at {}, without the version.", operation.path));
    }
    let mut answers: Map<String, Value> = Map::new();
    let mut add = |status: u16, about: &str, contents: &[Content]| {
        answers
            .entry(status.to_string())
            .or_insert_with(|| json!({ "description": about, "content": contents_of(contents) }));
    };
    for answer in operation.answers {
        add(answer.status, answer.about, answer.contents);
    }
    let error = [Content { kind: "application/json", schema: "Error" }];
    add(401, "The token is missing.", &error);
    add(403, "It is not the token, or a page of another origin asks.", &error);
    if operation.right == Right::Change {
        add(500, "The process could not do it.", &error);
    }
    let mut value = json!({
        "operationId": operation.name,
        "summary": operation.about.split(['.', ':', ';']).next().unwrap_or_default(),
        "description": about,
        "tags": [if operation.right == Right::Change { "change" } else { "read" }],
        "responses": answers,
        // Where it is free, no token is needed; it may be given all the same.
        "security": if operation.right == Right::Change { json!([{ "token": [] }]) } else { json!([{}, { "token": [] }]) },
    });
    if let Some(fields) = value.as_object_mut() {
        if !operation.parameters.is_empty() {
            fields.insert("parameters".to_owned(), operation.parameters.iter().map(parameter).collect());
        }
        if !operation.body.is_empty() {
            let body = json!({ "required": true, "content": contents_of(operation.body) });
            fields.insert("requestBody".to_owned(), body);
        }
    }
    value
}

fn parameter(parameter: &Parameter) -> Value {
    let place = match parameter.place {
        In::Path => "path",
        In::Query => "query",
        In::Header => "header",
    };
    json!({
        "name": parameter.name,
        "in": place,
        "required": parameter.place == In::Path,
        "description": parameter.about,
        "schema": serde_json::from_str::<Value>(parameter.schema).unwrap_or_default(),
    })
}

fn contents_of(contents: &[Content]) -> Value {
    let one = |content: &Content| {
        let schema = match (content.schema, content.kind.starts_with("text/")) {
            ("", true) => json!({ "type": "string" }),
            // Bytes are no JSON: no schema says more of them.
            ("", false) => json!({}),
            (name, _) => json!({ "$ref": format!("#/components/schemas/{name}") }),
        };
        (content.kind.to_owned(), json!({ "schema": schema }))
    };
    contents.iter().map(one).collect::<Map<_, _>>().into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every `$ref` of a value.
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    match value {
                        Value::String(text) if key == "$ref" => drop(found.insert(text.clone())),
                        value => references(value, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_operation_is_described_with_schemas_that_exist() {
        let document = document();
        let operations: usize =
            document["paths"].as_object().unwrap().values().map(|path| path.as_object().unwrap().len()).sum();
        assert_eq!(operations, routes::ALL.len());
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        let schemas = document["components"]["schemas"].as_object().unwrap();
        for reference in &found {
            let name = reference.strip_prefix("#/components/schemas/").unwrap();
            assert!(schemas.contains_key(name), "{name} is missing");
        }
        for (name, schema) in schemas {
            assert!(found.contains(&format!("#/components/schemas/{name}")), "nobody needs {name}");
            // The dialect of OpenAPI 3.1 is that of JSON Schema 2020-12.
            jsonschema::meta::validate(schema).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        for operation in routes::ALL {
            for parameter in operation.parameters {
                let schema: Value = serde_json::from_str(parameter.schema).unwrap();
                jsonschema::meta::validate(&schema).unwrap();
            }
        }
    }
}

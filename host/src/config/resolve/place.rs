//! Where the resolver is in the tree, beside the typed value that it looks at.

use crate::config::{
    source::Span,
    tree::{Node, Value, join, join_index},
};

/// A part of the tree: where to point, and what to call it.
#[derive(Clone)]
pub(super) struct Place<'a> {
    node: Option<&'a Node>,
    /// The value, or the key of a map or list, or, where nothing is written, what it would belong to.
    pub span: Span,
    pub path: String,
}

impl<'a> Place<'a> {
    pub fn root(node: &'a Node) -> Self {
        Self { node: Some(node), span: node.span, path: String::new() }
    }

    pub fn key(&self, key: &str) -> Self {
        let path = join(&self.path, key);
        match self.node.and_then(|node| node.get(key)) {
            Some((key, node)) => {
                let points_to_value = node.is_scalar() && !matches!(node.value, Value::Null);
                Self { node: Some(node), span: if points_to_value { node.span } else { key.span }, path }
            }
            None => Self { node: None, span: self.span, path },
        }
    }

    pub fn index(&self, index: usize) -> Self {
        let path = join_index(&self.path, index);
        match self.node.and_then(|node| node.index(index)) {
            Some(node) => Self { node: Some(node), span: node.span, path },
            None => Self { node: None, span: self.span, path },
        }
    }

    pub fn node(&self) -> Option<&'a Node> {
        self.node
    }

    /// The value in quotes, for messages. Secrets stay out.
    pub fn shown(&self) -> String {
        self.node.map_or_else(|| "nothing".to_owned(), Node::shown)
    }

    pub fn is_secret(&self) -> bool {
        self.node.is_some_and(|node| node.env.is_some())
    }
}

//! Where each part of a document stands.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

/// Line and column, from 1.
pub(crate) type Place = (u64, u64);

/// The document as a tree of keys; the values of scalars are read elsewhere.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
    Seq(Vec<Spanned<Node>>),
    Scalar,
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping, a list or a scalar")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Map(entries))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Node::Seq(items))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_str<E>(self, _: &str) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

/// Places by path, such as `steps[3].read`.
#[derive(Debug, Default)]
pub(crate) struct Spans {
    places: BTreeMap<String, Place>,
    /// Keys of each mapping by its path, in the document's order.
    pub(crate) keys: BTreeMap<String, Vec<String>>,
}

impl Spans {
    pub(crate) fn of(root: &Spanned<Node>) -> Self {
        let mut spans = Self::default();
        spans.walk(root, String::new(), None);
        spans
    }

    fn walk(&mut self, node: &Spanned<Node>, path: String, key: Option<Location>) {
        // A key's place tells more than the place of what it holds: that is where a reader looks.
        self.places
            .insert(path.clone(), place(key.unwrap_or(node.referenced)));
        match &node.value {
            Node::Map(entries) => {
                let keys = entries.iter().map(|(key, _)| key.value.clone()).collect();
                for (key, value) in entries {
                    self.walk(value, join(&path, &key.value), Some(key.referenced));
                }
                self.keys.insert(path, keys);
            }
            Node::Seq(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.walk(item, format!("{path}[{index}]"), None);
                }
            }
            Node::Scalar => {}
        }
    }

    /// The place of a path, or of the nearest part around it.
    pub(crate) fn find(&self, path: &str) -> Place {
        let mut path = path;
        loop {
            if let Some(place) = self.places.get(path) {
                return *place;
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = path.get(..end).unwrap_or_default(),
                None if path.is_empty() => return (0, 0),
                None => path = "",
            }
        }
    }

    /// The path whose value begins last at or before a place.
    pub(crate) fn path_at(&self, at: Place) -> String {
        self.places
            .iter()
            .filter(|(_, place)| **place <= at)
            .max_by_key(|(path, place)| (**place, path.len()))
            .map(|(path, _)| path.clone())
            .unwrap_or_default()
    }
}

pub(crate) fn place(location: Location) -> Place {
    (location.line(), location.column())
}

pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

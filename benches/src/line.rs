//! A result as data: one JSON object a line, for whatever reads it next.
//!
//! ```
//! # use benches::line::Line;
//! let line = Line::new("spike", "pool-core", 22_000_000.0).with("opened", 9);
//! assert_eq!(
//!     line.to_string(),
//!     r#"{"case":"spike","name":"pool-core","ns":22000000.0,"opened":9}"#
//! );
//! ```

use std::fmt;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::Value;

/// One contestant's result in one case. Prints as a line of JSON, its fields in the order added.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    case: &'static str,
    name: &'static str,
    ns: f64,
    more: Vec<(&'static str, Value)>,
}

impl Line {
    /// What `name` took in `case`: nanoseconds, kept to a tenth.
    #[must_use]
    pub fn new(case: &'static str, name: &'static str, ns: f64) -> Self {
        Self {
            case,
            name,
            ns,
            more: Vec::new(),
        }
    }

    /// Adds a field.
    #[must_use]
    pub fn with(mut self, field: &'static str, value: impl Into<Value>) -> Self {
        self.more.push((field, value.into()));
        self
    }
}

impl Serialize for Line {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3 + self.more.len()))?;
        map.serialize_entry("case", self.case)?;
        map.serialize_entry("name", self.name)?;
        map.serialize_entry("ns", &((self.ns * 10.0).round() / 10.0))?;
        for (field, value) in &self.more {
            map.serialize_entry(field, value)?;
        }
        map.end()
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_line_is_one_json_object_with_its_fields() {
        let line = Line::new("uncontended", "floor", 41.234)
            .with("wait_p50_ns", 0)
            .with("allocs", 0.5);
        let text = line.to_string();
        assert!(!text.contains('\n'));
        let read: Value = serde_json::from_str(&text).unwrap();
        let expected = serde_json::json!({
            "case": "uncontended", "name": "floor", "ns": 41.2, "wait_p50_ns": 0, "allocs": 0.5
        });
        assert_eq!(read, expected);
    }
}

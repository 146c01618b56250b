//! The parameters that the query runs with.

use std::sync::Arc;

use serde_json::Value as Json;

/// One parameter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    Bool(bool),
}

/// Lines of parameters. Each run of the query takes one of them at random.
#[derive(Clone, Debug)]
pub(crate) struct Values(Vec<Arc<[Value]>>);

impl Values {
    /// No parameters.
    pub(crate) fn none() -> Self {
        Self(vec![Arc::new([])])
    }

    /// One number, from 1 to `most`: some thousands of them.
    pub(crate) fn numbers(most: i64) -> Self {
        let mut random = fastrand::Rng::with_seed(1);
        let numbers = (0..10_000).map(|_| Value::Integer(random.i64(1..=most)));
        Self(numbers.map(|number| Arc::from([number])).collect())
    }

    /// Reads a JSON array a line: `[7, "ada", null]`. Empty lines are passed over.
    ///
    /// # Errors
    /// What is wrong, and in which line.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().enumerate();
        let lines = lines.filter(|(_, line)| !line.trim().is_empty());
        let rows = lines.map(|(number, line)| {
            let number = number + 1;
            let row: Vec<Json> = serde_json::from_str(line.trim()).map_err(|error| {
                format!("line {number} is not a JSON array, as [7, \"ada\", null] is: {error}")
            })?;
            let row = row.into_iter().map(Value::of).collect::<Result<_, _>>();
            row.map_err(|why| format!("line {number}: {why}"))
        });
        let rows: Vec<Arc<[Value]>> = rows.collect::<Result<_, String>>()?;
        let width = rows.first().ok_or("it has no line")?.len();
        match rows.iter().position(|row| row.len() != width) {
            None => Ok(Self(rows)),
            Some(odd) => Err(format!(
                "the first line has {width} values, and another one {}",
                rows[odd].len()
            )),
        }
    }

    pub(crate) fn first(&self) -> &Arc<[Value]> {
        &self.0[0]
    }

    pub(crate) fn any(&self) -> &Arc<[Value]> {
        &self.0[fastrand::usize(..self.0.len())]
    }
}

impl Value {
    fn of(json: Json) -> Result<Self, String> {
        Ok(match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(value),
            Json::String(text) => Self::Text(text),
            Json::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(integer), _) => Self::Integer(integer),
                (None, Some(real)) => Self::Real(real),
                (None, None) => return Err(format!("{number} is no number of a database")),
            },
            Json::Array(_) | Json::Object(_) => {
                return Err("an array or object is no parameter; write it as a text".to_owned());
            }
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_line_is_the_parameters_of_a_run() {
        let values = Values::parse("[7, \"ada\", null]\n\n  [-1.5, true, \"\"]\r\n").unwrap();
        assert_eq!(
            **values.first(),
            [
                Value::Integer(7),
                Value::Text("ada".to_owned()),
                Value::Null
            ]
        );
        assert_eq!(
            *values.0[1],
            [
                Value::Real(-1.5),
                Value::Bool(true),
                Value::Text(String::new())
            ]
        );
        assert!((0..100).any(|_| values.any() == &values.0[1]));
    }

    #[test]
    fn a_bad_line_is_named() {
        for (text, why) in [
            ("", "no line"),
            ("\n \n", "no line"),
            ("[1]\n7", "line 2 is not a JSON array"),
            (
                "[1]\n[1, 2]",
                "the first line has 1 values, and another one 2",
            ),
            ("[[1]]", "line 1: an array"),
            ("[1", "line 1 is not a JSON array"),
        ] {
            let error = Values::parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn numbers_are_within_their_bound() {
        let Values(rows) = Values::numbers(3);
        let is_within = |row: &Arc<[Value]>| matches!(**row, [Value::Integer(1..=3)]);
        assert!(rows.iter().all(is_within) && rows.len() > 1000);
        assert!(Values::none().any().is_empty());
    }
}

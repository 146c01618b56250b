//! The serde implementations of settings, with the names and texts of the environment.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, MapAccess, Visitor},
};

use super::{ConfigError, Env, IdleOrder, env::Value};

impl<'de> Deserialize<'de> for Env {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Entries)
    }
}

struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = Env;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of settings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Env, A::Error> {
        let mut entries = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            let lower = name.to_lowercase();
            if name != lower {
                let expected = format!("written {lower}, in lower case");
                return Err(A::Error::custom(ConfigError::secret(name, expected)));
            }
            if entries.insert(name, value).is_some() {
                let expected = "set once, and is there twice";
                return Err(A::Error::custom(ConfigError::secret(lower, expected)));
            }
        }
        Ok(Env::from_map(entries))
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Scalar)
    }
}

struct Scalar;

impl Visitor<'_> for Scalar {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number, true, false or null")
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Text(number.to_string()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Text(number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Text(number.to_string()))
    }

    fn visit_bool<E>(self, is: bool) -> Result<Value, E> {
        Ok(Value::Text(is.to_string()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

/// The serialized form of a setting: numbers as numbers, all other values as the texts of the environment.
#[doc(hidden)]
#[derive(Debug)]
pub struct __Shown<'a, T>(pub &'a T);

macro_rules! as_it_is {
    ($($type:ty),*) => {$(
        impl Serialize for __Shown<'_, $type> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.0.serialize(serializer)
            }
        }
    )*};
}

as_it_is!(u16, u32, u64, usize, f64, bool, String);

impl Serialize for __Shown<'_, Duration> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*self.0))
    }
}

impl Serialize for __Shown<'_, IdleOrder> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self.0 {
            IdleOrder::Lifo => "lifo",
            IdleOrder::Fifo => "fifo",
        })
    }
}

macro_rules! or_a_word {
    ($($type:ty: $word:literal),*) => {$(
        impl Serialize for __Shown<'_, Option<$type>> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self.0 {
                    Some(value) => __Shown(value).serialize(serializer),
                    None => serializer.serialize_str($word),
                }
            }
        }
    )*};
}

or_a_word!(Duration: "off", u32: "auto", usize: "auto");

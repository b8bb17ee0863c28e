//! Few values by name.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Index;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A name that mostly is one of the catalogue, which is never copied.
pub type Word = Cow<'static, str>;

/// Values by name, in the order of the names: the parameters of a call, its inputs. A call has few of them, and a pipeline may
/// have very many calls, so they stand side by side; the nodes of a `BTreeMap` have room for eleven. Written and read as a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named<T>(Vec<(Word, T)>);

impl<T> Named<T> {
    pub fn new() -> Self {
        Self(Vec::new())
    }

    pub fn with_capacity(n_values: usize) -> Self {
        Self(Vec::with_capacity(n_values))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get(&self, name: &str) -> Option<&T> {
        self.find(name).ok().map(|place| &self.0[place].1)
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut T> {
        self.find(name).ok().map(|place| &mut self.0[place].1)
    }

    pub fn contains_key(&self, name: &str) -> bool {
        self.find(name).is_ok()
    }

    /// Returns the value that the name had before.
    pub fn insert(&mut self, name: impl Into<Word>, value: T) -> Option<T> {
        let name = name.into();
        match self.find(&name) {
            Ok(place) => Some(std::mem::replace(&mut self.0[place].1, value)),
            Err(place) => {
                self.0.insert(place, (name, value));
                None
            }
        }
    }

    pub fn remove(&mut self, name: &str) -> Option<T> {
        self.find(name).ok().map(|place| self.0.remove(place).1)
    }

    pub fn iter(&self) -> Iter<'_, T> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value))
    }

    pub fn keys(&self) -> impl ExactSizeIterator<Item = &str> + DoubleEndedIterator + Clone {
        self.0.iter().map(|(name, _)| name.as_ref())
    }

    pub fn values(&self) -> impl ExactSizeIterator<Item = &T> + DoubleEndedIterator + Clone {
        self.0.iter().map(|(_, value)| value)
    }

    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    /// Returns where the name stands, or else where it would.
    fn find(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| known.as_ref().cmp(name))
    }
}

type Iter<'a, T> = std::iter::Map<std::slice::Iter<'a, (Word, T)>, fn(&(Word, T)) -> (&str, &T)>;

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<N: Into<Word>, T, const LEN: usize> From<[(N, T); LEN]> for Named<T> {
    fn from(values: [(N, T); LEN]) -> Self {
        values.into_iter().collect()
    }
}

impl<N: Into<Word>, T> FromIterator<(N, T)> for Named<T> {
    fn from_iter<I: IntoIterator<Item = (N, T)>>(values: I) -> Self {
        let mut named = Self::new();
        named.extend(values);
        named
    }
}

impl<N: Into<Word>, T> Extend<(N, T)> for Named<T> {
    fn extend<I: IntoIterator<Item = (N, T)>>(&mut self, values: I) {
        let values = values.into_iter();
        if !self.is_empty() {
            // Mostly these are few, and replace what is there.
            values.for_each(|(name, value)| drop(self.insert(name, value)));
            return;
        }
        self.0.reserve_exact(values.size_hint().0);
        self.0.extend(values.map(|(name, value)| (name.into(), value)));
        if !self.0.is_sorted_by(|a, b| a.0 < b.0) {
            // The sort is stable: of equal names the last stands last, and it counts.
            self.0.sort_by(|a, b| a.0.cmp(&b.0));
            self.0.dedup_by(|later, earlier| {
                let is_same = later.0 == earlier.0;
                if is_same {
                    std::mem::swap(later, earlier);
                }
                is_same
            });
        }
    }
}

impl<T> IntoIterator for Named<T> {
    type Item = (Word, T);
    type IntoIter = std::vec::IntoIter<(Word, T)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a Named<T> {
    type Item = (&'a str, &'a T);
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// # Panics
/// There is no value of this name, as with any map.
impl<T, S: AsRef<str> + ?Sized> Index<&S> for Named<T> {
    type Output = T;

    fn index(&self, name: &S) -> &T {
        self.get(name.as_ref()).unwrap_or_else(|| panic!("there is no `{}`", name.as_ref()))
    }
}

impl<T: Serialize> Serialize for Named<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Values<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Values<T> {
            type Value = Named<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut values: A) -> Result<Named<T>, A::Error> {
                let mut named = Vec::new();
                while let Some(value) = values.next_entry::<String, T>()? {
                    named.push(value);
                }
                Ok(named.into_iter().collect())
            }
        }

        deserializer.deserialize_map(Values(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_a_map_in_order_and_the_last_of_a_name_counts() {
        let named = Named::from([("lr", 1), ("epochs", 2), ("lr", 0), ("lr", 3)]);
        assert_eq!(serde_json::to_string(&named).unwrap(), r#"{"epochs":2,"lr":3}"#);
        assert_eq!(serde_json::from_str::<Named<i32>>(r#"{"lr":3,"epochs":2}"#).unwrap(), named);
        assert_eq!((named.get("lr"), named["epochs"], named.get("x")), (Some(&3), 2, None));
        assert_eq!(serde_json::to_string(&Named::<i32>::new()).unwrap(), "{}");
        assert_eq!(serde_json::from_str::<Named<i32>>("{}").unwrap(), Named::new());
    }
}

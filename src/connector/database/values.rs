//! A row as the values of a table's columns.

use serde::Serialize;
use serde::ser::{Error, Impossible, SerializeStruct, SerializeTuple, SerializeTupleStruct, Serializer};

use super::table::Column;

/// What a column of a row holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
}

/// Why a row does not fit the columns.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unfit(String);

impl Error for Unfit {
    fn custom<T: std::fmt::Display>(what: T) -> Self {
        Unfit(what.to_string())
    }
}

/// The values of a row, in the order of the columns.
pub(super) fn values<T: Serialize>(row: &T, columns: &[Column]) -> Result<Vec<Value>, Unfit> {
    let mut found = Fields { columns, values: vec![None; columns.len()], next: 0 };
    row.serialize(&mut found)?;
    match found.values.iter().position(Option::is_none) {
        Some(at) => Err(Unfit(format!("the row has no value for the column \"{}\"", columns[at].name))),
        None => Ok(found.values.into_iter().flatten().collect()),
    }
}

/// The values that were found so far.
struct Fields<'a> {
    columns: &'a [Column],
    values: Vec<Option<Value>>,
    /// The column of the next value.
    next: usize,
}

impl Fields<'_> {
    fn put(&mut self, value: Value) -> Result<(), Unfit> {
        let Some(place) = self.values.get_mut(self.next) else {
            return Err(Unfit(format!("the row has more values than the table has columns, {}", self.columns.len())));
        };
        *place = Some(value);
        self.next += 1;
        Ok(())
    }
}

fn no<T>(what: &str) -> Result<T, Unfit> {
    Err(Unfit(format!(
        "{what} cannot be the value of a column: map the row to numbers, texts, booleans, bytes, and options of these"
    )))
}

/// Values that are whole numbers.
macro_rules! integers {
    ($($method:ident $type:ty,)*) => {
        $(fn $method(self, n: $type) -> Result<(), Unfit> {
            match i64::try_from(n) {
                Ok(n) => self.put(Value::Int(n)),
                Err(_) => Err(Unfit(format!("{n} does not fit into 64 bits with a sign: map it to a text"))),
            }
        })*
    };
}

impl<'a, 'b> Serializer for &'a mut Fields<'b> {
    type Ok = ();
    type Error = Unfit;
    type SerializeSeq = Impossible<(), Unfit>;
    type SerializeTuple = &'a mut Fields<'b>;
    type SerializeTupleStruct = &'a mut Fields<'b>;
    type SerializeTupleVariant = Impossible<(), Unfit>;
    type SerializeMap = Impossible<(), Unfit>;
    type SerializeStruct = &'a mut Fields<'b>;
    type SerializeStructVariant = Impossible<(), Unfit>;

    integers! {
        serialize_i8 i8, serialize_i16 i16, serialize_i32 i32, serialize_i64 i64, serialize_i128 i128,
        serialize_u8 u8, serialize_u16 u16, serialize_u32 u32, serialize_u64 u64, serialize_u128 u128,
    }

    fn serialize_bool(self, v: bool) -> Result<(), Unfit> {
        self.put(Value::Bool(v))
    }

    fn serialize_f32(self, v: f32) -> Result<(), Unfit> {
        self.put(Value::Float(v.into()))
    }

    fn serialize_f64(self, v: f64) -> Result<(), Unfit> {
        self.put(Value::Float(v))
    }

    fn serialize_char(self, v: char) -> Result<(), Unfit> {
        self.put(Value::Text(v.into()))
    }

    fn serialize_str(self, v: &str) -> Result<(), Unfit> {
        self.put(Value::Text(v.into()))
    }

    fn serialize_bytes(self, v: &[u8]) -> Result<(), Unfit> {
        self.put(Value::Bytes(v.into()))
    }

    fn serialize_none(self) -> Result<(), Unfit> {
        self.put(Value::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Unfit> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Unfit> {
        self.put(Value::Null)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Unfit> {
        self.put(Value::Null)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Unfit> {
        self.put(Value::Text(variant.into()))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Unfit> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Unfit> {
        no("an enum with content")
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, Unfit> {
        no("a list")
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, Unfit> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Unfit> {
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Unfit> {
        no("an enum with content")
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Unfit> {
        no("a map")
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Unfit> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Unfit> {
        no("an enum with content")
    }
}

impl SerializeTuple for &mut Fields<'_> {
    type Ok = ();
    type Error = Unfit;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unfit> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), Unfit> {
        Ok(())
    }
}

impl SerializeTupleStruct for &mut Fields<'_> {
    type Ok = ();
    type Error = Unfit;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unfit> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), Unfit> {
        Ok(())
    }
}

impl SerializeStruct for &mut Fields<'_> {
    type Ok = ();
    type Error = Unfit;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Unfit> {
        let at = self.columns.iter().position(|c| c.name == name);
        self.next = at.ok_or_else(|| Unfit(format!("the row has the field \"{name}\", and the table has no such column")))?;
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), Unfit> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::Table;
    use super::*;

    #[derive(Serialize)]
    struct Reading {
        celsius: f32,
        sensor: Option<&'static str>,
    }

    #[derive(Serialize)]
    enum State {
        Open,
    }

    #[test]
    fn a_row_is_its_values_by_name_or_in_order() {
        let table = Table::new("t").text("sensor").float("celsius");
        let of = |row: &Reading| values(row, &table.columns).unwrap();
        assert_eq!(of(&Reading { celsius: 1.5, sensor: Some("a") }), [Value::Text("a".into()), Value::Float(1.5)]);
        assert_eq!(of(&Reading { celsius: 1.5, sensor: None })[0], Value::Null);
        let wide = Table::new("t").text("a").integer("b").boolean("c").text("d");
        let row = (('x', 7u8), true, State::Open);
        let expected = [Value::Text("x".into()), Value::Int(7), Value::Bool(true), Value::Text("Open".into())];
        assert_eq!(values(&row, &wide.columns).unwrap(), expected);
    }

    #[test]
    fn a_row_that_does_not_fit_is_an_error() {
        let table = Table::new("t").text("sensor").integer("n");
        let error = |e: Result<Vec<Value>, Unfit>| e.unwrap_err().to_string();
        for (e, expected) in [
            (error(values(&Reading { celsius: 0.0, sensor: None }, &table.columns)), "field \"celsius\""),
            (error(values(&("a",), &table.columns)), "no value for the column \"n\""),
            (error(values(&("a", 1, 2), &table.columns)), "more values than the table has columns, 2"),
            (error(values(&("a", u64::MAX), &table.columns)), "64 bits"),
            (error(values(&("a", vec![1]), &table.columns)), "a list cannot be the value of a column: map"),
        ] {
            assert!(e.contains(expected), "{e}");
        }
    }
}

//! The text of a row, as `print` shows it and `save_as_text_files` writes it.

use std::any::Any;
use std::fmt::Debug;

/// A string without quotes, any other row as `{:?}`.
pub(crate) fn row_text<T: Debug + 'static>(row: &T) -> String {
    let any: &dyn Any = row;
    match (any.downcast_ref::<String>(), any.downcast_ref::<&'static str>()) {
        (Some(s), _) => s.clone(),
        (_, Some(s)) => s.to_string(),
        _ => format!("{row:?}"),
    }
}

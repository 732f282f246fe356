//! Programs, as users run them.

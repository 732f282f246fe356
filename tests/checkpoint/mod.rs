//! Checkpoint directories that older versions wrote.

mod old_formats;

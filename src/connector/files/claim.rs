//! Places that outputs of this process write to, each by one output at a time.

use std::sync::Mutex;

use crate::core::error::BoxError;
use crate::core::lock::lock;

static CLAIMS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The right to write to a place. It ends when it is dropped.
#[derive(Debug)]
pub(super) struct Claim(String);

impl Claim {
    /// `does`: what the output does, as `writes the log out/_spark_metadata`.
    ///
    /// # Errors
    /// Another output of this process does it too.
    pub fn new(does: String) -> Result<Self, BoxError> {
        let mut claims = lock(&CLAIMS);
        if claims.contains(&does) {
            return Err(format!("another output of this process {does} too").into());
        }
        claims.push(does.clone());
        Ok(Claim(does))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        lock(&CLAIMS).retain(|does| *does != self.0);
    }
}

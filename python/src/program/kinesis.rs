//! What a program says of a stream of Kinesis.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::Arguments;

/// A stream of Kinesis. It may have keys of an account, so it has no text of its own.
pub struct Kinesis {
    /// Settings by the names of Spark's `KinesisUtils.createStream`.
    pub settings: Vec<(String, String)>,
    /// Whether a row is a text; otherwise it is bytes.
    pub text: bool,
}

impl Kinesis {
    /// The stream that Python's half gives.
    pub fn parse(with: &Arguments<'_>) -> PyResult<Kinesis> {
        let kinesis = Kinesis { settings: with.object(0)?.extract()?, text: with.flag(1)? };
        kinesis.check().map_err(PyValueError::new_err)?;
        Ok(kinesis)
    }

    #[cfg(feature = "kinesis")]
    fn check(&self) -> Result<(), String> {
        self.source().check().map_err(|e| e.to_string())
    }

    #[cfg(not(feature = "kinesis"))]
    fn check(&self) -> Result<(), String> {
        Err("this build of tidemill has no Kinesis: build it with the feature kinesis, which is on by default".into())
    }

    /// The source in Rust.
    #[cfg(feature = "kinesis")]
    pub fn source(&self) -> tidemill::prelude::KinesisSource {
        tidemill::prelude::KinesisSource::params(self.settings.iter().map(|(name, value)| (name, value)))
    }
}

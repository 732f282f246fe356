//! Options of readers and writers, by Spark's names: their case does not matter.

use std::collections::BTreeMap;
use std::time::Duration;

/// Options as a program gave them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options(BTreeMap<String, (String, String)>);

impl Options {
    pub(crate) fn set(&mut self, name: &str, value: String) {
        self.0.insert(name.trim().to_lowercase(), (name.trim().to_owned(), value));
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(&name.to_lowercase()).map(|(_, value)| value.as_str())
    }

    /// Every option must be one of `known`. A name that ends with a dot stands for all that begin with it.
    pub(crate) fn only(&self, format: &str, known: &[&str]) -> Result<(), String> {
        let fits =
            |name: &str| known.iter().any(|k| if k.ends_with('.') { name.starts_with(k) } else { name.eq_ignore_ascii_case(k) });
        match self.0.values().find(|(name, _)| !fits(&name.to_lowercase())) {
            None => Ok(()),
            Some((name, _)) => {
                let known = known.iter().map(|k| if k.ends_with('.') { format!("{k}*") } else { (*k).to_owned() });
                Err(format!("format {format} has no option {name}; there are: {}", known.collect::<Vec<_>>().join(", ")))
            }
        }
    }

    /// `None`: the option is not given.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, String> {
        self.get(name)
            .map(|value| match value.to_ascii_lowercase().as_str() {
                "true" => Ok(true),
                "false" => Ok(false),
                _ => Err(format!("option {name} is `{value}`; say true or false")),
            })
            .transpose()
    }

    /// `sink.delivery-guarantee`: whether a sink writes each row exactly once. Default: at least once.
    #[cfg_attr(
        not(any(feature = "kafka", feature = "postgres", feature = "sqlite")),
        allow(dead_code, reason = "only their sinks have a choice")
    )]
    pub(crate) fn exactly_once(&self) -> Result<bool, String> {
        match self.get("sink.delivery-guarantee") {
            None | Some("at-least-once") => Ok(false),
            Some("exactly-once") => Ok(true),
            Some(other) => Err(format!("option sink.delivery-guarantee is `{other}`; say at-least-once or exactly-once")),
        }
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, String> {
        self.get(name)
            .map(|value| match value.parse() {
                Ok(n) if n > 0 => Ok(n),
                _ => Err(format!("option {name} is `{value}`; say a whole number from 1")),
            })
            .transpose()
    }

    /// Spark's text of a duration: `7d`, `12h`, `30m`, `10s`.
    pub(crate) fn duration(&self, name: &str) -> Result<Option<Duration>, String> {
        let seconds = |text: &str| {
            let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
            let number: u64 = number.parse().ok()?;
            let seconds = match unit {
                "s" => 1,
                "m" | "min" => 60,
                "h" => 3_600,
                "d" => 86_400,
                _ => return None,
            };
            number.checked_mul(seconds)
        };
        let read = |text| match seconds(text) {
            Some(seconds) => Ok(Duration::from_secs(seconds)),
            None => Err(format!("option {name} is `{text}`; write for example 7d, 12h, 30m or 10s")),
        };
        self.get(name).map(read).transpose()
    }

    /// A single byte, such as the one between fields. `\t` is a tab.
    pub(crate) fn byte(&self, name: &str) -> Result<Option<u8>, String> {
        self.get(name)
            .map(|value| match value {
                "\\t" => Ok(b'\t'),
                value if value.len() == 1 => Ok(value.as_bytes()[0]),
                value => Err(format!("option {name} is `{value}`; say one character of ASCII, or \\t for a tab")),
            })
            .transpose()
    }

    pub(crate) fn needed(&self, format: &str, name: &str) -> Result<&str, String> {
        self.get(name).ok_or_else(|| format!("format {format} needs the option {name}"))
    }

    /// The names and values that begin with a prefix, without it.
    #[cfg_attr(not(feature = "kafka"), allow(dead_code, reason = "only Kafka has such options"))]
    pub(crate) fn with_prefix<'o>(&'o self, prefix: &'o str) -> impl Iterator<Item = (&'o str, &'o str)> {
        let named = move |(key, (name, value)): (&'o String, &'o (String, String))| {
            key.starts_with(prefix).then(|| (&name[prefix.len()..], value.as_str()))
        };
        self.0.iter().filter_map(named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_have_names_in_any_case_and_an_unknown_one_is_named() {
        let mut options = Options::default();
        options.set("maxFilesPerTrigger", "3".into());
        options.set("Kafka.security.protocol", "SSL".into());
        options.set("sep", "\\t".into());
        assert_eq!(options.number("maxfilespertrigger"), Ok(Some(3)));
        assert_eq!(options.byte("SEP"), Ok(Some(b'\t')));
        assert_eq!(options.with_prefix("kafka.").collect::<Vec<_>>(), [("security.protocol", "SSL")]);
        assert!(options.only("csv", &["sep", "maxFilesPerTrigger", "kafka."]).is_ok());
        let error = options.only("csv", &["header", "kafka."]).unwrap_err();
        assert_eq!(error, "format csv has no option maxFilesPerTrigger; there are: header, kafka.*");
        let age = |text: &str| {
            let mut options = Options::default();
            options.set("maxFileAge", text.into());
            options.duration("maxfileage")
        };
        assert_eq!(age("7d"), Ok(Some(Duration::from_secs(7 * 86_400))));
        assert_eq!(age("30m"), Ok(Some(Duration::from_secs(1_800))));
        assert!(age("7").is_err() && age("week").unwrap_err().contains("is `week`; write for example 7d"));
        options.set("header", "yes".into());
        assert!(options.flag("header").unwrap_err().contains("say true or false"));
    }
}

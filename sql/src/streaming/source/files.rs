//! Files of a directory, by the library's source of files: whole files, in the order of their times.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tidemill::prelude::TextFileSource;

use crate::files::options::Options;
use crate::files::read::{FILE_OPTIONS, matches};

/// The options of files that appear.
pub(super) fn options() -> Vec<&'static str> {
    [&FILE_OPTIONS[..], &["maxFilesPerTrigger", "latestFirst", "maxFileAge"]].concat()
}

/// What to read, from a path and Spark's options. Files that are there at the start are read too, as in Spark.
pub(super) fn source(path: &str, options: &Options) -> Result<TextFileSource, String> {
    if options.get("cleanSource").is_some_and(|how| !how.eq_ignore_ascii_case("off")) {
        return Err("option cleanSource is not there: files that were read stay; move them away by their age".to_owned());
    }
    let given = Path::new(path);
    let (dir, only): (PathBuf, Option<String>) = match given.is_file() {
        // A file is the only one of its directory that is read.
        true => {
            let parent = given.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            (parent.to_owned(), given.file_name().map(|name| name.to_string_lossy().into_owned()))
        }
        false => (given.to_owned(), None),
    };
    let mut source = TextFileSource::new(dir).existing(true);
    source = source.recursive(options.flag("recursiveFileLookup")?.unwrap_or(false));
    source = source.newest_first(options.flag("latestFirst")?.unwrap_or(false));
    if let Some(most) = options.number("maxFilesPerTrigger")? {
        source = source.max_files(usize::try_from(most).unwrap_or(usize::MAX));
    }
    if let Some(age) = options.get("maxFileAge") {
        source = source.max_age(age_of(age)?);
    }
    let glob = options.get("pathGlobFilter").map(str::to_owned);
    Ok(source.accept(move |name| {
        // Below a directory that is read with its sub-directories, a name is a path.
        let last = name.rsplit('/').next().unwrap_or(name);
        only.as_deref().is_none_or(|only| only == name) && glob.as_deref().is_none_or(|glob| matches(glob, last))
    }))
}

/// Spark's text of a duration: `7d`, `12h`, `30m`, `10s`.
fn age_of(text: &str) -> Result<Duration, String> {
    let wrong = || format!("option maxFileAge is `{text}`; write for example 7d, 12h, 30m or 10s");
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_read() {
        assert_eq!(age_of("7d"), Ok(Duration::from_secs(7 * 86_400)));
        assert_eq!(age_of("30m"), Ok(Duration::from_secs(1_800)));
        assert!(age_of("7").is_err() && age_of("week").is_err());
    }

    #[test]
    fn sparks_options_are_those_of_the_source() {
        let mut options = Options::default();
        options.set("maxFilesPerTrigger", "3".into());
        options.set("latestFirst", "true".into());
        let source = format!("{:?}", source("/data/in", &options).unwrap());
        assert!(source.contains("max_files: Some(3)") && source.contains("newest_first: true"), "{source}");
        options.set("cleanSource", "archive".into());
        assert!(super::source("/data/in", &options).unwrap_err().contains("cleanSource"));
    }
}

//! Files of a directory, by the library's source of files: whole files, in the order of their times.

use std::path::{Path, PathBuf};

use tidemill::prelude::{CleanSource, TextFileSource};

use crate::files::options::Options;
use crate::files::read::{FILE_OPTIONS, matches};

/// The options of files that appear.
pub(super) fn options() -> Vec<&'static str> {
    [&FILE_OPTIONS[..], &["maxFilesPerTrigger", "latestFirst", "maxFileAge", "cleanSource", "sourceArchiveDir"]].concat()
}

/// What to read, from a path and Spark's options. Files that are there at the start are read too, as in Spark, and of the output of a
/// sink only the files that its `_spark_metadata` names.
pub(super) fn source(path: &str, options: &Options) -> Result<TextFileSource, String> {
    let given = Path::new(path);
    let (dir, only): (PathBuf, Option<String>) = match given.is_file() {
        // A file is the only one of its directory that is read.
        true => {
            let parent = given.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            (parent.to_owned(), given.file_name().map(|name| name.to_string_lossy().into_owned()))
        }
        false => (given.to_owned(), None),
    };
    let mut source = TextFileSource::new(dir).existing(true).metadata_log(only.is_none()).clean_source(clean_source(options)?);
    source = source.recursive(options.flag("recursiveFileLookup")?.unwrap_or(false));
    source = source.newest_first(options.flag("latestFirst")?.unwrap_or(false));
    if let Some(most) = options.number("maxFilesPerTrigger")? {
        source = source.max_files(usize::try_from(most).unwrap_or(usize::MAX));
    }
    if let Some(age) = options.duration("maxFileAge")? {
        source = source.max_age(age);
    }
    let glob = options.get("pathGlobFilter").map(str::to_owned);
    Ok(source.accept(move |name| {
        // Below a directory that is read with its sub-directories, a name is a path.
        let last = name.rsplit('/').next().unwrap_or(name);
        only.as_deref().is_none_or(|only| only == name) && glob.as_deref().is_none_or(|glob| matches(glob, last))
    }))
}

/// What becomes of files that were read.
fn clean_source(options: &Options) -> Result<CleanSource, String> {
    let archive = options.get("sourceArchiveDir");
    match (options.get("cleanSource").map(str::to_ascii_lowercase).as_deref(), archive) {
        (Some("archive"), Some(dir)) => Ok(CleanSource::Archive(dir.into())),
        (Some("archive"), None) => Err("option cleanSource=archive needs the option sourceArchiveDir".to_owned()),
        (Some(other), _) if other != "off" && other != "delete" => {
            Err(format!("option cleanSource is `{other}`; there are off, delete and archive"))
        }
        (_, Some(_)) => Err("option sourceArchiveDir needs cleanSource=archive: no file would be moved there".to_owned()),
        (Some("delete"), None) => Ok(CleanSource::Delete),
        (_, None) => Ok(CleanSource::Off),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparks_options_are_those_of_the_source() {
        let mut options = Options::default();
        options.set("maxFilesPerTrigger", "3".into());
        options.set("latestFirst", "true".into());
        let source = format!("{:?}", source("/data/in", &options).unwrap());
        assert!(source.contains("max_files: Some(3)") && source.contains("newest_first: true"), "{source}");
    }

    #[test]
    fn files_are_cleaned_by_sparks_options() {
        let clean = |given: &[(&str, &str)]| {
            let mut options = Options::default();
            given.iter().for_each(|(name, value)| options.set(name, (*value).to_owned()));
            source("/data/in", &options).map(|source| format!("{source:?}").split_once("clean_source: ").unwrap().1.to_owned())
        };
        for (given, expected) in [
            (&[][..], "Off"),
            (&[("cleanSource", "OFF")], "Off"),
            (&[("cleanSource", "delete")], "Delete"),
            (&[("cleanSource", "archive"), ("sourceArchiveDir", "/data/old")], "Archive(\"/data/old\")"),
        ] {
            let found = clean(given).unwrap();
            assert!(found.starts_with(expected), "{given:?}: {found}");
        }
        for (given, says) in [
            (&[("cleanSource", "archive")][..], "needs the option sourceArchiveDir"),
            (&[("cleanSource", "move")], "is `move`; there are off, delete and archive"),
            (&[("sourceArchiveDir", "/data/old")], "needs cleanSource=archive"),
            (&[("cleanSource", "delete"), ("sourceArchiveDir", "/data/old")], "needs cleanSource=archive"),
        ] {
            let e = clean(given).unwrap_err();
            assert!(e.contains(says), "{given:?}: {e}");
        }
    }
}

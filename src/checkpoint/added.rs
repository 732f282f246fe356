//! Computations that were added to a job and run again after a restart: `added-NAME.json` in the checkpoint directory.

use serde::{Deserialize, Serialize};

use super::store::Store;
use crate::core::error::{Error, Result};
use crate::core::question;

/// The most bytes of such a file.
const BYTES: u64 = 64 << 10;
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Kept {
    format: u32,
    name: String,
    text: String,
}

fn file(name: &str) -> String {
    format!("added-{name}.json")
}

/// Whether this is the name of such a file.
pub(super) fn is_name(file: &str) -> bool {
    file.strip_prefix("added-").and_then(|name| name.strip_suffix(".json")).is_some_and(question::is_name)
}

/// Keeps a computation by its name, durably.
pub(super) fn keep(store: &dyn Store, name: &str, text: &str) -> Result<()> {
    let kept = Kept { format: FORMAT, name: name.into(), text: text.into() };
    let json = serde_json::to_vec(&kept).map_err(|e| Error::bug(format!("a computation has no JSON: {e}")))?;
    forget(store, name)?;
    store.put_new(&file(name), &json).map(drop)
}

/// Keeps the computation of this name no longer.
pub(super) fn forget(store: &dyn Store, name: &str) -> Result<()> {
    store.delete(&[file(name)])
}

/// The computations that are kept: name and text, by name.
pub(super) fn all(store: &dyn Store) -> Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    for entry in store.list("")?.into_iter().filter(|entry| is_name(&entry.name)) {
        let bytes = store.read(&entry.name, BYTES)?.unwrap_or_default();
        let strange =
            |what: String| Error::checkpoint(entry.name.clone(), format!("{what}; delete it, and add the computation again"));
        let kept: Kept = serde_json::from_slice(&bytes).map_err(|e| strange(format!("it is not an added computation: {e}")))?;
        if kept.format > FORMAT {
            return Err(strange(format!("its format is {}, and this program reads up to {FORMAT}", kept.format)));
        }
        all.push((kept.name, kept.text));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::checkpoint::{Checkpoints, Directory, Origin, Settings};
    use crate::testing::temp_dir::TempDir;

    /// What version 1 wrote.
    const GOLDEN: &str = r#"{"format":1,"name":"best.of-all","text":"counts | filter _1 != \"a\" | top 10"}"#;

    #[test]
    fn a_kept_computation_is_a_line_of_json_that_every_version_reads() {
        let dir = TempDir::new("kept-added");
        let settings = Settings::new("job", Duration::from_secs(1));
        let (checkpoints, _) = Checkpoints::open(&dir, settings).unwrap();
        checkpoints.begin(Origin::default()).unwrap();
        let path = dir.join("added-best.of-all.json");
        std::fs::write(&path, GOLDEN).unwrap();
        let [(name, text)] = <[_; 1]>::try_from(checkpoints.kept_added().unwrap()).unwrap();
        assert_eq!((name.as_str(), text.as_str()), ("best.of-all", "counts | filter _1 != \"a\" | top 10"));
        assert!(Directory::open(&dir).unwrap().verify().unwrap().foreign.is_empty(), "it belongs to the directory");
        checkpoints.drop_added(&name).unwrap();
        assert!(!path.exists() && checkpoints.kept_added().unwrap().is_empty());
        checkpoints.keep_added(&name, &text).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), GOLDEN);
        std::fs::write(&path, GOLDEN.replace(":1,", ":2,")).unwrap();
        let newer = checkpoints.kept_added().unwrap_err().to_string();
        assert!(newer.contains("added-best.of-all.json: its format is 2, and this program reads up to 1"), "{newer}");
    }
}

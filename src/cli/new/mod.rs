//! `tidemill new`: creates a first program in a new folder. It compiles, runs, and has a test that passes.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::terminal;
use crate::core::error::{BoxError, Error};

/// The files of a new program. `{name}` and `{library}` are filled in.
const FILES: [(&str, &str); 3] =
    [("Cargo.toml", include_str!("Cargo.toml.in")), ("src/main.rs", include_str!("main.rs.in")), (".gitignore", "/target\n")];

/// Creates a program that counts words, with a test. The folder must not exist.
#[derive(clap::Args)]
pub struct Args {
    /// The folder to create; its name is the program's
    #[arg(value_name = "NAME")]
    folder: PathBuf,
    /// The folder of tidemill's sources [default: the one this command was built from]
    #[arg(long, value_name = "DIR", default_value = env!("CARGO_MANIFEST_DIR"), hide_default_value = true)]
    tidemill: PathBuf,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode, BoxError> {
    let name = args.folder.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    if !is_package_name(name) {
        return Err(format!(
            "\"{}\" cannot name a program: write letters, digits, - and _, a letter first, as in word-count",
            args.folder.display()
        )
        .into());
    }
    let library = args.tidemill.canonicalize().ok().filter(|dir| dir.join("src/lib.rs").is_file()).ok_or_else(|| {
        format!("{} does not have the sources of tidemill; name their folder with --tidemill DIR", args.tidemill.display())
    })?;
    if args.folder.exists() {
        return Err(format!("{} exists already; give another name, or remove it", args.folder.display()).into());
    }
    let library = serde_json::to_string(&library.display().to_string())?;
    for (file, template) in FILES {
        write(&args.folder.join(file), &template.replace("{name}", name).replace("{library}", &library))?;
    }
    terminal::line(&format!("Created {}. Next:\n", args.folder.display()))?;
    terminal::line(&format!(
        "    cd {}\n    cargo test\n    nc -lk 9999      # in a terminal of its own: type lines\n    cargo run",
        args.folder.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// What cargo takes as the name of a package that becomes a program.
fn is_package_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    let failed = |e| Error::io(path.display().to_string(), e);
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).map_err(failed)?;
    std::fs::write(path, text).map_err(failed)
}

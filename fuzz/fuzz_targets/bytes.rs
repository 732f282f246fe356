//! Runs libFuzzer on the target of `tidemill::testing::TARGETS` that `TIDEMILL_FUZZ` names. With `TIDEMILL_SEEDS=DIR` it writes the
//! seeds of all targets to DIR/NAME/, and ends.

#![no_main]

use std::path::Path;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use tidemill::core::data::{DECODE_LEAST, DECODE_PER_BYTE};
use tidemill::testing::{TARGETS, Target};

static TARGET: OnceLock<&Target> = OnceLock::new();

fn write_seeds(dir: &Path) -> std::io::Result<()> {
    for target in TARGETS {
        let dir = dir.join(target.name);
        std::fs::create_dir_all(&dir)?;
        for (n, seed) in (target.seeds)().into_iter().enumerate() {
            std::fs::write(dir.join(format!("seed-{n}")), seed)?;
        }
    }
    Ok(())
}

fn chosen() -> &'static Target {
    let names = || TARGETS.iter().map(|t| t.name).collect::<Vec<_>>().join(", ");
    let name = std::env::var("TIDEMILL_FUZZ").unwrap_or_else(|_| panic!("set TIDEMILL_FUZZ to one of {}", names()));
    TARGETS.iter().find(|t| t.name == name).unwrap_or_else(|| panic!("TIDEMILL_FUZZ={name} is not one of {}", names()))
}

fuzz_target!(
    init: if let Some(dir) = std::env::var_os("TIDEMILL_SEEDS") {
        write_seeds(Path::new(&dir)).expect("a directory for seeds");
        std::process::exit(0);
    },
    |bytes: &[u8]| {
        let target = TARGET.get_or_init(chosen);
        let most = allocation_counter::measure(|| _ = (target.run)(bytes)).bytes_max;
        assert!(most <= (DECODE_LEAST + DECODE_PER_BYTE * bytes.len()) as u64, "{most} bytes for {}", bytes.len());
    }
);

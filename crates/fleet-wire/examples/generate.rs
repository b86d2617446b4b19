//! Writes the JSON Schemas and the AsyncAPI description below the folder given.

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let folder = PathBuf::from(std::env::args_os().nth(1).unwrap_or_else(|| "docs".into()));
    std::fs::create_dir_all(folder.join("schemas"))?;
    for (path, bytes) in fleet_wire::documents::files() {
        std::fs::write(folder.join(path), bytes)?;
    }
    Ok(())
}

//! Makes an image: `make_image PART VERSION SIZE SEED FILE`.

use anyhow::{Context, bail};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [part, version, size, seed, file] = arguments.as_slice() else {
        bail!("make_image PART VERSION SIZE SEED FILE");
    };
    let bytes = ecu_sim::build_image(part, version, size.parse()?, seed.parse()?)?;
    std::fs::write(file, bytes).with_context(|| format!("cannot write {file}"))
}

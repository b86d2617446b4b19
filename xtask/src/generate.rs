//! The generated files that are committed, and whether they are current.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};

use crate::workspace::{cargo, npm, root, shown, target_dir};
use crate::{page, queries};

/// A generated file: path below the root, and what it must hold.
pub(crate) type Generated = (PathBuf, Vec<u8>);

/// Writes all generated files, or with `check` says which are stale.
pub(crate) fn run(check: bool) -> anyhow::Result<ExitCode> {
    let files = all()?;
    let (mut changed, count) = (Vec::new(), files.len());
    for (path, bytes) in &files {
        let file = root().join(path);
        if std::fs::read(&file).is_ok_and(|known| known == *bytes) {
            continue;
        }
        changed.push(path.clone());
        if !check {
            write(&file, bytes)?;
        }
    }
    let leftovers = leftovers(&files)?;
    let verb = if check { "stale" } else { "written" };
    for path in &changed {
        println!("{verb}: {}", path.display());
    }
    for path in &leftovers {
        println!("left over, nothing generates it any more: {}", path.display());
    }
    if leftovers.is_empty() && (changed.is_empty() || !check) {
        println!("{count} generated files are current");
        return Ok(ExitCode::SUCCESS);
    }
    println!("next: `cargo xtask generate`, remove what is left over, and commit the difference");
    Ok(ExitCode::FAILURE)
}

fn all() -> anyhow::Result<Vec<Generated>> {
    let docs = Path::new("docs");
    let mut files: Vec<Generated> = fleet_wire::documents::files()
        .into_iter()
        .map(|(path, bytes)| (docs.join(path), bytes))
        .collect();
    let schema = format!("{:#}\n", procedure::schema());
    files.push((docs.join("schemas/procedure.schema.json"), schema.into_bytes()));
    let openapi = output_of(cargo().args(["run", "--quiet", "-p", "fleet-server", "--", "openapi"]))?;
    let types = api_types(&openapi)?;
    files.push((docs.join("openapi.json"), openapi));
    files.push(("ui/src/api/schema.d.ts".into(), types));
    for program in ["fleet-server", "device-agent"] {
        let reference = output_of(cargo().args([
            "run",
            "--quiet",
            "-p",
            program,
            "--",
            "config",
            "print",
            "--defaults",
        ]))?;
        files.push((docs.join(format!("config/{program}.toml")), reference));
    }
    files.extend(queries::files()?);
    Ok(files)
}

/// The page's types, from the description of the interface as it is now.
fn api_types(openapi: &[u8]) -> anyhow::Result<Vec<u8>> {
    let logs = target_dir().join("xtask");
    std::fs::create_dir_all(&logs).with_context(|| format!("cannot make {}", logs.display()))?;
    page::install(&logs)?;
    let source = logs.join("openapi.json");
    write(&source, openapi)?;
    output_of(
        npm()
            .args(["exec", "--no", "--", "openapi-typescript"])
            .arg(&source),
    )
}

fn output_of(command: &mut Command) -> anyhow::Result<Vec<u8>> {
    let what = shown(command);
    let output = command
        .output()
        .with_context(|| format!("cannot start `{what}`"))?;
    if !output.status.success() {
        bail!(
            "`{what}` failed ({}):\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    if output.stdout.is_empty() {
        bail!("`{what}` wrote nothing");
    }
    Ok(output.stdout)
}

fn write(file: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let folder = file.parent().context("a file lies in a folder")?;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    std::fs::write(file, bytes).with_context(|| format!("cannot write {}", file.display()))
}

/// Schemas and descriptions of statements that nothing generates any more.
fn leftovers(files: &[Generated]) -> anyhow::Result<Vec<PathBuf>> {
    let mut left = Vec::new();
    for folder in [PathBuf::from("docs/schemas"), queries::folder()] {
        let unread = || format!("cannot read {}", folder.display());
        for entry in std::fs::read_dir(root().join(&folder)).with_context(unread)? {
            let path = folder.join(entry.with_context(unread)?.file_name());
            if !files.iter().any(|(known, _)| *known == path) {
                left.push(path);
            }
        }
    }
    left.sort();
    Ok(left)
}

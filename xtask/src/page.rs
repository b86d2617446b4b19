//! The page's packages and its build, done again only when their sources have changed.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};

use crate::workspace::{npm, own_dir, root, run_logged};

/// The page shows it.
const RUNBOOK: &str = "docs/runbook.md";
/// Folders of `ui/` that are made, not written.
const MADE: [&str; 4] = ["node_modules", "dist", "test-results", "playwright-report"];

/// Installs the page's packages when the lock file is another than at the last time.
pub(crate) fn install(logs: &Path) -> anyhow::Result<()> {
    let ui = root().join("ui");
    let lock = ui.join("package-lock.json");
    let bytes = std::fs::read(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
    let stamp = Stamp::new("ui-packages", hex::encode(Sha256::digest(bytes)));
    if stamp.holds() && ui.join("node_modules").is_dir() {
        return Ok(());
    }
    announce("installing the page's packages (npm ci)");
    run_logged(npm().arg("ci"), &logs.join("npm-ci.log"))?;
    stamp.set()
}

/// Builds the page into `ui/dist` when one of its sources is another than at the last time.
pub(crate) fn build(logs: &Path) -> anyhow::Result<()> {
    let ui = root().join("ui");
    let runbook = root().join(RUNBOOK);
    let bytes = std::fs::read(&runbook).with_context(|| format!("cannot read {}", runbook.display()))?;
    let sources = format!("{} {}", digest_of(&ui)?, hex::encode(Sha256::digest(bytes)));
    let stamp = Stamp::new("ui-build", sources);
    if stamp.holds() && ui.join("dist/index.html").is_file() {
        return Ok(());
    }
    announce("building the page (npm run build)");
    let start = Instant::now();
    run_logged(npm().args(["run", "build"]), &logs.join("npm-build.log"))?;
    announce(&format!("page built in {:.0} s", start.elapsed().as_secs_f32()));
    stamp.set()
}

fn announce(what: &str) {
    println!("  {what}");
}

/// What something was made from, at the last time.
struct Stamp {
    path: PathBuf,
    value: String,
}

impl Stamp {
    fn new(name: &str, value: String) -> Self {
        Self {
            path: own_dir().join(format!("{name}.sha256")),
            value,
        }
    }

    fn holds(&self) -> bool {
        std::fs::read_to_string(&self.path).is_ok_and(|known| known == self.value)
    }

    fn set(&self) -> anyhow::Result<()> {
        std::fs::create_dir_all(own_dir()).context("cannot make .xtask")?;
        std::fs::write(&self.path, &self.value)
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// One digest over names and contents of all sources below a folder.
fn digest_of(folder: &Path) -> anyhow::Result<String> {
    let mut files = Vec::new();
    collect(folder, &mut files)?;
    files.sort();
    let mut digest = Sha256::new();
    for path in files {
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path
            .strip_prefix(folder)
            .unwrap_or(&path)
            .to_string_lossy()
            .into_owned();
        digest.update((name.len() as u64).to_be_bytes());
        digest.update(name);
        digest.update((bytes.len() as u64).to_be_bytes());
        digest.update(bytes);
    }
    Ok(hex::encode(digest.finalize()))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", folder.display()))?;
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if MADE.contains(&name.as_ref()) || name.ends_with(".tsbuildinfo") {
            continue;
        }
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_follows_names_and_contents_of_sources_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
            std::fs::write(path, text).expect("a file");
            digest_of(folder.path()).expect("a digest")
        };
        let first = write("src/a.ts", "one");
        assert_ne!(first, write("src/a.ts", "two"), "a content");
        assert_eq!(first, write("src/a.ts", "one"), "the same again");
        assert_eq!(
            first,
            write("node_modules/x.js", "made"),
            "what is made does not count"
        );
        assert_eq!(first, write("dist/index.html", "made"));
        assert_ne!(first, write("src/b.ts", ""), "a name");
    }
}

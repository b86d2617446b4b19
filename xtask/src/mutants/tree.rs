//! The copy of the tree that patches are applied to. The checkout itself is never touched.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};

use crate::workspace::command;

/// From this size on a built file is linked, not copied, bytes. Cargo writes the small ones anew in place.
const LINKED: u64 = 64 * 1024;

/// The copy.
pub(crate) struct Tree {
    from: PathBuf,
    to: PathBuf,
}

impl Tree {
    /// A copy of `from` in `to`, which may hold an older one.
    pub(crate) fn new(from: &Path, to: &Path) -> Self {
        Self {
            from: from.to_owned(),
            to: to.to_owned(),
        }
    }

    /// Where it is.
    pub(crate) fn root(&self) -> &Path {
        &self.to
    }

    /// Makes the copy equal to the checkout as it stands now. Files that are equal keep their time, so that only what
    /// changed is built again.
    ///
    /// # Errors
    /// When git does not list the files, or one can't be copied.
    pub(crate) fn refresh(&self) -> anyhow::Result<()> {
        let mut wanted = BTreeSet::new();
        for name in self.listed()? {
            let (from, to) = (self.from.join(&name), self.to.join(&name));
            // Listed and removed: not committed yet.
            let Ok(content) = fs::read(&from) else { continue };
            if !fs::read(&to).is_ok_and(|old| old == content) {
                make_folder_of(&to)?;
                fs::copy(&from, &to).with_context(|| format!("cannot write {}", to.display()))?;
                // The copy takes over the time of the original, which may be older than what was built from a mutant.
                let now = File::options()
                    .append(true)
                    .open(&to)
                    .and_then(|file| touch(&file));
                now.with_context(|| format!("cannot touch {}", to.display()))?;
            }
            wanted.insert(to);
        }
        remove_others(&self.to, &wanted)?;
        self.link_page()
    }

    /// The built page is part of the server's program and of no commit.
    fn link_page(&self) -> anyhow::Result<()> {
        let (from, to) = (self.from.join("ui/dist"), self.to.join("ui/dist"));
        if from.is_dir() && !to.exists() {
            make_folder_of(&to)?;
            std::os::unix::fs::symlink(&from, &to).context("cannot link the built page")?;
        }
        Ok(())
    }

    fn listed(&self) -> anyhow::Result<Vec<String>> {
        let mut git = command("git");
        git.current_dir(&self.from)
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        let output = git.output().context("cannot start git")?;
        ensure!(
            output.status.success(),
            "git does not list the files: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8(output.stdout).context("a file's name is no text")?;
        Ok(text
            .split('\0')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect())
    }

    /// Whether a patch fits the copy.
    ///
    /// # Errors
    /// Says where it does not, and how to make it fit again.
    pub(crate) fn check(&self, patch: &Path) -> anyhow::Result<()> {
        self.git_apply(patch, &["--check"])
    }

    /// Applies a patch to the copy.
    ///
    /// # Errors
    /// As [`Tree::check`].
    pub(crate) fn apply(&self, patch: &Path) -> anyhow::Result<()> {
        self.git_apply(patch, &[])?;
        // Time stamps of the file system may be coarser than a build is short.
        let text = fs::read_to_string(patch).with_context(|| format!("cannot read {}", patch.display()))?;
        for name in patched(&text) {
            let file = File::options().append(true).open(self.to.join(name));
            file.and_then(|file| touch(&file))
                .with_context(|| format!("cannot touch {name}"))?;
        }
        Ok(())
    }

    fn git_apply(&self, patch: &Path, options: &[&str]) -> anyhow::Result<()> {
        let mut git = Command::new("git");
        git.current_dir(&self.to)
            .args(["apply", "-C1", "--whitespace=nowarn"])
            .args(options)
            .arg(patch);
        // The copy lies inside the checkout's ignored folder. Git would take paths as those of the checkout, and leave
        // out what is not there without a word.
        if let Some(parent) = self.to.parent() {
            git.env("GIT_CEILING_DIRECTORIES", parent);
        }
        let output = git.output().context("cannot start git")?;
        if !output.status.success() {
            bail!(
                "{} does not fit the code any more: {}\nMake the change by hand in the checkout, then `git diff -U2 > {}`, \
                 and take the change back.",
                patch.display(),
                String::from_utf8_lossy(&output.stderr).trim(),
                patch.display()
            );
        }
        Ok(())
    }
}

/// Files that a patch changes.
pub(crate) fn patched(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.strip_prefix("+++ b/"))
}

fn touch(file: &File) -> io::Result<()> {
    file.set_modified(std::time::UNIX_EPOCH + fleet_clock_now())
}

fn fleet_clock_now() -> std::time::Duration {
    let now = fleet_clock::wall_now();
    std::time::Duration::from_nanos(u64::try_from(now.as_nanosecond()).unwrap_or(0))
}

fn make_folder_of(file: &Path) -> anyhow::Result<()> {
    let folder = file.parent().unwrap_or(file);
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

/// Removes every file that is not wanted.
fn remove_others(folder: &Path, wanted: &BTreeSet<PathBuf>) -> anyhow::Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let entry = entry.context("cannot read the copy")?;
        let path = entry.path();
        if entry.file_type().context("cannot read the copy")?.is_dir() {
            remove_others(&path, wanted)?;
        } else if !wanted.contains(&path) && !path.ends_with("ui/dist") {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// Gives a new folder of built files what another one has, so that only our own crates are built again. Nothing of the
/// other folder is changed.
///
/// # Errors
/// When a file can't be linked or copied.
pub(crate) fn seed_target(from: &Path, to: &Path) -> anyhow::Result<()> {
    for folder in ["deps", "build", ".fingerprint"] {
        let from = from.join("debug").join(folder);
        if from.is_dir() {
            seed_folder(&from, &to.join("debug").join(folder))
                .with_context(|| format!("cannot take over {}", from.display()))?;
        }
    }
    Ok(())
}

fn seed_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        // Cargo may be at work there: what is gone by now is left out.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            seed_folder(&path, &to)?;
        } else if metadata.is_file()
            && !to.exists()
            && (metadata.len() < LINKED || fs::hard_link(&path, &to).is_err())
        {
            if fs::copy(&path, &to).is_err() {
                continue;
            }
            File::options()
                .append(true)
                .open(&to)?
                .set_modified(metadata.modified()?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(folder: &Path, arguments: &[&str]) {
        let status = Command::new("git")
            .current_dir(folder)
            .args(arguments)
            .output()
            .unwrap();
        assert!(status.status.success(), "{status:?}");
    }

    /// A checkout with one file, and its copy in an ignored folder of it.
    fn checkout() -> (tempfile::TempDir, Tree) {
        let folder = tempfile::tempdir().unwrap();
        git(folder.path(), &["init", "-q"]);
        fs::write(folder.path().join(".gitignore"), "/target/\n").unwrap();
        fs::create_dir(folder.path().join("src")).unwrap();
        fs::write(folder.path().join("src/a.rs"), "one\ntwo\nthree\n").unwrap();
        git(folder.path(), &["add", "."]);
        let to = folder.path().join("target/mutants/tree");
        fs::create_dir_all(&to).unwrap();
        let tree = Tree::new(folder.path(), &to);
        tree.refresh().unwrap();
        (folder, tree)
    }

    const PATCH: &str = "--- a/src/a.rs\n+++ b/src/a.rs\n@@ -1,3 +1,3 @@\n one\n-two\n+broken\n three\n";

    fn patch(folder: &Path, text: &str) -> PathBuf {
        let path = folder.join("target/x.patch");
        fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn a_patch_changes_the_copy_and_not_the_checkout() {
        let (folder, tree) = checkout();
        let patch = patch(folder.path(), PATCH);
        tree.check(&patch).unwrap();
        tree.apply(&patch).unwrap();
        let read = |root: &Path| fs::read_to_string(root.join("src/a.rs")).unwrap();
        assert_eq!(read(tree.root()), "one\nbroken\nthree\n");
        assert_eq!(read(folder.path()), "one\ntwo\nthree\n");
        tree.refresh().unwrap();
        assert_eq!(read(tree.root()), "one\ntwo\nthree\n");
    }

    #[test]
    fn a_patch_that_does_not_fit_is_an_error_that_says_how_to_go_on() {
        let (folder, tree) = checkout();
        let patch = patch(folder.path(), &PATCH.replace("-two", "-2"));
        let error = tree.apply(&patch).unwrap_err().to_string();
        assert!(error.contains("x.patch") && error.contains("git diff"), "{error}");
        let gone = patch.with_file_name("none.patch");
        assert!(tree.check(&gone).is_err());
    }

    #[test]
    fn the_copy_follows_the_checkout_and_keeps_the_times_of_what_is_equal() {
        let (folder, tree) = checkout();
        let time = |name: &str| fs::metadata(tree.root().join(name)).unwrap().modified().unwrap();
        let before = time(".gitignore");
        fs::write(folder.path().join("src/b.rs"), "new\n").unwrap();
        fs::remove_file(folder.path().join("src/a.rs")).unwrap();
        tree.refresh().unwrap();
        assert!(tree.root().join("src/b.rs").exists());
        assert!(!tree.root().join("src/a.rs").exists());
        assert_eq!(time(".gitignore"), before);
    }

    #[test]
    fn built_files_are_taken_over_with_their_times() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("a"), folder.path().join("b"));
        fs::create_dir_all(from.join("debug/deps")).unwrap();
        fs::create_dir_all(from.join("debug/.fingerprint/x")).unwrap();
        fs::write(from.join("debug/deps/big.rlib"), vec![1; 100_000]).unwrap();
        fs::write(from.join("debug/.fingerprint/x/dep"), "small").unwrap();
        let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        let small = from.join("debug/.fingerprint/x/dep");
        File::options()
            .append(true)
            .open(&small)
            .unwrap()
            .set_modified(old)
            .unwrap();
        seed_target(&from, &to).unwrap();
        let taken = to.join("debug/.fingerprint/x/dep");
        assert_eq!(fs::metadata(&taken).unwrap().modified().unwrap(), old);
        fs::write(&taken, "written anew").unwrap();
        assert_eq!(
            fs::read_to_string(&small).unwrap(),
            "small",
            "the other folder stays as it was"
        );
        assert_eq!(
            fs::metadata(to.join("debug/deps/big.rlib")).unwrap().len(),
            100_000
        );
        seed_target(&from, &to).unwrap();
    }

    #[test]
    fn a_patch_names_its_files() {
        assert_eq!(patched(PATCH).collect::<Vec<_>>(), ["src/a.rs"]);
    }
}

//! Files of jobs on disk: one file per content, named by its SHA-256.
//!
//! A file is written beside its place, synced and renamed, and the folder is synced: what has its name
//! is whole, also for another server that shares the folder. Name and version are rows of the store; the same
//! content under two names lies here once.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fleet_store::Store;
use sha2::{Digest, Sha256};
use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use uuid::Uuid;

use crate::http::types::Check;
use crate::storage::StoreHealth;

/// Age from which on a file that is being written is one that nobody writes any more: a server that shares the folder
/// may write one now.
const LEFT_BEHIND: Duration = Duration::from_hours(1);
/// How often the folder is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// How often every file of the store is looked for, in looks.
const EVERY_FILE: u32 = 6;

/// Folder of the files.
#[derive(Debug, Clone)]
pub struct ArtifactFiles {
    folder: PathBuf,
}

/// Why a file could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// Larger than allowed.
    #[error("the file is larger than {most} bytes (http.max_artifact_bytes)")]
    TooLarge {
        /// The limit.
        most: u64,
    },
    /// The disk refused.
    #[error("file {path} could not be written")]
    Disk {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// A file that is being taken. Dropped before [`Upload::finish`], it leaves nothing behind but, at a
/// power cut, a file that [`ArtifactFiles::open_folder`] removes.
#[derive(Debug)]
pub struct Upload {
    folder: PathBuf,
    temp: PathBuf,
    file: File,
    hash: Sha256,
    size: u64,
    most: u64,
    done: bool,
}

/// What was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// SHA-256, lower-case hexadecimal.
    pub sha256: String,
    /// Bytes.
    pub size: u64,
}

impl ArtifactFiles {
    /// Opens the folder of this server alone, making it if need be, and removes what was being written when the
    /// power went.
    ///
    /// # Errors
    /// When the folder can't be made or read.
    pub async fn open_folder(folder: PathBuf) -> Result<Self, ArtifactError> {
        let files = Self { folder };
        files.clean_up(Duration::ZERO).await?;
        Ok(files)
    }

    /// A folder that servers share. It need not be there at the start: see [`FilesHealth`].
    pub async fn open_shared(folder: PathBuf) -> Self {
        let files = Self { folder };
        if let Err(error) = files.clean_up(LEFT_BEHIND).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the shared folder of files (artifacts.folder) can't be used"
            );
        }
        files
    }

    /// Makes the folder and removes files that were being written and have not changed for so long.
    async fn clean_up(&self, older_than: Duration) -> Result<(), ArtifactError> {
        let disk = |source| ArtifactError::Disk {
            path: self.folder.clone(),
            source,
        };
        fs::create_dir_all(&self.folder).await.map_err(disk)?;
        let mut entries = fs::read_dir(&self.folder).await.map_err(disk)?;
        while let Some(entry) = entries.next_entry().await.map_err(disk)? {
            let path = entry.path();
            if path.extension().is_none_or(|extension| extension != "tmp") {
                continue;
            }
            let old = older_than.is_zero()
                || entry.metadata().await.is_ok_and(|found| {
                    let changed = found.modified().ok();
                    let age = changed.and_then(|changed| changed.elapsed().ok());
                    age.is_some_and(|age| age >= older_than)
                });
            if !old {
                continue;
            }
            match fs::remove_file(&path).await {
                // Another server may clean up at the same time.
                Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(disk(source)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Why the folder can't be used, if it can't.
    async fn fault(&self) -> Option<String> {
        match fs::metadata(&self.folder).await {
            Ok(found) if found.is_dir() => None,
            Ok(_) => Some(format!("{} is no folder", self.folder.display())),
            Err(error) => Some(format!("{} can't be used: {error}", self.folder.display())),
        }
    }

    /// Whether a file is here.
    async fn has(&self, sha256: &str) -> bool {
        fs::try_exists(self.folder.join(sha256)).await.unwrap_or(false)
    }

    /// Begins to take a file. `id` names the temporary file.
    ///
    /// # Errors
    /// When the folder can't be written.
    pub async fn begin(&self, id: Uuid, most: u64) -> Result<Upload, ArtifactError> {
        let temp = self.folder.join(format!("{id}.tmp"));
        let file = File::create_new(&temp)
            .await
            .map_err(|source| ArtifactError::Disk {
                path: temp.clone(),
                source,
            })?;
        Ok(Upload {
            folder: self.folder.clone(),
            temp,
            file,
            hash: Sha256::new(),
            size: 0,
            most,
            done: false,
        })
    }

    /// Opens a file for reading; the size is that of the file on disk.
    ///
    /// # Errors
    /// When it is not there or can't be read.
    pub async fn open(&self, sha256: &str) -> io::Result<(File, u64)> {
        let file = File::open(self.folder.join(sha256)).await?;
        let size = file.metadata().await?.len();
        Ok((file, size))
    }
}

impl Upload {
    /// Appends a piece.
    ///
    /// # Errors
    /// When the file becomes too large or the disk refuses.
    pub async fn write(&mut self, piece: &Bytes) -> Result<(), ArtifactError> {
        self.size += piece.len() as u64;
        if self.size > self.most {
            return Err(ArtifactError::TooLarge { most: self.most });
        }
        self.hash.update(piece);
        self.file
            .write_all(piece)
            .await
            .map_err(|source| self.disk(source))
    }

    /// Makes the file durable under its hash.
    ///
    /// # Errors
    /// When the disk refuses; nothing is left behind then.
    pub async fn finish(mut self) -> Result<Taken, ArtifactError> {
        self.file.flush().await.map_err(|source| self.disk(source))?;
        self.file.sync_all().await.map_err(|source| self.disk(source))?;
        let sha256 = hex::encode(std::mem::take(&mut self.hash).finalize());
        let place = self.folder.join(&sha256);
        fs::rename(&self.temp, &place)
            .await
            .map_err(|source| self.disk(source))?;
        self.done = true;
        sync_folder(&self.folder)
            .await
            .map_err(|source| self.disk(source))?;
        Ok(Taken {
            sha256,
            size: self.size,
        })
    }

    fn disk(&self, source: io::Error) -> ArtifactError {
        ArtifactError::Disk {
            path: self.temp.clone(),
            source,
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.done {
            // Nothing more can be done about a file that can't be removed; the next start tries again.
            let _ = std::fs::remove_file(&self.temp);
        }
    }
}

/// What is wrong with the files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct FilesView {
    folder: Option<String>,
    missing: Vec<String>,
}

/// How the files of jobs stand. A clone shows the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct FilesHealth(watch::Sender<FilesView>);

impl FilesHealth {
    /// Looks at the folder, and now and then for every file that the store names. Runs for ever; safe to cancel.
    pub(crate) async fn watch(self, files: ArtifactFiles, store: Arc<dyn Store>, health: StoreHealth) {
        for look in (0..EVERY_FILE).cycle() {
            let folder = files.fault().await;
            let mut missing = None;
            if folder.is_none() && look == 0 && health.is_usable() {
                missing = missing_files(&files, &*store).await;
            }
            self.0.send_modify(|view| {
                view.folder = folder;
                if let Some(missing) = missing {
                    view.missing = missing;
                }
            });
            tokio::time::sleep(LOOK).await;
        }
    }

    /// `ok` or `missing`. Without the folder the server is not ready; a single file that is missing is told.
    pub(crate) fn check(&self) -> Check {
        let view = self.0.borrow();
        let (state, required, detail) = match (&view.folder, view.missing.len()) {
            (Some(fault), _) => ("missing", true, fault.clone()),
            (None, 0) => ("ok", true, "the folder is there".to_owned()),
            (None, count) => {
                let first: Vec<&str> = view.missing.iter().take(5).map(String::as_str).collect();
                let more = if count > first.len() { ", …" } else { "" };
                let detail = format!("{count} files are known and not here: {}{more}", first.join(", "));
                ("missing", false, detail)
            }
        };
        Check {
            name: "files".to_owned(),
            state: state.to_owned(),
            ok: state == "ok",
            required,
            detail,
            help: (state != "ok").then(|| HELP.to_owned()),
        }
    }
}

/// What to do about a file that is not here.
pub(crate) const HELP: &str =
    "set artifacts.folder of every replica to the same folder, or put the same bytes there again";

/// Names and versions of the files that the store knows and the folder lacks.
async fn missing_files(files: &ArtifactFiles, store: &dyn Store) -> Option<Vec<String>> {
    let mut missing = Vec::new();
    for row in store.artifacts().await.ok()? {
        if !files.has(&row.sha256).await {
            missing.push(format!("{} {}", row.name, row.version));
        }
    }
    Some(missing)
}

async fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder).await?.sync_all().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_has_its_name_only_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let files = ArtifactFiles::open_folder(folder.path().to_owned())
            .await
            .unwrap();
        let mut upload = files.begin(Uuid::from_u128(1), 100).await.unwrap();
        upload.write(&Bytes::from_static(b"abc")).await.unwrap();
        drop(upload);
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            0,
            "an upload that was cut leaves nothing"
        );

        let mut upload = files.begin(Uuid::from_u128(2), 100).await.unwrap();
        upload.write(&Bytes::from_static(b"abc")).await.unwrap();
        let taken = upload.finish().await.unwrap();
        // FIPS 180-2, appendix B.1.
        assert_eq!(
            taken.sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(files.open(&taken.sha256).await.unwrap().1, 3);
    }

    #[tokio::test]
    async fn a_file_over_the_limit_is_refused_while_it_arrives() {
        let folder = tempfile::tempdir().unwrap();
        let files = ArtifactFiles::open_folder(folder.path().to_owned())
            .await
            .unwrap();
        let mut upload = files.begin(Uuid::from_u128(1), 4).await.unwrap();
        upload.write(&Bytes::from_static(b"abc")).await.unwrap();
        let refused = upload.write(&Bytes::from_static(b"de")).await;
        assert!(
            matches!(refused, Err(ArtifactError::TooLarge { most: 4 })),
            "{refused:?}"
        );
    }

    #[tokio::test]
    async fn what_another_server_may_be_writing_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (now, old) = (folder.path().join("now.tmp"), folder.path().join("old.tmp"));
        std::fs::write(&now, b"half").unwrap();
        let file = std::fs::File::create(&old).unwrap();
        let past = now.metadata().unwrap().modified().unwrap() - LEFT_BEHIND;
        file.set_modified(past).unwrap();
        ArtifactFiles::open_shared(folder.path().to_owned()).await;
        assert!(now.exists() && !old.exists());
    }

    #[tokio::test]
    async fn a_shared_folder_that_is_not_there_stops_no_start() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, b"in the way").unwrap();
        let files = ArtifactFiles::open_shared(file.join("shared")).await;
        assert!(files.fault().await.unwrap().contains("can't be used"));
    }

    #[tokio::test]
    async fn what_a_power_cut_left_is_removed_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("x.tmp"), b"half").unwrap();
        ArtifactFiles::open_folder(folder.path().to_owned())
            .await
            .unwrap();
        assert!(!folder.path().join("x.tmp").exists());
    }
}

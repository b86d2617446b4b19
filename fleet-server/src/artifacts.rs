//! Files of jobs on disk: one file per content, named by its SHA-256.
//!
//! A file is written beside its place, synced and renamed, and the folder is synced: what has its name
//! is whole. Name and version are rows of the store; the same content under two names lies here once.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

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
    /// Opens the folder, making it if need be, and removes what was being written when the power went.
    ///
    /// # Errors
    /// When the folder can't be made or read.
    pub async fn open_folder(folder: PathBuf) -> Result<Self, ArtifactError> {
        let disk = |source| ArtifactError::Disk {
            path: folder.clone(),
            source,
        };
        fs::create_dir_all(&folder).await.map_err(disk)?;
        let mut entries = fs::read_dir(&folder).await.map_err(disk)?;
        while let Some(entry) = entries.next_entry().await.map_err(disk)? {
            if entry
                .path()
                .extension()
                .is_some_and(|extension| extension == "tmp")
            {
                fs::remove_file(entry.path()).await.map_err(disk)?;
            }
        }
        Ok(Self { folder })
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
    async fn what_a_power_cut_left_is_removed_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("x.tmp"), b"half").unwrap();
        ArtifactFiles::open_folder(folder.path().to_owned())
            .await
            .unwrap();
        assert!(!folder.path().join("x.tmp").exists());
    }
}

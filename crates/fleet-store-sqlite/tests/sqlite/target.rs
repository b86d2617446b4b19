//! What the target of a database is: its plant, its schema, its file.

use fleet_clock::wall_now;
use fleet_domain::StoreGeneration;
use fleet_store::Store;
use fleet_store_sqlite::{OpenError, SqliteStore};

use super::{fresh, open};

#[tokio::test]
async fn an_existing_database_keeps_its_generation() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fleet.db");
    let first = open(&path).await;
    let generation = first.generation();
    first.close().await;
    let again = SqliteStore::open(&path, "plant-1".parse().unwrap(), wall_now(), fresh())
        .await
        .unwrap();
    assert_eq!(again.generation(), generation);
    assert_eq!(generation, StoreGeneration(uuid::Uuid::from_u128(1)));
}

#[tokio::test]
async fn the_database_of_another_plant_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fleet.db");
    open(&path).await.close().await;
    let error = SqliteStore::open(&path, "plant-2".parse().unwrap(), wall_now(), fresh())
        .await
        .unwrap_err();
    assert!(
        matches!(&error, OpenError::OtherPlant { found, .. } if found == "plant-1"),
        "{error}"
    );
    assert!(error.to_string().contains("plant-2"));
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fleet.db");
    std::fs::write(
        &path,
        "this is a text, and long enough to be taken for a header of a database",
    )
    .unwrap();
    let error = SqliteStore::open(&path, "plant-1".parse().unwrap(), wall_now(), fresh())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("fleet.db"), "{error}");
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing").join("fleet.db");
    let error = SqliteStore::open(&path, "plant-1".parse().unwrap(), wall_now(), fresh())
        .await
        .unwrap_err();
    assert!(matches!(error, OpenError::Open { .. }), "{error}");
}

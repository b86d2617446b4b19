//! The properties that every storage has.

use std::sync::Arc;

use fleet_store::Store;
use tempfile::TempDir;

async fn make() -> (Arc<dyn Store>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = super::open(&folder.path().join("fleet.db")).await;
    (Arc::new(store), folder)
}

fleet_store::conformance!(make);

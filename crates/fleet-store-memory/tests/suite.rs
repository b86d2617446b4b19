//! The properties that every storage has.

use std::sync::Arc;

use fleet_domain::StoreGeneration;
use fleet_store::Store;
use fleet_store_memory::MemoryStore;

#[expect(clippy::unused_async, reason = "other storages wait for theirs")]
async fn make() -> (Arc<dyn Store>, ()) {
    let plant = "plant-1".parse().expect("a valid name");
    let store = MemoryStore::new(plant, StoreGeneration(uuid::Uuid::from_u128(1)));
    (Arc::new(store), ())
}

fleet_store::conformance!(make);

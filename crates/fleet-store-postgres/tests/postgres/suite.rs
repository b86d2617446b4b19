//! The properties that every storage has.

use std::sync::Arc;

use fleet_store::Store;

async fn make() -> (Arc<dyn Store>, ()) {
    (Arc::new(super::open(&super::database().await).await), ())
}

fleet_store::conformance!(make);

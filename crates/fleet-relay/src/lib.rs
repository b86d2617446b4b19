//! The relay: carries the rows of the store's outbox into Kafka.

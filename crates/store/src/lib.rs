//! The durable record: queue, conversations, frames and changes in SQLite.

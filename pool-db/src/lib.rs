//! pool-db

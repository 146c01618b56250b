//! pool-http

//! pool-cpu

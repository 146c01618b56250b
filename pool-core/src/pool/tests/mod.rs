//! The whole pool under test where its own tests cannot go: in schedules that a model chooses.

mod shuttle;

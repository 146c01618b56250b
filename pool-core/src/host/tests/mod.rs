//! Tests of whole pools, in schedules that a model chooses.

mod shuttle;

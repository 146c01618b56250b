//! Whole pools under test where their own tests cannot go: in schedules that a model chooses.

mod shuttle;

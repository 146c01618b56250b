//! What SQLite's result codes mean, whichever driver has received them.

use crate::{Constraint, ConstraintKind, error::Condition};

/// What an extended code means, if that is anything that a caller acts on.
pub(crate) const fn condition(extended: i32) -> Option<Condition> {
    // SQLite has lost the whole transaction, and nothing of it was kept.
    if extended == ABORT_ROLLBACK {
        return Some(Condition::Retryable);
    }
    match primary(extended) {
        BUSY | LOCKED => Some(Condition::Retryable),
        INTERRUPT => Some(Condition::Canceled),
        READONLY => Some(Condition::ReadOnly),
        // A write of the log or its sync failed. What of it is in the file is only known after the next open.
        IOERR => Some(Condition::Unknown),
        _ => None,
    }
}

/// The constraint that was violated, if that is the error. Its names are in SQLite's message only.
pub(crate) fn constraint(extended: i32, message: Option<&str>) -> Option<Constraint<'_>> {
    if primary(extended) != CONSTRAINT {
        return None;
    }
    let kind = match extended {
        UNIQUE | PRIMARY_KEY | ROW_ID => ConstraintKind::Unique,
        FOREIGN_KEY => ConstraintKind::ForeignKey,
        CHECK => ConstraintKind::Check,
        NOT_NULL => ConstraintKind::NotNull,
        _ => ConstraintKind::Other,
    };
    let none = Constraint {
        kind,
        name: None,
        table: None,
        column: None,
    };
    let names = message.and_then(|message| message.split_once(FAILED));
    let Some((_, names)) = names else {
        return Some(none);
    };
    Some(match kind {
        ConstraintKind::Check => Constraint {
            name: Some(names),
            ..none
        },
        ConstraintKind::Unique | ConstraintKind::NotNull => {
            let index = names.strip_prefix("index \'");
            if let Some(index) = index.and_then(|index| index.strip_suffix('\'')) {
                return Some(Constraint {
                    name: Some(index),
                    ..none
                });
            }
            // `users.email`, or `users.email, users.name`.
            let (table, column) = names.split_once('.').unzip();
            Constraint {
                table,
                column: column.filter(|column| !column.contains(", ")),
                ..none
            }
        }
        _ => none,
    })
}

const fn primary(extended: i32) -> i32 {
    extended & 0xff
}

/// What stands between the kind and the names in SQLite's message.
const FAILED: &str = " constraint failed: ";
// The codes are part of SQLite's file of constants, and never change.
const BUSY: i32 = 5;
const LOCKED: i32 = 6;
const READONLY: i32 = 8;
const INTERRUPT: i32 = 9;
const IOERR: i32 = 10;
const CONSTRAINT: i32 = 19;
const ABORT_ROLLBACK: i32 = 516;
const CHECK: i32 = 275;
const FOREIGN_KEY: i32 = 787;
const NOT_NULL: i32 = 1299;
const PRIMARY_KEY: i32 = 1555;
const UNIQUE: i32 = 2067;
const ROW_ID: i32 = 2579;

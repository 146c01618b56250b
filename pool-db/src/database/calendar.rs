//! Dates and times as text, in the form that all the databases take: `2024-02-29 12:34:56.789`.

#[cfg(feature = "postgres")]
use std::fmt::Write as _;

/// A date: days since 2000-01-01.
#[cfg(feature = "postgres")]
pub(super) fn date(days: i32) -> String {
    match days {
        i32::MAX => "infinity".to_owned(),
        i32::MIN => "-infinity".to_owned(),
        days => {
            let (date, is_before_christ) = civil(days.into());
            date + era(is_before_christ)
        }
    }
}

/// A time of day: microseconds since midnight. 24:00 is one too.
pub(super) fn time(micros: i64) -> String {
    let (seconds, fraction) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let time = format!("{hours:02}:{minutes:02}:{:02}", seconds % 60);
    if fraction == 0 {
        return time;
    }
    let fraction = format!("{fraction:06}");
    format!("{time}.{}", fraction.trim_end_matches('0'))
}

/// A date and time: microseconds since 2000-01-01.
#[cfg(feature = "postgres")]
pub(super) fn timestamp(micros: i64) -> String {
    match micros {
        i64::MAX => "infinity".to_owned(),
        i64::MIN => "-infinity".to_owned(),
        micros => {
            let (date, is_before_christ) = civil(micros.div_euclid(DAY));
            let time = time(micros.rem_euclid(DAY));
            format!("{date} {time}{}", era(is_before_christ))
        }
    }
}

/// The date of a day, and whether its year is one before Christ. By Howard Hinnant's `civil_from_days`.
#[cfg(feature = "postgres")]
fn civil(days: i64) -> (String, bool) {
    // From 2000-01-01 to 0000-03-01, with which eras of 400 years begin.
    let days = days + 730_425;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    let is_before_christ = year <= 0;
    let shown = if is_before_christ { 1 - year } else { year };
    let mut date = String::with_capacity(10);
    // A `String` takes everything.
    let _ = write!(date, "{shown:04}-{month:02}-{day:02}");
    (date, is_before_christ)
}

#[cfg(feature = "postgres")]
const fn era(is_before_christ: bool) -> &'static str {
    if is_before_christ { " BC" } else { "" }
}

#[cfg(feature = "postgres")]
const DAY: i64 = 86_400_000_000;

#[cfg(all(test, feature = "postgres"))]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_written_as_postgres_writes_it() {
        for (days, text) in [
            (0, "2000-01-01"),
            (59, "2000-02-29"),
            (60, "2000-03-01"),
            (-1, "1999-12-31"),
            (-10_957, "1970-01-01"),
            (8825, "2024-02-29"),
            (-36_465, "1900-03-01"),
            (-36_466, "1900-02-28"),
            (-730_119, "0001-01-01"),
            (-730_120, "0001-12-31 BC"),
            (2_921_940, "10000-01-01"),
            (i32::MAX, "infinity"),
            (i32::MIN, "-infinity"),
        ] {
            assert_eq!(date(days), text);
        }
        // No day panics, or is no day.
        for days in (i32::MIN..i32::MAX - 1_000_003).step_by(1_000_003) {
            assert!(date(days).len() >= 9);
        }
    }

    #[test]
    fn a_time_has_no_more_digits_than_it_needs() {
        for (micros, text) in [
            (0, "2000-01-01 00:00:00"),
            (1, "2000-01-01 00:00:00.000001"),
            (500_000, "2000-01-01 00:00:00.5"),
            (-1, "1999-12-31 23:59:59.999999"),
            (DAY - 1_000_000, "2000-01-01 23:59:59"),
            (i64::MAX, "infinity"),
            (i64::MIN, "-infinity"),
        ] {
            assert_eq!(timestamp(micros), text);
        }
        assert_eq!(time(DAY), "24:00:00");
        assert!(!timestamp(i64::MIN + 1).is_empty() && !timestamp(i64::MAX - 1).is_empty());
    }
}

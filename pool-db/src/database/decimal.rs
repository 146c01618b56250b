//! PostgreSQL's `numeric`, as it is sent, to text.

use std::fmt::Write as _;

/// Reads a number: digits of base 10,000, the weight of the first, the sign, and how many decimal places are shown.
///
/// `None` if it is no number.
pub(super) fn read(raw: &[u8]) -> Option<String> {
    let (head, body) = raw.split_first_chunk::<8>()?;
    let [count, weight, sign, scale] =
        [0, 2, 4, 6].map(|at| u16::from_be_bytes([head[at], head[at + 1]]));
    match sign {
        0xc000 => return Some("NaN".to_owned()),
        0xd000 => return Some("Infinity".to_owned()),
        0xf000 => return Some("-Infinity".to_owned()),
        0x0000 | 0x4000 => {}
        _ => return None,
    }
    let (digits, rest) = body.as_chunks::<2>();
    if digits.len() != usize::from(count) || !rest.is_empty() {
        return None;
    }
    let digits: Vec<u16> = digits
        .iter()
        .map(|digit| u16::from_be_bytes(*digit))
        .collect();
    if digits.iter().any(|digit| *digit > 9999) {
        return None;
    }
    let weight = i32::from(weight.cast_signed());
    let digit = |place: i32| -> u16 {
        let at = usize::try_from(weight - place).ok();
        at.and_then(|at| digits.get(at)).copied().unwrap_or(0)
    };
    let mut text = String::new();
    if sign == 0x4000 {
        text.push('-');
    }
    // A `String` takes everything.
    let _ = write!(text, "{}", if weight >= 0 { digit(weight) } else { 0 });
    for place in (0..weight).rev() {
        let _ = write!(text, "{:04}", digit(place));
    }
    if scale > 0 {
        text.push('.');
        let end = text.len() + usize::from(scale);
        let mut place = -1;
        while text.len() < end {
            let _ = write!(text, "{:04}", digit(place));
            place -= 1;
        }
        text.truncate(end);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numeric(weight: i16, sign: u16, scale: u16, digits: &[u16]) -> Option<String> {
        let count = u16::try_from(digits.len()).unwrap_or(u16::MAX);
        let head = [count, weight.cast_unsigned(), sign, scale];
        let words = head.iter().chain(digits);
        read(
            &words
                .flat_map(|word| word.to_be_bytes())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn a_number_has_all_its_digits() {
        for ((weight, sign, scale, digits), text) in [
            ((0, 0, 0, &[][..]), "0"),
            ((0, 0, 2, &[]), "0.00"),
            ((0, 0, 0, &[42]), "42"),
            ((0, 0x4000, 2, &[12, 5000]), "-12.50"),
            ((1, 0, 0, &[1, 1]), "10001"),
            ((1, 0, 0, &[1]), "10000"),
            ((-1, 0, 4, &[1]), "0.0001"),
            ((-2, 0, 8, &[1234]), "0.00001234"),
            ((-1, 0, 1, &[5000]), "0.5"),
            ((2, 0, 3, &[1, 0, 0, 1230]), "100000000.123"),
            ((0, 0xc000, 0, &[]), "NaN"),
            ((0, 0xd000, 0, &[]), "Infinity"),
            ((0, 0xf000, 0, &[]), "-Infinity"),
        ] {
            assert_eq!(numeric(weight, sign, scale, digits).as_deref(), Some(text));
        }
    }

    #[test]
    fn what_is_no_number_is_none() {
        assert_eq!(numeric(0, 1, 0, &[1]), None);
        assert_eq!(numeric(0, 0, 0, &[10_000]), None);
        assert_eq!(read(&[0, 2, 0, 0, 0, 0, 0, 0, 0, 1]), None);
        assert_eq!(read(&[0, 0, 0]), None);
    }
}

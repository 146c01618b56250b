//! Names of variables: which setting an unknown name may mean, and which names belong to Kubernetes.

/// Returns the known names that are nearest to `name`: at most three, and none if no name is near.
///
/// A name is near if it differs by one or two typos (Damerau-Levenshtein distance, underscores ignored). Otherwise a name is near
/// if it contains all words of `name`, or if `name` contains all words of it.
pub fn near<'a>(name: &str, known: &'a [String]) -> Vec<&'a str> {
    let typos = |other: &str| distance(&letters(name), &letters(other));
    let most = 1 + name.len() / 5;
    let nearest = known
        .iter()
        .map(|other| (typos(other), other.as_str()))
        .min();
    if let Some((_, other)) = nearest.filter(|(typos, _)| *typos <= most) {
        return vec![other];
    }
    let words = |name: &'a str| name.split('_');
    let has_all = |all: &str, of: &str| {
        of.split('_')
            .all(|word| all.split('_').any(|one| one == word))
    };
    let mut related: Vec<_> = known.iter().map(String::as_str).collect();
    related
        .retain(|other| has_all(other, name) || (words(other).count() > 1 && has_all(name, other)));
    related.sort_unstable();
    related.dedup();
    if related.len() > 3 {
        related.clear();
    }
    related
}

/// Whether the variable is one that Kubernetes sets in each container for each Service. `name` is the part after the prefix.
///
/// See <https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>.
pub(super) fn is_of_a_service(name: &str, value: &str) -> bool {
    let name = format!("_{name}");
    let ends = |end: &str| name.ends_with(end);
    let port = || {
        ["tcp://", "udp://", "sctp://"]
            .iter()
            .any(|scheme| value.starts_with(scheme))
    };
    ends("_SERVICE_HOST")
        || ends("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || (ends("_PORT") && port())
        || is_of_a_port(&name)
}

/// Matches `.._PORT_5432_TCP`, also with `_PROTO`, `_PORT` or `_ADDR` appended.
fn is_of_a_port(name: &str) -> bool {
    let rest = ["_PROTO", "_PORT", "_ADDR"]
        .iter()
        .find_map(|end| name.strip_suffix(end));
    let rest = rest.unwrap_or(name);
    let rest = ["_TCP", "_UDP", "_SCTP"]
        .iter()
        .find_map(|end| rest.strip_suffix(end));
    let number = rest.and_then(|rest| rest.rsplit_once("_PORT_"));
    number.is_some_and(|(_, number)| number.parse::<u16>().is_ok())
}

fn letters(name: &str) -> Vec<char> {
    name.chars().filter(|letter| *letter != '_').collect()
}

/// How many letters must be inserted, deleted, replaced or swapped with the next letter to turn one word into the other.
fn distance(one: &[char], other: &[char]) -> usize {
    let mut rows = vec![(0..=other.len()).collect::<Vec<_>>()];
    for (i, a) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in other.iter().enumerate() {
            let replaced = rows[i][j] + usize::from(a != b);
            let mut least = replaced.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == other[j - 1] && one[i - 1] == *b {
                least = least.min(rows[i - 1][j - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(name: &str) -> Vec<String> {
        let known = [
            "MAX_SIZE",
            "MIN_IDLE",
            "ACQUIRE_TIMEOUT",
            "CREATE_TIMEOUT",
            "MAX_WAITERS",
            "NAME",
        ];
        let known = known.map(str::to_owned);
        near(name, &known).into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn a_typo_is_told_from_another_name() {
        assert_eq!(meant("MAXSIZE"), ["MAX_SIZE"]);
        assert_eq!(meant("MAX_SIEZ"), ["MAX_SIZE"]);
        assert_eq!(meant("AQUIRE_TIMEOUT"), ["ACQUIRE_TIMEOUT"]);
        assert_eq!(meant("TIMEOUT"), ["ACQUIRE_TIMEOUT", "CREATE_TIMEOUT"]);
        assert_eq!(meant("POOL_MAX_SIZE"), ["MAX_SIZE"]);
        assert_eq!(meant("PASSWORD"), [""; 0]);
        assert_eq!(meant("URL"), [""; 0]);
    }

    #[test]
    fn letters_that_are_swapped_count_as_one_typo() {
        let distance = |one: &str, other: &str| distance(&letters(one), &letters(other));
        assert_eq!(distance("SIZE", "SIZE"), 0);
        assert_eq!(distance("SIEZ", "SIZE"), 1);
        assert_eq!(distance("IZE", "SIZE"), 1);
        assert_eq!(distance("SIZES", "SIZE"), 1);
        assert_eq!(distance("", "SIZE"), 4);
        assert_eq!(distance("SIZE", ""), 4);
    }
}

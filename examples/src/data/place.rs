//! Where the SQLite file of the service is.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

/// Where the file is, or is to be: in `folder`, or else in the program's own folder (cargo's target folder, which the
/// project cleans), or where that one cannot be written to, in the system's for temporary files.
pub(super) fn of(folder: Option<&Path>) -> PathBuf {
    if let Some(folder) = folder {
        return folder.join(FILE);
    }
    let beside_us = std::env::current_exe()
        .ok()
        .map(|program| program.with_file_name(FILE));
    let is_writable = |file: &PathBuf| {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(file)
            .is_ok()
    };
    beside_us
        .filter(is_writable)
        .unwrap_or_else(|| std::env::temp_dir().join(FILE))
}

/// The address of a file.
pub(super) fn url(file: &Path) -> String {
    let mut url = "sqlite:".to_owned();
    for byte in file.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                url.push(char::from(*byte));
            }
            // A `String` takes everything.
            byte => drop(write!(url, "%{byte:02X}")),
        }
    }
    url
}

const FILE: &str = "service-users.sqlite";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_any_file() {
        let file = Path::new("/a b/c%?@é~.sqlite");
        assert_eq!(url(file), "sqlite:/a%20b/c%25%3F%40%C3%A9%7E.sqlite");
    }
}

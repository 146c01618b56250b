//! libpq's service file: connection options under the name of a service.

use std::{
    fs,
    path::{Path, PathBuf},
};

use pool_core::ConfigError;

use super::passfile::is_absent;
use crate::address::{shown, shown_path};

/// Where the definition of a service is looked for.
#[derive(Debug)]
pub(super) struct Places {
    /// The file that was named, with the setting or variable that named it.
    pub(super) named: Option<(String, PathBuf)>,
    /// The user's own file, if no file was named: `~/.pg_service.conf`.
    pub(super) own: Option<PathBuf>,
    /// The directories of the system-wide file `pg_service.conf`.
    pub(super) system: Vec<PathBuf>,
}

/// One option in a service file.
#[derive(PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) file: PathBuf,
    pub(super) line: usize,
    pub(super) key: String,
    pub(super) value: String,
}

impl Places {
    /// Returns the options of `service`, which the setting `setting` names, from the first file that defines it.
    ///
    /// # Errors
    /// No file defines the service, a file cannot be read, or a line of the definition is malformed.
    pub(super) fn find(&self, setting: &str, service: &str) -> Result<Vec<Entry>, ConfigError> {
        let mut files: Vec<(Option<&str>, PathBuf)> = Vec::new();
        match (&self.named, &self.own) {
            (Some((named, path)), _) => files.push((Some(named), path.clone())),
            (None, Some(path)) => files.push((None, path.clone())),
            (None, None) => {}
        }
        let system = self.system.iter();
        files.extend(system.map(|directory| (None, directory.join("pg_service.conf"))));
        for (named, path) in &files {
            let text = match fs::read_to_string(path) {
                Ok(text) => text,
                Err(error) if named.is_none() && is_absent(&error) => continue,
                Err(error) => {
                    return Err(ConfigError::new(
                        named.unwrap_or(setting),
                        shown_path(path),
                        format!("a readable service file ({error})"),
                    ));
                }
            };
            if let Some(entries) = section(path, &text, service)? {
                return Ok(entries);
            }
        }
        let files: Vec<_> = files.iter().map(|(_, path)| shown_path(path)).collect();
        Err(ConfigError::new(
            setting,
            shown(service),
            format!("a service that is defined in {}", files.join(" or ")),
        ))
    }
}

/// Returns the lines under `[service]`, or `None` if the file has no such section.
fn section(path: &Path, text: &str, service: &str) -> Result<Option<Vec<Entry>>, ConfigError> {
    let mut found: Option<Vec<Entry>> = None;
    for (index, line) in text.lines().enumerate() {
        let (number, line) = (index + 1, line.trim());
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(rest) = line.strip_prefix('[') {
            if found.is_some() {
                break;
            }
            // As in libpq, what follows the bracket is not looked at.
            let name = rest.split_once(']').map(|(name, _)| name);
            found = (name == Some(service)).then(Vec::new);
            continue;
        }
        let Some(entries) = &mut found else { continue };
        let at = format!("line {number} of {}", shown_path(path));
        let (key, value) = line.split_once('=').ok_or_else(|| {
            ConfigError::secret(&*at, "`OPTION=VALUE`, `[SERVICE]` or `# COMMENT`")
        })?;
        if key.ends_with(char::is_whitespace) || value.starts_with(char::is_whitespace) {
            return Err(ConfigError::secret(
                &*at,
                "`OPTION=VALUE` without blanks beside the `=`",
            ));
        }
        entries.push(Entry {
            file: path.to_owned(),
            line: number,
            key: key.to_owned(),
            value: value.to_owned(),
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TEXT: &str = "\
# databases
[other]
host=wrong
broken line
[shop]   # what follows is ignored
  host=db.example
port=5433

# the password
password=a=b c
[later]
host=too late
";

    fn pairs(entries: Vec<Entry>) -> Vec<(usize, String, String)> {
        let pair = |entry: Entry| (entry.line, entry.key, entry.value);
        entries.into_iter().map(pair).collect()
    }

    #[test]
    fn the_section_of_the_service_is_read_and_the_others_are_not() {
        let entries = section(Path::new("/f"), TEXT, "shop").unwrap().unwrap();
        let expected = [
            (6, "host", "db.example"),
            (7, "port", "5433"),
            (10, "password", "a=b c"),
        ];
        let expected = expected.map(|(line, key, value)| (line, key.to_owned(), value.to_owned()));
        assert_eq!(pairs(entries), expected);
        assert!(section(Path::new("/f"), TEXT, "none").unwrap().is_none());
        assert!(
            section(Path::new("/f"), "[empty]", "empty")
                .unwrap()
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn a_malformed_line_is_named_by_its_number_and_not_shown() {
        for (text, says) in [
            (
                "[s]\ntopsecret",
                "line 2 of /f must be `OPTION=VALUE`, `[SERVICE]`",
            ),
            (
                "[s]\nhost = topsecret",
                "line 2 of /f must be `OPTION=VALUE` without blanks",
            ),
        ] {
            let error = section(Path::new("/f"), text, "s")
                .err()
                .unwrap()
                .to_string();
            assert!(
                error.starts_with(says) && !error.contains("secret"),
                "{error}"
            );
        }
    }

    #[test]
    fn the_users_file_comes_before_the_systems_and_a_named_one_replaces_it() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str, text: &str| {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            path
        };
        let own = at("own", "[a]\nhost=own\n");
        let named = at("named", "[b]\nhost=named\n");
        at(
            "etc/pg_service.conf",
            "[a]\nhost=system\n[b]\nhost=system\n[c]\nhost=system\n",
        );
        let system = vec![
            directory.path().join("missing"),
            directory.path().join("etc"),
        ];
        let mut places = Places {
            named: None,
            own: Some(own),
            system,
        };
        let host = |places: &Places, service| {
            places
                .find("PGSERVICE", service)
                .map(|entries| entries[0].value.clone())
        };
        assert_eq!(host(&places, "a").unwrap(), "own");
        assert_eq!(host(&places, "b").unwrap(), "system");
        places.named = Some(("PGSERVICEFILE".to_owned(), named));
        assert_eq!(host(&places, "b").unwrap(), "named");
        assert_eq!(host(&places, "a").unwrap(), "system");
        let error = host(&places, "d").unwrap_err().to_string();
        assert!(
            error.starts_with("PGSERVICE is d, but must be a service that is defined in /"),
            "{error}"
        );
        assert!(
            error.contains("named or /") && error.ends_with("etc/pg_service.conf"),
            "{error}"
        );
        places.named = Some(("PGSERVICEFILE".to_owned(), directory.path().join("none")));
        let error = host(&places, "a").unwrap_err().to_string();
        assert!(
            error.starts_with("PGSERVICEFILE is /") && error.contains("a readable service file"),
            "{error}"
        );
    }
}

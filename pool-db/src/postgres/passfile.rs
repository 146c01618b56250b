//! libpq's password file: `HOST:PORT:DATABASE:USER:PASSWORD`, a line each.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use pool_core::ConfigError;

use crate::address::shown_path;

/// The lines of a password file.
#[derive(Clone)]
pub(super) struct Passfile {
    path: PathBuf,
    /// The setting or variable that named the file, or the file's usual name.
    named: String,
    /// Whether users other than the owner may read the file.
    is_open: bool,
    lines: Vec<Line>,
}

#[derive(Clone)]
struct Line {
    /// Host, port, database and user. `None` is `*`.
    fields: [Option<String>; 4],
    password: String,
}

impl Passfile {
    /// Reads the file at `path`, which the setting `named` names.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn read(named: &str, path: &Path) -> Result<Self, ConfigError> {
        Self::open(path)
            .map(|(text, is_open)| Self::of(named, path, &text, is_open))
            .map_err(|error| unreadable(named, path, &error))
    }

    /// Reads the file at `path` if there is one.
    ///
    /// # Errors
    /// There is a file, but it cannot be read.
    pub(super) fn read_if_there(named: &str, path: &Path) -> Result<Option<Self>, ConfigError> {
        match Self::open(path) {
            Ok((text, is_open)) => Ok(Some(Self::of(named, path, &text, is_open))),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(unreadable(named, path, &error)),
        }
    }

    fn open(path: &Path) -> io::Result<(String, bool)> {
        let about = fs::metadata(path)?;
        if !about.is_file() {
            return Err(io::Error::other("it is not a plain file"));
        }
        Ok((fs::read_to_string(path)?, others_may_read(&about)))
    }

    fn of(named: &str, path: &Path, text: &str, is_open: bool) -> Self {
        Self {
            path: path.to_owned(),
            named: named.to_owned(),
            is_open,
            lines: text.lines().filter_map(Line::parse).collect(),
        }
    }

    /// Returns the password of the first line that fits. `host` is a name, an address or the directory of a socket.
    ///
    /// # Errors
    /// A line fits, but users other than the owner may read or write the file.
    pub(super) fn password(
        &self,
        host: &str,
        port: u16,
        database: &str,
        user: &str,
    ) -> Result<Option<&str>, ConfigError> {
        let host = if SOCKETS.contains(&host) {
            "localhost"
        } else {
            host
        };
        let port = port.to_string();
        let wanted = [host, &port, database, user];
        let fits = |line: &&Line| {
            let mut fields = line.fields.iter().zip(wanted);
            fields.all(|(field, wanted)| field.as_deref().is_none_or(|field| field == wanted))
        };
        let found = self.lines.iter().find(fits);
        if found.is_some() && self.is_open {
            return Err(ConfigError::new(
                &self.named,
                shown_path(&self.path),
                "a file that only its owner can read and write (chmod 0600)",
            ));
        }
        Ok(found.map(|line| line.password.as_str()))
    }
}

/// Does not show the passwords.
impl fmt::Debug for Passfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passfile")
            .field("path", &self.path)
            .field("lines", &self.lines.len())
            .finish()
    }
}

impl Line {
    /// Returns `None` for a comment, an empty line, and a line with too few fields: libpq skips such a line too.
    fn parse(text: &str) -> Option<Self> {
        if text.starts_with('#') {
            return None;
        }
        let mut rest = text;
        let mut next = || {
            let (field, after) = field(rest);
            let was = rest;
            rest = after?;
            Some(match &was[..was.len() - rest.len() - 1] {
                "*" => None,
                _ => Some(field),
            })
        };
        let fields = [next()?, next()?, next()?, next()?];
        let (password, _) = field(rest);
        Some(Self { fields, password })
    }
}

/// Splits the first field off: the text up to a `:` without its backslashes, and what follows the `:` if there is one.
fn field(text: &str) -> (String, Option<&str>) {
    let mut field = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            ':' => return (field, Some(&text[at + 1..])),
            '\\' => field.push(letters.next().map_or('\\', |(_, escaped)| escaped)),
            letter => field.push(letter),
        }
    }
    (field, None)
}

/// Whether there is no such file, and not a file that cannot be read.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn unreadable(named: &str, path: &Path, error: &io::Error) -> ConfigError {
    ConfigError::new(
        named,
        shown_path(path),
        format!("a readable file of lines HOST:PORT:DATABASE:USER:PASSWORD ({error})"),
    )
}

#[cfg(unix)]
fn others_may_read(about: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    about.permissions().mode() & 0o077 != 0
}

#[cfg(not(unix))]
const fn others_may_read(_: &fs::Metadata) -> bool {
    false
}

/// The usual directories of sockets. In the file they are written `localhost`.
const SOCKETS: [&str; 3] = ["/var/run/postgresql", "/run/postgresql", "/tmp"];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn file(text: &str) -> Passfile {
        Passfile::of("passfile", Path::new("/pass"), text, false)
    }

    #[test]
    fn the_first_line_that_fits_has_the_password() {
        let file = file(
            "# h:5432:shop:me:comment\n\
             \n\
             too:few:fields\n\
             h:5432:shop:me:first\n\
             h:5432:*:me:second\r\n\
             a\\:b:*:c\\\\d:m\\*:esc\\:aped\\\\:ignored\n\
             localhost:5432:*:me:local\n\
             /run/own:*:*:*:socket\n\
             *:6000:*:*:\n\
             *:*:*:you:last",
        );
        for (host, port, database, user, password) in [
            ("h", 5432, "shop", "me", Some("first")),
            ("h", 5432, "other", "me", Some("second")),
            ("h", 5433, "shop", "me", None),
            ("H", 5432, "shop", "me", None),
            ("a:b", 1, "c\\d", "m*", Some("esc:aped\\")),
            ("a:b", 1, "c\\d", "mx", None),
            ("localhost", 5432, "x", "me", Some("local")),
            ("/var/run/postgresql", 5432, "x", "me", Some("local")),
            ("/run/own", 1, "x", "me", Some("socket")),
            ("h", 6000, "x", "me", Some("")),
            ("elsewhere", 1, "x", "you", Some("last")),
        ] {
            let found = file.password(host, port, database, user).unwrap();
            assert_eq!(found, password, "{host} {port} {database} {user}");
        }
        assert!(!format!("{file:?}").contains("first"));
    }

    #[test]
    fn odd_lines_are_skipped_or_read_as_libpq_reads_them() {
        for (line, password) in [
            ("*:*:*:*:a\\", Some("a\\")),
            ("*:*:*:*", None),
            ("*:*:*:*:", Some("")),
            ("*:*:*:*:a:b", Some("a")),
            ("*:*:*:*:é\\é", Some("éé")),
            ("\\*:*:*:*:literal", None),
            (" *:*:*:*:x", None),
            (":*:*:*:x", None),
        ] {
            assert_eq!(
                file(line).password("h", 1, "d", "u").unwrap(),
                password,
                "{line}"
            );
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_can_read_is_refused_if_its_password_is_needed() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pass");
        fs::write(&path, "h:*:*:*:topsecret\n").unwrap();
        for (mode, is_refused) in [
            (0o600, false),
            (0o400, false),
            (0o640, true),
            (0o604, true),
            (0o620, true),
        ] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let file = Passfile::read("PGPASSFILE", &path).unwrap();
            assert_eq!(file.password("other", 1, "d", "u").unwrap(), None);
            match file.password("h", 1, "d", "u") {
                Ok(password) => assert!(!is_refused && password == Some("topsecret"), "{mode:o}"),
                Err(error) => {
                    let text = error.to_string();
                    assert!(
                        is_refused && text.starts_with("PGPASSFILE is /"),
                        "{mode:o} {text}"
                    );
                    assert!(
                        text.ends_with("(chmod 0600)") && !text.contains("secret"),
                        "{text}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_missing_file_is_an_error_only_if_it_was_named() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("none");
        assert!(
            Passfile::read_if_there("~/.pgpass", &missing)
                .unwrap()
                .is_none()
        );
        let error = Passfile::read("PGPASSFILE", &missing)
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("PGPASSFILE is /") && error.contains("none, but must be"),
            "{error}"
        );
        let error = Passfile::read_if_there("~/.pgpass", directory.path()).unwrap_err();
        assert!(
            error.to_string().ends_with("(it is not a plain file)"),
            "{error}"
        );
    }
}

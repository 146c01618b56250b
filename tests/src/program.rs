//! A server's executable, found where Debian puts it.

use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// An executable of the operating system, and the Debian package that brings it.
#[derive(Clone, Debug)]
pub struct Program {
    name: &'static str,
    package: &'static str,
}

/// [`Program::find`] found nothing.
#[derive(Debug)]
pub struct Missing(Program);

impl Program {
    /// The program `name`, which comes with Debian's `package`.
    pub const fn new(name: &'static str, package: &'static str) -> Self {
        Self { name, package }
    }

    /// Where it is: of the versions under `/usr/lib/<package>/<version>/bin` the newest, or else on `PATH`, or
    /// else in `/usr/sbin`, which Debian leaves out of an ordinary user's.
    ///
    /// The package's own folder comes first, because what Debian puts on `PATH` for PostgreSQL are
    /// wrappers around its clusters, and the tests want none of those.
    ///
    /// # Errors
    /// [`Missing`], which names the package to install.
    pub fn find(&self) -> Result<PathBuf, Missing> {
        self.versioned()
            .or_else(|| self.on_path())
            .ok_or_else(|| Missing(self.clone()))
    }

    /// [`find`](Self::find), for tests.
    ///
    /// # Panics
    /// When it is missing, with a message that names the package to install.
    #[track_caller]
    pub fn path(&self) -> PathBuf {
        match self.find() {
            Ok(path) => path,
            Err(missing) => panic!("{missing}"),
        }
    }

    fn versioned(&self) -> Option<PathBuf> {
        let versions = fs::read_dir(Path::new("/usr/lib").join(self.package)).ok()?;
        versions
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let version: u32 = entry.file_name().to_str()?.parse().ok()?;
                let path = entry.path().join("bin").join(self.name);
                path.is_file().then_some((version, path))
            })
            .max()
            .map(|(_, path)| path)
    }

    fn on_path(&self) -> Option<PathBuf> {
        env::split_paths(&env::var_os("PATH").unwrap_or_default())
            .chain([PathBuf::from("/usr/sbin")])
            .map(|folder| folder.join(self.name))
            .find(|path| path.is_file())
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Program { name, package } = &self.0;
        write!(
            f,
            "`{name}` is not installed: `apt-get install {package}`, or let `tests/run tools` do it"
        )
    }
}

impl std::error::Error for Missing {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_on_the_path_is_found() {
        let sh = Program::new("sh", "dash").find().unwrap();
        assert!(sh.is_absolute() && sh.ends_with("sh"), "{sh:?}");
    }

    #[test]
    fn a_packages_own_folder_comes_before_the_path() {
        let initdb = Program::new("initdb", "postgresql").path();
        assert!(initdb.starts_with("/usr/lib/postgresql"), "{initdb:?}");
    }

    #[test]
    fn a_missing_program_names_its_debian_package() {
        let missing = Program::new("no-such-server", "its-package")
            .find()
            .unwrap_err();
        let said = missing.to_string();
        assert!(said.contains("no-such-server"), "{said}");
        assert!(said.contains("apt-get install its-package"), "{said}");
    }
}

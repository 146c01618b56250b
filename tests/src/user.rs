//! The operating system user that a server runs as.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::process::Command;

/// A user that may run a server: the one of the tests, or where that is root another, because PostgreSQL
/// refuses to run as root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    id: u32,
    group: u32,
    /// Root runs the tests, and this is not root.
    switch: bool,
}

impl User {
    /// The user of the tests.
    pub fn current() -> Self {
        let me = fs::metadata("/proc/self").expect("/proc is mounted");
        Self {
            id: me.uid(),
            group: me.gid(),
            switch: false,
        }
    }

    /// A user that is not root: the user of the tests, or where that is root the first of `postgres` and
    /// `nobody` that the system has.
    ///
    /// # Panics
    /// When the tests run as root and the system has neither.
    #[track_caller]
    pub fn unprivileged() -> Self {
        let current = Self::current();
        if current.id != 0 {
            return current;
        }
        let users = fs::read_to_string("/etc/passwd").expect("/etc/passwd is readable");
        ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| Self::listed(&users, name))
            .expect("neither `postgres` nor `nobody` is a user of this system")
    }

    /// The user's number.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// A command that runs `program` as this user, and that the kernel kills with the thread that starts it.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        // setpriv is part of util-linux, so every Debian has it, and it does without a line of unsafe code
        // what a hook between fork and exec would.
        let mut command = Command::new("setpriv");
        if self.switch {
            command.arg(format!("--reuid={}", self.id));
            command.arg(format!("--regid={}", self.group));
            command.arg("--clear-groups");
            // Root's is not this user's, and PostgreSQL's clients fail on a file there that they may not read.
            command.env("HOME", "/nonexistent");
        }
        command.arg("--pdeathsig=KILL").arg("--").arg(program);
        command
    }

    /// Makes `path` this user's.
    ///
    /// # Panics
    /// When the operating system refuses.
    #[track_caller]
    pub fn own(&self, path: &Path) {
        if self.switch {
            chown(path, Some(self.id), Some(self.group))
                .unwrap_or_else(|e| panic!("cannot give {path:?} to user {}: {e}", self.id));
        }
    }

    /// The user `name` in a text like `/etc/passwd`.
    fn listed(users: &str, name: &str) -> Option<Self> {
        let line = users
            .lines()
            .find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        let id = fields.next()?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        Some(Self {
            id,
            group,
            switch: true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_read_from_its_line() {
        let users = "root:x:0:0:root:/root:/bin/bash\nnobody2:x:7:8::/:/bin/sh\nnobody:x:65534:65533::/:/bin/sh\n";
        let found = User::listed(users, "nobody").unwrap();
        assert_eq!((found.id, found.group), (65534, 65533));
        assert_eq!(User::listed(users, "postgres"), None);
    }

    #[test]
    fn a_command_runs_as_its_user() {
        let user = User::unprivileged();
        let output = user.command("id").arg("-u").output().unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout).trim(),
            user.id().to_string()
        );
        assert_ne!(user.id(), 0);
    }
}

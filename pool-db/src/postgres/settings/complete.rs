//! From options to settings: libpq's defaults, its files, and checks of one option against another.

use std::{path::Path, time::Duration};

use pool_core::ConfigError;
use tokio_postgres::config::{ChannelBinding, Config, SslNegotiation};

use super::{Keepalives, Options, Settings, Target, known::seconds};
use crate::{
    environment::Environment,
    pem::{File, Roots},
    postgres::{
        passfile::Passfile,
        session_attrs::SessionAttrs,
        tls::{SslMode, Tls},
    },
};

impl Options {
    /// Adds libpq's defaults, reads the files that are named, and checks that the options do not contradict each other.
    ///
    /// # Errors
    /// Options contradict each other, or a service or password file cannot be read. Certificates are read by
    /// [`Tls::connector`].
    pub(in crate::postgres) fn complete(mut self) -> Result<Settings, ConfigError> {
        if self.has_service() {
            // The environment was not read.
            self.fill_from_service(&Environment::only_home())?;
        }
        let targets = Target::all(&self)?;
        let tls = self.tls(&targets)?;
        let keepalives = Keepalives {
            idle: self
                .read("keepalives_idle", seconds)
                .flatten()
                .unwrap_or(IDLE),
            interval: self.read("keepalives_interval", seconds).flatten(),
            count: self.read("keepalives_count", |text| {
                text.parse().ok().filter(|count| *count > 0)
            }),
        };
        let settings = Settings {
            targets,
            session_attrs: self
                .read("target_session_attrs", SessionAttrs::parse)
                .unwrap_or_default(),
            is_shuffled: self.text("load_balance_hosts") == Some("random"),
            connect_timeout: self.read("connect_timeout", seconds).flatten(),
            tcp_user_timeout: self.read("tcp_user_timeout", |text| {
                let limit = text.parse().ok().filter(|limit| *limit > 0)?;
                Some(Duration::from_millis(limit))
            }),
            keepalives: (self.text("keepalives") != Some("0")).then_some(keepalives),
            tls,
            session: self.session(),
            passfile: self.passfile()?,
        };
        for target in &settings.targets {
            // A file that others can read is an error now, and not with the first connection.
            settings.password_of(target)?;
        }
        Ok(settings)
    }

    fn session(&self) -> Config {
        let mut session = Config::new();
        if let Some(user) = self.text("user") {
            session.user(user);
        }
        if let Some(password) = self.bytes("password") {
            session.password(password);
        }
        if let Some(database) = self.text("dbname") {
            session.dbname(database);
        }
        if let Some(options) = self.text("options") {
            session.options(options);
        }
        let name = self.text("application_name");
        if let Some(name) = name.or_else(|| self.text("fallback_application_name")) {
            session.application_name(name);
        }
        session.channel_binding(match self.text("channel_binding") {
            Some("disable") => ChannelBinding::Disable,
            Some("require") => ChannelBinding::Require,
            _ => ChannelBinding::Prefer,
        });
        session.ssl_negotiation(match self.text("sslnegotiation") {
            Some("direct") => SslNegotiation::Direct,
            _ => SslNegotiation::Postgres,
        });
        session
    }

    fn passfile(&self) -> Result<Option<Passfile>, ConfigError> {
        if self.bytes("password").is_some() {
            return Ok(None);
        }
        match (self.text("passfile"), &self.home) {
            (Some(path), _) => Passfile::read(&self.source("passfile"), Path::new(path)).map(Some),
            (None, Some(home)) => Passfile::read_if_there("~/.pgpass", &home.join(".pgpass")),
            (None, None) => Ok(None),
        }
    }

    fn tls(&self, targets: &[Target]) -> Result<Tls, ConfigError> {
        let in_home = |name: &str| {
            let path = self.home.as_ref()?.join(".postgresql").join(name);
            path.exists().then(|| File {
                path,
                setting: format!("~/.postgresql/{name}"),
            })
        };
        let named = |option: &str| {
            let path = self.text(option)?.into();
            Some(File {
                path,
                setting: self.source(option),
            })
        };
        let own = self.root_certificate.clone();
        let own = own.map(|path| File {
            path,
            setting: "root_certificate".to_owned(),
        });
        let root = own.or_else(|| named("sslrootcert"));
        let is_system = root
            .as_ref()
            .is_some_and(|root| root.path.as_os_str() == "system");
        let usual = if is_system {
            SslMode::VerifyFull
        } else {
            SslMode::Prefer
        };
        let mode = self.read("sslmode", SslMode::parse).unwrap_or(usual);
        if is_system && mode != SslMode::VerifyFull {
            return Err(self.wrong(
                "sslmode",
                "verify-full or left out, as the roots are those of the system: anybody can have a certificate that they trust",
            ));
        }
        let is_certain = matches!(
            mode,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull
        );
        if self.text("sslnegotiation") == Some("direct") && !is_certain {
            return Err(self.wrong(
                "sslnegotiation",
                "postgres, or sslmode must be require, verify-ca or verify-full",
            ));
        }
        let is_plain = mode == SslMode::Disable || targets.iter().all(Target::is_local);
        if self.text("channel_binding") == Some("require") && is_plain {
            return Err(self.wrong(
                "channel_binding",
                "prefer or disable, as connections are not encrypted (by sslmode, or as all hosts are sockets of this machine)",
            ));
        }
        let roots = match root {
            Some(_) if is_system => Some(Roots::System),
            Some(file) => Some(Roots::File(file)),
            // In the other modes a certificate that does not fit would only do harm.
            None if is_certain => in_home("root.crt").map(Roots::File),
            None => None,
        };
        let (mut certificate, mut key) = (named("sslcert"), named("sslkey"));
        if certificate.is_none() && key.is_none() && mode != SslMode::Disable {
            (certificate, key) = (in_home("postgresql.crt"), in_home("postgresql.key"));
        }
        Ok(Tls {
            mode,
            roots,
            certificate,
            key,
        })
    }
}

/// libpq leaves it to the system; this is the driver's default, and that of most systems.
const IDLE: Duration = Duration::from_secs(2 * 60 * 60);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{fs, path::PathBuf};

    use tokio_postgres::config::SslMode as DriverMode;

    use super::*;

    fn filled(address: Option<&str>, vars: &[(&str, &str)]) -> Result<Settings, ConfigError> {
        in_home(None, address, vars)
    }

    fn in_home(
        home: Option<&Path>,
        address: Option<&str>,
        vars: &[(&str, &str)],
    ) -> Result<Settings, ConfigError> {
        let mut options = address.map_or(Ok(Options::default()), |address| {
            Options::parse("DATABASE_URL", address)
        })?;
        let (_, mut environment) = Environment::of(vars);
        if let Some(home) = home {
            environment = environment.with_home(home);
        }
        options.fill(&environment)?;
        options.complete()
    }

    fn password(settings: &Settings, index: usize) -> Option<String> {
        let driver = settings.driver(&settings.targets[index], DriverMode::Disable);
        let password = driver.get_password()?.to_vec();
        Some(String::from_utf8(password).unwrap())
    }

    /// Makes a home directory with the files.
    fn home(files: &[(&str, &str)]) -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = home.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            #[cfg(unix)]
            {
                use std::os::unix::fs::PermissionsExt;
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            }
        }
        home
    }

    #[test]
    fn an_address_says_it_all() {
        let settings = filled(Some("postgres://me:pa%20ss@db.example:5433/shop?sslmode=verify-full&sslrootcert=/ca%20s.pem&application_name=web&target_session_attrs=primary&load_balance_hosts=random&connect_timeout=1.5&keepalives_idle=60&keepalives_interval=5&keepalives_count=3&tcp_user_timeout=1500&sslnegotiation=direct&channel_binding=require&options=-cgeqo%3Doff"), &[]).unwrap();
        assert_eq!(settings.target(), "postgres at db.example:5433/shop as me");
        assert_eq!(settings.session_attrs, SessionAttrs::Primary);
        assert!(settings.is_shuffled);
        assert_eq!(settings.connect_timeout, Some(Duration::from_millis(1500)));
        assert_eq!(settings.tcp_user_timeout, Some(Duration::from_millis(1500)));
        let keepalives = Keepalives {
            idle: Duration::from_secs(60),
            interval: Some(Duration::from_secs(5)),
            count: Some(3),
        };
        assert_eq!(settings.keepalives, Some(keepalives));
        assert_eq!(settings.tls.mode, SslMode::VerifyFull);
        let Some(Roots::File(file)) = &settings.tls.roots else {
            panic!("{settings:?}")
        };
        assert_eq!(file.path, Path::new("/ca s.pem"));
        let target = &settings.targets[0];
        assert_eq!(settings.attempts(target).0, DriverMode::Require);
        let driver = settings.driver(target, DriverMode::Require);
        assert_eq!(driver.get_user(), Some("me"));
        assert_eq!(driver.get_password(), Some(&b"pa ss"[..]));
        assert_eq!(driver.get_dbname(), Some("shop"));
        assert_eq!(driver.get_application_name(), Some("web"));
        assert_eq!(driver.get_options(), Some("-cgeqo=off"));
        assert_eq!(driver.get_channel_binding(), ChannelBinding::Require);
        assert_eq!(driver.get_ssl_negotiation(), SslNegotiation::Direct);
        assert_eq!(driver.get_ssl_mode(), DriverMode::Require);
        assert_eq!(driver.get_ports(), [5433]);
    }

    #[test]
    fn libpqs_list_says_the_same_as_a_url() {
        let list = r"host=db.example port=5433 user=me password='pa \'ss' dbname=shop sslmode=verify-ca sslrootcert=/ca.pem";
        let settings = filled(Some(list), &[]).unwrap();
        assert_eq!(settings.target(), "postgres at db.example:5433/shop as me");
        assert_eq!(password(&settings, 0).unwrap(), "pa 'ss");
        assert_eq!(settings.tls.mode, SslMode::VerifyCa);
        assert!(matches!(settings.tls.roots, Some(Roots::File(_))));
    }

    #[test]
    fn libpqs_variables_fill_what_the_address_leaves_open() {
        let vars = [
            ("PGHOST", "elsewhere"),
            ("PGPORT", "6000"),
            ("PGUSER", "me"),
            ("PGPASSWORD", "secret"),
            ("PGDATABASE", "shop"),
            ("PGAPPNAME", "web"),
            ("PGOPTIONS", "-c geqo=off"),
            ("PGCONNECT_TIMEOUT", "3"),
            ("PGSSLMODE", "require"),
            ("PGSSLNEGOTIATION", "direct"),
            ("PGCHANNELBINDING", "disable"),
            ("PGTARGETSESSIONATTRS", "prefer-standby"),
            ("PGLOADBALANCEHOSTS", "random"),
            ("PGGSSENCMODE", "prefer"),
        ];
        let settings = filled(None, &vars).unwrap();
        assert_eq!(settings.target(), "postgres at elsewhere:6000/shop as me");
        assert_eq!(password(&settings, 0).unwrap(), "secret");
        assert_eq!(settings.connect_timeout, Some(Duration::from_secs(3)));
        assert_eq!(settings.tls.mode, SslMode::Require);
        assert_eq!(settings.session_attrs, SessionAttrs::PreferStandby);
        assert!(settings.is_shuffled);
        let driver = settings.driver(&settings.targets[0], DriverMode::Require);
        assert_eq!(driver.get_options(), Some("-c geqo=off"));
        assert_eq!(driver.get_channel_binding(), ChannelBinding::Disable);
        assert_eq!(driver.get_ssl_negotiation(), SslNegotiation::Direct);

        let address = "postgres://other@here/db?sslmode=verify-ca&target_session_attrs=any";
        let settings = filled(Some(address), &vars).unwrap();
        // As in libpq, each option is filled by itself: also the port.
        assert_eq!(settings.target(), "postgres at here:6000/db as other");
        assert_eq!(settings.tls.mode, SslMode::VerifyCa);
        assert_eq!(settings.session_attrs, SessionAttrs::Any);
        // An address of another source than the host's is left.
        let settings = filled(Some("postgres://here"), &[("PGHOSTADDR", "10.0.0.1")]).unwrap();
        assert_eq!(settings.targets[0].hostaddr, None);
        // An empty value is none.
        let settings = filled(
            Some("postgres://u:@here"),
            &[("PGPASSWORD", "secret"), ("PGPORT", "")],
        )
        .unwrap();
        assert_eq!(password(&settings, 0).unwrap(), "secret");
    }

    #[test]
    fn the_address_comes_before_the_service_and_the_service_before_the_environment() {
        let home = home(&[
            (
                ".pg_service.conf",
                "[shop]\nhost=of.service\nport=1\nuser=service\npassword=topsecret\ndbname=service\nsslmode=require\n",
            ),
            (".pgpass", "*:*:*:*:of the file\n"),
        ]);
        let vars = [
            ("PGSERVICE", "shop"),
            ("PGUSER", "variable"),
            ("PGPASSWORD", "of the variable"),
            ("PGAPPNAME", "variable"),
            ("PGHOSTADDR", "10.0.0.1"),
        ];
        let of = |address, vars: &[_]| in_home(Some(home.path()), address, vars).unwrap();
        let settings = of(Some("postgres:///db?user=address"), &vars);
        assert_eq!(settings.target(), "postgres at of.service:1/db as address");
        assert_eq!(password(&settings, 0).unwrap(), "topsecret");
        assert_eq!(
            (settings.tls.mode, settings.targets[0].hostaddr),
            (SslMode::Require, None)
        );
        let driver = settings.driver(&settings.targets[0], DriverMode::Require);
        assert_eq!(driver.get_application_name(), Some("variable"));
        let settings = of(Some("service=shop host=here"), &vars[1..]);
        assert_eq!(settings.target(), "postgres at here:1/service as service");
        let settings = of(Some("postgres://here"), &vars[1..]);
        assert_eq!(password(&settings, 0).unwrap(), "of the variable");
        assert_eq!(settings.target(), "postgres at here:5432 as variable");
        let settings = of(Some("postgres://u@here"), &[]);
        assert_eq!(password(&settings, 0).unwrap(), "of the file");
    }

    #[test]
    fn errors_of_a_service_name_the_file_and_the_line() {
        let home = home(&[(
            "services",
            "[port]\nport=topsecret\n[unknown]\nhost=h\ntopsecret=x\n[near]\nhots=topsecret\n[crl]\nsslcrl=topsecret\n[self]\nservice=topsecret\n[sslpassword]\nsslpassword=topsecret\n",
        )]);
        let file = home.path().join("services");
        let file = file.to_str().unwrap();
        for (service, says) in [
            (
                "port",
                "port in line 2 of FILE must be port numbers from 1 to 65535",
            ),
            (
                "unknown",
                "line 5 of FILE must be an option of libpq (an option with a name of 9 characters is unknown",
            ),
            (
                "near",
                "line 7 of FILE must be an option of libpq (an option with a name of 4 characters is unknown; did you mean `host`?)",
            ),
            (
                "crl",
                "sslcrl in line 9 of FILE must be left out: revocation lists",
            ),
            (
                "self",
                "line 11 of FILE must be an option of libpq (a service cannot name another)",
            ),
            (
                "sslpassword",
                "sslpassword in line 13 of FILE must be left out: encrypted keys",
            ),
            (
                "none",
                "PGSERVICE is none, but must be a service that is defined in FILE or ",
            ),
        ] {
            let vars = [("PGSERVICE", service), ("PGSERVICEFILE", file)];
            let error = filled(None, &vars)
                .unwrap_err()
                .to_string()
                .replace(file, "FILE");
            assert!(error.starts_with(says), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        let address = format!("service=none servicefile={file}");
        let error = filled(Some(&address), &[]).unwrap_err().to_string();
        assert!(
            error.starts_with("service of DATABASE_URL is none, but must be"),
            "{error}"
        );
    }

    #[test]
    fn each_host_has_its_own_password_of_the_file() {
        let home = home(&[(
            "pass",
            "a:1:shop:me:of a\nb:2:shop:me:of b\nlocalhost:5432:shop:me:of the socket\n10.0.0.1:4:*:*:of the address\n",
        )]);
        let file = home.path().join("pass");
        let address = format!("postgres://me@a:1,b:2,c:3/shop?passfile={}", file.display());
        let settings = filled(Some(&address), &[]).unwrap();
        let passwords = [0, 1, 2].map(|index| password(&settings, index));
        assert_eq!(
            passwords,
            [Some("of a".to_owned()), Some("of b".to_owned()), None]
        );
        assert!(!format!("{settings:?}").contains("of a"));
        let file = file.to_str().unwrap();
        let vars = |host| {
            [
                ("PGPASSFILE", file),
                ("PGUSER", "me"),
                ("PGDATABASE", "shop"),
                host,
            ]
        };
        let settings = filled(None, &vars(("PGHOST", "/var/run/postgresql"))).unwrap();
        assert_eq!(password(&settings, 0).unwrap(), "of the socket");
        let mut vars = vars(("PGHOSTADDR", "10.0.0.1")).to_vec();
        vars.push(("PGPORT", "4"));
        assert_eq!(
            password(&filled(None, &vars).unwrap(), 0).unwrap(),
            "of the address"
        );
        // The file is not looked at if it is not needed.
        let settings = filled(Some("postgres://u:own@h?passfile=/nowhere"), &[]).unwrap();
        assert_eq!(password(&settings, 0).unwrap(), "own");
        let error = filled(Some("postgres://u@h?passfile=/nowhere"), &[])
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("passfile of DATABASE_URL is /nowhere, but must be a readable file"),
            "{error}"
        );
    }

    #[test]
    fn the_roots_of_the_system_are_only_for_verify_full() {
        let settings = filled(Some("postgres://h?sslrootcert=system"), &[]).unwrap();
        assert_eq!(settings.tls.mode, SslMode::VerifyFull);
        assert!(matches!(settings.tls.roots, Some(Roots::System)));
        for mode in ["disable", "allow", "prefer", "require", "verify-ca"] {
            let vars = [("PGSSLMODE", mode), ("PGSSLROOTCERT", "system")];
            let error = filled(None, &vars).unwrap_err().to_string();
            let says = format!(
                "PGSSLMODE is {mode}, but must be verify-full or left out, as the roots are those of the system"
            );
            assert!(error.starts_with(&says), "{error}");
        }
        let mut options = Options::parse("url", "postgres://h?sslmode=require").unwrap();
        options.override_roots("system".into());
        let error = options.complete().unwrap_err().to_string();
        assert!(
            error.starts_with("sslmode of url must be verify-full or left out"),
            "{error}"
        );
    }

    #[test]
    fn the_files_in_the_home_directory_are_taken_where_they_do_no_harm() {
        let home = home(&[
            (".postgresql/root.crt", ""),
            (".postgresql/postgresql.crt", ""),
            (".postgresql/postgresql.key", ""),
        ]);
        for (mode, has_roots, has_key) in [
            ("disable", false, false),
            ("allow", false, true),
            ("prefer", false, true),
            ("require", true, true),
            ("verify-ca", true, true),
            ("verify-full", true, true),
        ] {
            let address = format!("postgres://h?sslmode={mode}");
            let tls = in_home(Some(home.path()), Some(&address), &[]).unwrap().tls;
            let roots = match &tls.roots {
                Some(Roots::File(file)) => Some(&file.path),
                _ => None,
            };
            let usual = home.path().join(".postgresql/root.crt");
            assert_eq!(roots, has_roots.then_some(&usual), "{mode}");
            assert_eq!(
                (tls.certificate.is_some(), tls.key.is_some()),
                (has_key, has_key),
                "{mode}"
            );
            let without_home = filled(Some(&address), &[]).unwrap().tls;
            assert!(without_home.roots.is_none() && without_home.certificate.is_none());
        }
        let address =
            "postgres://h?sslmode=require&sslrootcert=/own.pem&sslcert=/own.crt&sslkey=/own.key";
        let tls = in_home(Some(home.path()), Some(address), &[]).unwrap().tls;
        let Some(Roots::File(file)) = tls.roots else {
            panic!("no file")
        };
        assert_eq!(file.path, PathBuf::from("/own.pem"));
        assert_eq!(tls.key.unwrap().path, PathBuf::from("/own.key"));
    }

    #[test]
    fn each_mode_has_its_attempts_and_a_socket_is_never_encrypted() {
        use DriverMode::{Disable, Prefer, Require};
        for (mode, attempts) in [
            ("disable", (Disable, &[][..])),
            ("allow", (Disable, &[Require][..])),
            ("prefer", (Prefer, &[])),
            ("require", (Require, &[])),
            ("verify-ca", (Require, &[])),
            ("verify-full", (Require, &[])),
        ] {
            let address = format!("host=h,/run/pg,/run/pg hostaddr=,,10.0.0.1 sslmode={mode}");
            let settings = filled(Some(&address), &[]).unwrap();
            let [tcp, local, by_address] =
                [0, 1, 2].map(|at| settings.attempts(&settings.targets[at]));
            assert_eq!(
                (tcp, local, by_address),
                (attempts, (Disable, &[][..]), attempts),
                "{mode}"
            );
        }
    }

    #[test]
    fn options_that_contradict_each_other_are_named() {
        for (address, says) in [
            (
                "postgres://h?sslnegotiation=direct",
                "sslnegotiation of DATABASE_URL must be postgres, or sslmode must be require",
            ),
            (
                "postgres://h?sslnegotiation=direct&sslmode=allow",
                "sslnegotiation of DATABASE_URL must be postgres",
            ),
            (
                "postgres://h?channel_binding=require&sslmode=disable",
                "channel_binding of DATABASE_URL must be prefer or disable",
            ),
            (
                "postgres://%2Frun/?channel_binding=require",
                "channel_binding of DATABASE_URL must be prefer or disable",
            ),
            (
                "postgres://a,b?port=1,2,3",
                "port of DATABASE_URL must be one port for all hosts, or as many as there are hosts: 2",
            ),
            (
                "postgres://a,b?hostaddr=10.0.0.1",
                "hostaddr of DATABASE_URL must be as many as there are hosts: 2",
            ),
            (
                "postgres://a?hostaddr=10.0.0.1,10.0.0.2",
                "hostaddr of DATABASE_URL must be as many as there are hosts: 1",
            ),
        ] {
            let error = filled(Some(address), &[]).unwrap_err().to_string();
            assert!(error.starts_with(says), "{error}");
        }
        let error = filled(None, &[("PGPORT", "1,2")]).unwrap_err().to_string();
        assert!(
            error.starts_with("PGPORT is 1,2, but must be one port for all hosts"),
            "{error}"
        );
    }
}

//! No address, however malformed, shows its password.

use std::fmt::Debug;

use proptest::{prelude::*, sample::select};

use super::Options;
use crate::{
    address::shown,
    environment::Environment,
    postgres::{Builder, Pool},
};

/// Letters that are in none of the pieces, and nowhere in a message.
const SECRET: &str = "QxZjQvKwXqJzGkQxVjWq";

/// The pieces that addresses are made of, the secret among them. Where it stands as the name of a
/// host, a database, a user or a file, it is shown by intent: see `is_in_its_place`.
fn piece() -> impl Strategy<Value = String> {
    let fixed = select(vec![
        "postgres://",
        "postgresql://",
        "POSTGRES://",
        "postgres:",
        "postgresql+psycopg2://",
        "jdbc:postgresql://",
        "mysql://",
        "://",
        ":",
        "/",
        "//",
        "@",
        "?",
        "&",
        "=",
        ";",
        ",",
        " ",
        "\t",
        "\n",
        "'",
        "\"",
        "\\",
        "%",
        "%20",
        "%40",
        "%zz",
        "#",
        "[",
        "]",
        "u",
        "h",
        "db",
        "5432",
        "::1",
        "host",
        "Host",
        "user",
        "User Id",
        "dbname",
        "Database",
        "password",
        "Password",
        "PASSWORD",
        "pwd",
        "Pwd",
        "passwd",
        "sslpassword",
        "sslmode",
        "SSLMode",
        "require",
        "port",
        "options",
        "target_session_attrs",
        "connect_timeout",
        "sslcrl",
        "channel_binding",
        "host=h",
        "user=u",
        "dbname=db",
        "password=",
        "Password=",
        "Pwd=",
        ";Host=h",
    ]);
    prop_oneof![4 => fixed.prop_map(str::to_owned), 1 => Just(SECRET.to_owned())]
}

/// Addresses that are nearly right, with the secret in one place of them.
fn nearly_right() -> impl Strategy<Value = String> {
    let form = select(vec![
        "postgres://u:S@h/db",
        "postgres://u:S",
        "postgres://u:S/db",
        "postgres://u:S@h:x/db",
        "postgres://u/S@h:x/db",
        "postgres://u/S@h/db",
        "postgres://u:1/S@h/db",
        "postgres://u:a@S@h/db",
        "postgres://u:S@S@h/db",
        "postgres://h/db?password=S",
        "postgres://h/db?PassWord=S",
        "postgres://h/db?passwd=S",
        "postgres://h/db?pwd=S",
        "postgres://h/db?sslpassword=S",
        "postgres://h/db?SSLPASSWORD=S",
        "postgres://h/db?S=x",
        "postgres://h/db?S",
        "postgres://h/db?x&S",
        "postgres://h/db?sslmode=S",
        "postgres://h/db?port=S",
        "postgres://h/db?hostaddr=S",
        "postgres://h/db?connect_timeout=S",
        "postgres://h/db?target_session_attrs=S",
        "postgres://h/db?channel_binding=S",
        "postgres://h/db?options=S",
        "postgres://h/db?application_name=S",
        "postgres://h/db?sslcrl=S",
        "postgres://h/db?keepalives=S",
        "postgres://h/db password=S",
        "postgres://h/db;password=S",
        "postgres://h;password=S/db",
        "postgres://u;password=S@h/db",
        "postgres://h/db?sslmode=require;password=S",
        "postgres://h/db?sslmode=require password=S",
        "postgres://h/db?sslrootcert=/ca.pem;password=S",
        "postgres://h/db?sslrootcert=/ca.pem password=S",
        "postgres://h/db?sslmode=verify-ca&sslrootcert=/ca.pem;pwd=S",
        "postgres://h:S/db",
        "postgres://[::1]:S/db",
        "postgres://[S/db",
        "postgres://[::1]S/db",
        "postgres://h,h:S/db",
        "postgres://u:%S@h/db",
        "postgres://u:S%@h/db",
        "postgres://h/db#S@",
        "S",
        "S:x",
        "S=x",
        "x=S",
        "u:S@h",
        "u:S@h/db",
        "S@h x",
        "postgres:u:S@h",
        "postgres:/u:S@h",
        "postgresql+x://u:S@h",
        "jdbc:postgresql://h/db?user=u&password=S",
        "mysql://u:S@h/db",
        "S://h",
        "x://u:S@h",
        "\"postgres://u:S@h/db\"",
        "host=h user=u password=S",
        "host=h user=u password='S",
        "host=h user=u password=S sslmode=maybe",
        "host=h user=u password='a' S",
        "host=h password = S port=x",
        "PASSWORD=S host=h",
        "password=S Host=h",
        "host=h pwd=S",
        "host=h S=x",
        "host=h passwd=S",
        "host=h user=u password:S",
        "host=h;user=u;password=S",
        "Host=h;Password=S",
        "Server=h;Pwd=S;",
        "Host=h;Username=u;Password=S;Database=db",
        "Data Source=h;User Id=u;Password=S",
        "password=S;host=h",
        "host='h;password=S'",
        "user=u;password=S host=h",
        "dbname=db;password=S host=h",
        "host=h dbname='db password=S'",
        "host=h user='u password=S'",
        "dbname=postgres://u:S@h/db host=h",
        "host=h sslrootcert='/ca.pem password=S' sslmode=verify-full",
        "host=h passfile='/p password=S'",
        "host=h service='x password=S'",
        "host=h sslcert='/c;password=S' sslkey='/k;password=S' sslmode=require",
    ]);
    let case = select(vec![0, 1, 2]);
    (form, case).prop_map(|(form, case)| {
        let form = match case {
            // Names of options in another case.
            1 => form.replace("password", "PassWord"),
            2 => form.replace("password", "PASSWORD"),
            _ => form.to_owned(),
        };
        form.replace('S', SECRET)
    })
}

fn shows<T: Debug, E: Debug + ToString>(result: &Result<T, E>) -> String {
    match result {
        Ok(value) => format!("{value:?} {value:#?}"),
        Err(error) => format!("{} {error:?} {error:#?}", error.to_string()),
    }
}

/// Everything that an address can make the crate say.
fn said(address: &str) -> Vec<String> {
    let parsed = Options::parse("DATABASE_URL", address);
    let mut said = vec![shows(&parsed)];
    if let Ok(options) = parsed {
        said.push(shows(&options.complete()));
    }
    let builder = Builder::new().url(address);
    said.push(format!("{builder:?} {builder:#?}"));
    let of_pool = |pool: &Pool| format!("{:?} {pool:?} {:?}", pool.manager(), pool.status());
    let built = builder.build();
    said.push(
        built
            .as_ref()
            .map_or_else(|error| format!("{error} {error:?}"), of_pool),
    );
    for variable in ["DATABASE_URL", "POOL_DB_URL"] {
        let (env, beside) = Environment::of(&[(variable, address)]);
        said.push(format!("{env:?} {beside:?}"));
        match Builder::new().apply(env, beside) {
            Ok(builder) => {
                said.push(format!("{builder:?}"));
                let built = builder.build();
                said.push(
                    built
                        .as_ref()
                        .map_or_else(|error| format!("{error} {error:?}"), of_pool),
                );
            }
            Err(error) => said.push(format!("{error} {error:?}")),
        }
    }
    said
}

fn leak(address: &str) -> Option<String> {
    let secret: Vec<char> = SECRET.chars().collect();
    let parts: Vec<String> = secret
        .windows(8)
        .map(|part| part.iter().collect())
        .collect();
    let folded: Vec<String> = parts.iter().map(|part| part.to_lowercase()).collect();
    said(address).into_iter().find(|text| {
        let text = text.to_lowercase();
        folded.iter().any(|part| text.contains(part))
    })
}

/// Whether the secret stands where an address has what is shown: in a host, a database, a user or the name of a file or service.
fn is_in_its_place(address: &str) -> bool {
    Options::parse("url", address).is_ok_and(|options| {
        let mut names = NAMES.iter().filter_map(|name| options.text(name));
        names.any(|name| name.contains(SECRET) && shown(name) == name)
    })
}

const NAMES: [&str; 9] = [
    "host",
    "dbname",
    "user",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "passfile",
    "service",
    "servicefile",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_address_that_is_nearly_right_shows_its_password(address in nearly_right()) {
        prop_assert_eq!(leak(&address), None, "{}", address);
    }

    #[test]
    fn no_text_of_random_pieces_shows_its_password(pieces in prop::collection::vec(piece(), 1..12)) {
        let address = pieces.concat();
        prop_assert!(is_in_its_place(&address) || leak(&address).is_none(), "{}: {:?}", address, leak(&address));
    }

    #[test]
    fn no_url_of_random_pieces_shows_its_password(pieces in prop::collection::vec(piece(), 1..10)) {
        let address = format!("postgres://{}", pieces.concat());
        prop_assert!(is_in_its_place(&address) || leak(&address).is_none(), "{}: {:?}", address, leak(&address));
    }

    #[test]
    fn no_list_of_random_pieces_shows_its_password(pieces in prop::collection::vec(piece(), 1..10)) {
        let address = format!("host=h user=u password={}", pieces.concat());
        prop_assert!(is_in_its_place(&address) || leak(&address).is_none(), "{}: {:?}", address, leak(&address));
    }
}

/// Without this the tests above could be blind.
#[test]
fn what_is_shown_is_looked_through() {
    assert!(leak(&format!("postgres://{SECRET}/db")).is_some_and(|text| text.contains(SECRET)));
    assert!(is_in_its_place(&format!("postgres://{SECRET}/db")));
}

//! The face that all crates have in common, as `FACE.md` has it in a table: what can be run is run over all of it.

#![allow(clippy::unwrap_used)]

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use pool_core::{
    Flight, Gauge, KeyedPool, Limiter, MixedManager, MixedPool, Opened, Pool, SharedManager,
    SharedPool, Usage, keyed_manager_fn, manager_fn,
};
use pool_cpu::{BlockingPool, CpuPool};
use pool_db::{mysql, postgres, sqlite};
use pool_http::Client;

const SEC: Duration = Duration::from_secs(1);

async fn open() -> io::Result<()> {
    Ok(())
}

struct Lines;

impl SharedManager for Lines {
    type Resource = ();
    type Error = io::Error;

    async fn create(&self, gauge: Gauge) -> io::Result<()> {
        gauge.set_capacity(1);
        Ok(())
    }
}

impl MixedManager<u8> for Lines {
    type One = ();
    type Many = ();
    type Error = io::Error;

    async fn create(&self, _: &u8, _: Gauge) -> io::Result<Opened<(), ()>> {
        Ok(Opened::One(()))
    }

    async fn check(&self, (): &mut (), _: &Usage) -> io::Result<()> {
        Ok(())
    }
}

/// For everything that has a builder: an expression over one, as a statement each.
macro_rules! over_all {
    ($begin:ident => $each:block) => {{
        let $begin = || Pool::builder(manager_fn(open));
        $each
        let $begin = || KeyedPool::builder(keyed_manager_fn(|_: &u8| open()));
        $each
        let $begin = || MixedPool::<u8, Lines>::builder(Lines);
        $each
        let $begin = || SharedPool::builder(Lines);
        $each
        let $begin = || Limiter::builder(3);
        $each
        let $begin = || Flight::<u8, ()>::builder();
        $each
        let $begin = || sqlite::Pool::builder().memory();
        $each
        let $begin = || postgres::Pool::builder().url("postgres://me@localhost:1/shop");
        $each
        let $begin = || mysql::Pool::builder().url("mysql://me@localhost:1/shop");
        $each
        let $begin = || Client::builder();
        $each
        let $begin = || CpuPool::builder().threads(1);
        $each
        let $begin = || BlockingPool::builder().max_threads(1);
        $each
    }};
}

#[test]
fn each_has_a_name_of_its_own_by_code_and_by_its_prefix() {
    over_all!(begin => {
        assert_eq!(begin().name("mine").build().unwrap().name(), "mine");
        let named = begin().env("FACE_OF_NOBODY").unwrap().build().unwrap();
        assert_eq!(named.name(), "face_of_nobody");
        let both = begin().name("mine").env("FACE_OF_NOBODY").unwrap().build().unwrap();
        assert_eq!(both.name(), "mine", "what the code says, unless a variable says otherwise");
        let error = begin().name(" ").build().unwrap_err().to_string();
        assert!(error.starts_with("name is \" \", but must be "), "{error}");
    });
}

#[test]
fn pools_without_a_name_are_told_apart() {
    macro_rules! apart {
        ($word:literal, $begin:expr) => {{
            let (one, other) = ($begin.build().unwrap(), $begin.build().unwrap());
            // Other tests of this process may have some as well.
            assert!(one.name().starts_with($word) && other.name().starts_with($word));
            assert_ne!(one.name(), other.name());
        }};
    }
    apart!("pool", Pool::builder(manager_fn(open)));
    apart!(
        "keyed pool",
        KeyedPool::builder(keyed_manager_fn(|_: &u8| open()))
    );
    apart!("mixed pool", MixedPool::<u8, Lines>::builder(Lines));
    apart!("shared pool", SharedPool::builder(Lines));
    apart!("sqlite", sqlite::Pool::builder().memory());
    apart!(
        "postgres",
        postgres::Pool::builder().url("postgres://me@localhost:1/shop")
    );
    apart!("http", Client::builder());
    apart!("cpu", CpuPool::builder().threads(1));
    apart!("blocking", BlockingPool::builder().max_threads(1));
}

#[tokio::test]
async fn each_ends_by_a_drain_and_says_then_that_it_is_closed() {
    macro_rules! ends {
        ($begin:expr, $pool:ident => $get:expr) => {{
            let $pool = $begin.build().unwrap();
            let drained: pool_core::Drained = $pool.drain(SEC).await;
            assert!(drained.is_complete(), "{drained:?}");
            let error = $get.await.map(drop).unwrap_err();
            assert!(error.is_closed(), "{error}");
            assert!(!error.is_timeout() && !error.is_overloaded(), "{error}");
        }};
    }
    ends!(Pool::builder(manager_fn(open)), pool => pool.get());
    ends!(KeyedPool::builder(keyed_manager_fn(|_: &u8| open())), pool => pool.get(&1));
    ends!(MixedPool::builder(Lines), pool => pool.get(&1));
    ends!(SharedPool::builder(Lines), pool => pool.get());
    ends!(sqlite::Pool::builder().memory(), pool => pool.get());
    ends!(postgres::Pool::builder().url("postgres://me@localhost:1/shop"), pool => pool.get());
    ends!(mysql::Pool::builder().url("mysql://me@localhost:1/shop"), pool => pool.get());
    ends!(Client::builder(), client => client.get("http://127.0.0.1:1/").send());
    ends!(CpuPool::builder().threads(1), pool => pool.run(|| ()));
    ends!(BlockingPool::builder().max_threads(1), pool => pool.run(|| ()));
    let limiter = Limiter::new(1);
    limiter.close();
    assert!(limiter.acquire().await.unwrap_err().is_closed());
}

#[test]
fn each_takes_the_bound_of_its_line_and_has_a_status() {
    macro_rules! bounded {
        ($($begin:expr),+ $(,)?) => {$(
            let pool = $begin.max_waiters(7).build().unwrap();
            assert!(format!("{:?}", pool.status()).len() > 20);
            drop($begin.max_waiters(None).build().unwrap());
        )+};
    }
    bounded!(
        Pool::builder(manager_fn(open)),
        KeyedPool::builder(keyed_manager_fn(|_: &u8| open())),
        MixedPool::<u8, Lines>::builder(Lines),
        SharedPool::builder(Lines),
        Limiter::builder(3),
        Flight::<u8, ()>::builder(),
        sqlite::Pool::builder().memory(),
        postgres::Pool::builder().url("postgres://me@localhost:1/shop"),
        mysql::Pool::builder().url("mysql://me@localhost:1/shop"),
        Client::builder(),
        CpuPool::builder().threads(1),
        BlockingPool::builder().max_threads(1),
    );
}

#[test]
fn what_has_a_size_can_be_given_another_and_refuses_none() {
    macro_rules! resizes {
        ($($setting:literal: $pool:expr),+ $(,)?) => {$(
            let pool = $pool;
            pool.resize(5).unwrap();
            let error = pool.resize(0).unwrap_err().to_string();
            assert_eq!(error, concat!($setting, " is 0, but must be at least 1"));
        )+};
    }
    resizes!(
        "max_size": Pool::builder(manager_fn(open)).build().unwrap(),
        "max_total": KeyedPool::builder(keyed_manager_fn(|_: &u8| open())).build().unwrap(),
        "max_total": MixedPool::<u8, Lines>::builder(Lines).build().unwrap(),
        "max_size": SharedPool::builder(Lines).build().unwrap(),
        "limit": Limiter::new(3),
        "max_size": sqlite::Pool::builder().memory().build().unwrap(),
        "max_size": postgres::Pool::builder().url("postgres://me@localhost:1/shop").build().unwrap(),
        "max_size": mysql::Pool::builder().url("mysql://me@localhost:1/shop").build().unwrap(),
    );
}

/// Each name in the table is in the sources of its column's crate, or in those of `pool-core`, on which the others stand.
#[test]
fn what_the_table_names_exists() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let table = fs::read_to_string(workspace.join("FACE.md")).unwrap();
    let sources = |name: &str| {
        let (mut text, mut folders) = (String::new(), vec![workspace.join(name).join("src")]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path: PathBuf = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|end| end == "rs") {
                    text += &fs::read_to_string(path).unwrap();
                }
            }
        }
        text
    };
    let core = sources("pool-core");
    let rows = table
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(cells);
    let rows: Vec<_> = rows.collect();
    let heads = &rows[0][1..];
    assert_eq!(
        heads,
        ["`pool-core`", "`pool-db`", "`pool-http`", "`pool-cpu`"]
    );
    let (mut looked_up, mut missing) = (0, Vec::new());
    for (column, head) in heads.iter().enumerate() {
        let own = sources(head.trim_matches('`'));
        for row in &rows[2..] {
            assert_eq!(row.len(), heads.len() + 1, "{row:?}");
            for name in row[column + 1].split('`').skip(1).step_by(2) {
                let Some(name) = item(name) else { continue };
                looked_up += 1;
                if !declares(&own, name) && !declares(&core, name) {
                    missing.push(format!("{head}: {name}"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
    assert!(looked_up > 90, "{looked_up}");
}

fn cells(row: &str) -> Vec<&str> {
    row.trim_matches('|').split('|').map(str::trim).collect()
}

/// The last name of what stands there, if it is one of an item: not a variable, a metric, a field or a type of the standard library.
fn item(text: &str) -> Option<&str> {
    let name = text.split('(').next()?.rsplit("::").next()?;
    let is_name = !name.is_empty()
        && name
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    let foreign = ["Result", "Duration", "None", "pool_core", "source"];
    let is_word = [
        "sqlite", "postgres", "mysql", "http", "cpu", "blocking", "serde",
    ];
    let is_variable = name
        .chars()
        .all(|letter| letter.is_ascii_uppercase() || letter == '_');
    let known = foreign.contains(&name) || is_word.contains(&name) || is_variable;
    (is_name && !known).then_some(name)
}

/// A function, a type, or a setting, from which a macro makes functions.
fn declares(sources: &str, name: &str) -> bool {
    let after = |what: &str| {
        let declared = format!("{what}{name}");
        sources.match_indices(&declared).any(|(at, _)| {
            let next = sources[at + declared.len()..].chars().next();
            next.is_some_and(|next| !next.is_ascii_alphanumeric() && next != '_')
        })
    };
    ["fn ", "struct ", "enum ", "trait ", "type "]
        .into_iter()
        .any(after)
        || sources.contains(&format!(" {name} / get_{name}("))
        || sources.contains(&format!(" {name} for ["))
        || sources.contains(&format!(" {name} for ;"))
}

#[test]
fn a_name_that_no_crate_has_is_missed() {
    let sources = "pub fn drain(&self) {} pub struct Drained; Config for [] Builder; max_waiters / get_max_waiters(u32): ";
    for there in ["drain", "Drained", "Config"] {
        assert!(declares(sources, there), "{there}");
    }
    for gone in ["dra", "drained", "Conf", "Builder"] {
        assert!(!declares(sources, gone), "{gone}");
    }
    assert_eq!(item("drain(within)"), Some("drain"));
    assert_eq!(item("Limiter::acquire"), Some("acquire"));
    assert_eq!(item("POOL_DB_.."), None);
    assert_eq!(item("db.client.connection.*"), None);
}

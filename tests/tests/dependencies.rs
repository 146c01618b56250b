//! What the crates may depend on: each other downwards only, and of other people's what `deny.toml` allows.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::Value;

/// Our libraries, and which of the others each may use.
const FLOORS: [(&str, &[&str]); 4] = [
    ("pool-core", &[]),
    ("pool-cpu", &["pool-core"]),
    ("pool-db", &["pool-core", "pool-cpu"]),
    ("pool-http", &["pool-core"]),
];

#[test]
fn dependencies_point_down_only() {
    let metadata = metadata(&["--no-deps"]);
    let ours: BTreeSet<&str> = packages(&metadata).iter().map(name).collect();
    for (library, below) in FLOORS {
        let package = packages(&metadata)
            .iter()
            .find(|package| name(package) == library)
            .unwrap_or_else(|| panic!("{library} is not in the workspace"));
        for dependency in package["dependencies"].as_array().unwrap().iter().map(name) {
            let allowed = !ours.contains(dependency) || below.contains(&dependency);
            assert!(
                allowed,
                "{library} depends on {dependency}, which is not below it"
            );
        }
    }
}

#[test]
fn a_user_gets_only_what_it_asked_for() {
    let cases: [(&[&str], &[&str]); 10] = [
        (
            &["pool-core"],
            &[
                "serde",
                "tracing",
                "metrics",
                "deadpool",
                "bb8",
                "rayon-core",
                "hyper",
            ],
        ),
        (&["pool-cpu"], &["serde", "hyper", "rusqlite", "rustls"]),
        (
            &["pool-db"],
            &[
                "pool-cpu",
                "rusqlite",
                "tokio-postgres",
                "rustls",
                "mysql_async",
                "redis",
                "sqlx",
                "moka",
            ],
        ),
        (
            &["pool-db", "--features=mysql"],
            &["pool-cpu", "tokio-postgres", "redis", "aws-lc-rs"],
        ),
        (
            &["pool-db", "--features=redis"],
            &["pool-cpu", "rusqlite", "mysql_async", "moka", "aws-lc-rs"],
        ),
        (
            &["pool-db", "--features=cache"],
            &["redis", "tokio-postgres"],
        ),
        (
            &["pool-db", "--features=sqlx-postgres"],
            &["tokio-postgres", "sqlx-mysql", "sqlx-sqlite", "aws-lc-rs"],
        ),
        (
            &["pool-db", "--features=postgres"],
            &["pool-cpu", "rusqlite"],
        ),
        (
            &["pool-db", "--features=sqlite"],
            &["tokio-postgres", "rustls"],
        ),
        (
            &["pool-http", "--no-default-features"],
            &["pool-cpu", "pool-db", "rustls", "rusqlite"],
        ),
    ];
    for (asked, unwanted) in cases {
        let tree = tree(asked);
        assert!(tree.contains(asked[0]), "{asked:?}: {tree:?}");
        for unwanted in unwanted {
            assert!(!tree.contains(*unwanted), "{asked:?} brings {unwanted}");
        }
    }
}

#[test]
fn no_dependency_of_a_library_asks_for_a_newer_rust() {
    let metadata = metadata(&["--all-features"]);
    for (library, _) in FLOORS {
        let of = |package: &Value| rust(package["rust_version"].as_str().unwrap_or("1.0"));
        let named = |wanted: &str| {
            packages(&metadata)
                .iter()
                .find(|package| name(package) == wanted)
        };
        let package = named(library).unwrap();
        let promised = of(package);
        // sqlx asks for a newer one, which its features say.
        let features: Vec<&str> = package["features"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .filter(|feature| !feature.starts_with("sqlx"))
            .collect();
        let features = format!("--features={}", features.join(","));
        let fixed = ["tree", "--locked", "--edges=normal,build", "--prefix=none"];
        let text = cargo(&[&fixed[..], &["--package", library, &features]].concat());
        let used: BTreeSet<(&str, &str)> = text
            .lines()
            .filter_map(|line| {
                let mut words = line.split(' ');
                Some((words.next()?, words.next()?.strip_prefix('v')?))
            })
            .collect();
        let newer: Vec<&str> = packages(&metadata)
            .iter()
            .filter(|package| used.contains(&(name(package), package["version"].as_str().unwrap())))
            .filter(|package| of(package) > promised)
            .map(name)
            .collect();
        assert!(used.len() > 3, "{library}: {text}");
        assert!(
            newer.is_empty(),
            "{library} promises Rust {promised:?}, but not {newer:?}"
        );
    }
}

#[test]
fn every_licence_is_allowed() {
    let allowed = listed("[licenses]", "allow");
    let allowed: Vec<&str> = allowed.iter().map(String::as_str).collect();
    let metadata = metadata(&["--all-features"]);
    let refused: Vec<String> = packages(&metadata)
        .iter()
        .filter_map(|package| {
            let licence = package["license"].as_str().unwrap_or("no licence");
            let refused = !is_allowed(licence, &allowed);
            refused.then(|| format!("{} {}: {licence}", name(package), package["version"]))
        })
        .collect();
    assert!(refused.is_empty(), "not allowed by deny.toml: {refused:#?}");
}

#[test]
fn nothing_banned_is_used_and_everything_comes_from_the_registry() {
    let banned = listed("[bans]", "deny");
    assert!(!banned.is_empty());
    let metadata = metadata(&["--all-features"]);
    for package in packages(&metadata) {
        let name = name(package);
        assert!(
            !banned.iter().any(|banned| banned == name),
            "{name} is banned by deny.toml"
        );
        match package["source"].as_str() {
            None => assert!(
                is_ours(package),
                "{name} is a path outside of the workspace"
            ),
            Some(source) => assert!(
                source.starts_with("registry+"),
                "{name} comes from {source}"
            ),
        }
    }
}

#[test]
fn licence_expressions_are_understood() {
    let allowed = ["MIT", "Unicode-3.0", "Apache-2.0 WITH LLVM-exception"];
    for yes in [
        "MIT",
        "GPL-3.0 OR MIT",
        "GPL-3.0/MIT",
        "(GPL-3.0 OR MIT) AND Unicode-3.0",
        "GPL-3.0 AND ISC OR MIT",
        "Apache-2.0 WITH LLVM-exception OR GPL-3.0",
    ] {
        assert!(is_allowed(yes, &allowed), "{yes}");
    }
    for no in [
        "GPL-3.0",
        "",
        "MIT AND GPL-3.0",
        "(MIT OR Unicode-3.0) AND GPL-3.0",
        "Apache-2.0",
        "MIT WITH LLVM-exception",
        "(MIT",
        "MIT MIT",
    ] {
        assert!(!is_allowed(no, &allowed), "{no}");
    }
}

/// Whether an SPDX licence expression is satisfied by the licences `allowed`; not if it cannot be read.
fn is_allowed(expression: &str, allowed: &[&str]) -> bool {
    // Older crates separate the licences to choose from by a slash.
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    either(&words, allowed) == Some((true, &[]))
}

/// Reads `a OR b ..`; answers whether it is satisfied, and the words after it.
fn either<'a, 'w>(words: &'a [&'w str], allowed: &[&str]) -> Option<(bool, &'a [&'w str])> {
    let (mut satisfied, mut rest) = both(words, allowed)?;
    while let ["OR", after @ ..] = rest {
        let (next, after) = both(after, allowed)?;
        (satisfied, rest) = (satisfied | next, after);
    }
    Some((satisfied, rest))
}

/// Reads `a AND b ..`, which binds tighter than `OR`.
fn both<'a, 'w>(words: &'a [&'w str], allowed: &[&str]) -> Option<(bool, &'a [&'w str])> {
    let (mut satisfied, mut rest) = one(words, allowed)?;
    while let ["AND", after @ ..] = rest {
        let (next, after) = one(after, allowed)?;
        (satisfied, rest) = (satisfied & next, after);
    }
    Some((satisfied, rest))
}

/// Reads one licence, with its exception if it has one, or an expression in brackets.
fn one<'a, 'w>(words: &'a [&'w str], allowed: &[&str]) -> Option<(bool, &'a [&'w str])> {
    match words {
        ["(", inner @ ..] => match either(inner, allowed)? {
            (satisfied, [")", rest @ ..]) => Some((satisfied, rest)),
            _ => None,
        },
        [licence, "WITH", exception, rest @ ..] => {
            let whole = format!("{licence} WITH {exception}");
            Some((allowed.contains(&whole.as_str()), rest))
        }
        [licence, rest @ ..] => Some((allowed.contains(licence), rest)),
        [] => None,
    }
}

/// The strings of the list `key` in a section of `deny.toml`.
fn listed(section: &str, key: &str) -> Vec<String> {
    let text = fs::read_to_string(format!("{WORKSPACE}/deny.toml")).unwrap();
    let (_, section) = text.split_once(section).expect("deny.toml has the section");
    let (_, list) = section
        .split_once(&format!("\n{key} = ["))
        .expect("the section has the key");
    let (list, _) = list
        .split_once("\n]")
        .expect("the list ends on a line of its own");
    list.split('"')
        .skip(1)
        .step_by(2)
        .map(String::from)
        .collect()
}

/// What `cargo metadata` says.
fn metadata(arguments: &[&str]) -> Value {
    let text = cargo(&[&["metadata", "--format-version=1", "--locked"], arguments].concat());
    serde_json::from_str(&text).unwrap()
}

/// The names of the crates that `cargo tree` finds in what a user of a library compiles.
fn tree(asked: &[&str]) -> BTreeSet<String> {
    let fixed = [
        "tree",
        "--locked",
        "--edges=normal",
        "--prefix=none",
        "--package",
    ];
    let text = cargo(&[&fixed, asked].concat());
    text.lines()
        .filter_map(|line| line.split(' ').next())
        .map(String::from)
        .collect()
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(WORKSPACE)
        .output()
        .expect("cargo can be started");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// The numbers of a version of Rust, of which the last may be left out.
fn rust(version: &str) -> (u32, u32, u32) {
    let mut numbers = version.split('.').map(|number| number.parse().unwrap());
    let mut next = || numbers.next().unwrap_or(0);
    (next(), next(), next())
}

fn packages(metadata: &Value) -> &[Value] {
    metadata["packages"].as_array().unwrap()
}

fn name(package: &Value) -> &str {
    package["name"].as_str().unwrap()
}

fn is_ours(package: &Value) -> bool {
    let manifest = package["manifest_path"].as_str().unwrap();
    let workspace = fs::canonicalize(WORKSPACE).unwrap();
    fs::canonicalize(manifest).unwrap().starts_with(workspace)
}

const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

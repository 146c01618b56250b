//! What a registry gets: each library's manifest, README and licences, as a stranger finds them there.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

#[test]
fn each_library_can_be_published() {
    let found: Vec<String> = libraries().iter().flat_map(faults).collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn nothing_but_the_libraries_is_published() {
    for package in packages() {
        let library = LIBRARIES.contains(&name(&package));
        let published = package["publish"].is_null();
        assert_eq!(published, library, "{}: `publish`", name(&package));
    }
}

#[test]
fn a_library_asks_for_the_others_in_the_version_that_goes_with_it() {
    for package in libraries() {
        for dependency in package["dependencies"].as_array().unwrap() {
            if LIBRARIES.contains(&name(dependency)) {
                let version = format!("^{}", package["version"].as_str().unwrap());
                assert_eq!(
                    dependency["req"],
                    version,
                    "{}: `{}`",
                    name(&package),
                    name(dependency)
                );
            }
        }
    }
}

#[test]
fn each_package_has_what_it_needs_and_no_more() {
    for library in LIBRARIES {
        let listed = cargo(&["package", "--list", "--allow-dirty", "--package", library]);
        let files: BTreeSet<&str> = listed.lines().collect();
        for needed in ["README.md", "LICENSE-MIT", "LICENSE-APACHE", "src/lib.rs"] {
            assert!(
                files.contains(needed),
                "{library}: `{needed}` is not in the package"
            );
        }
        for file in files {
            let known =
                file.starts_with("src/") || file.starts_with("docs/") || !file.contains('/');
            assert!(known, "{library}: `{file}` is in the package");
        }
    }
}

#[test]
fn each_licence_in_a_package_is_that_of_the_workspace() {
    for library in LIBRARIES {
        for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
            let ours = fs::read_to_string(Path::new(WORKSPACE).join(licence)).unwrap();
            let its = text(library, licence);
            assert_eq!(
                its.as_deref(),
                Some(ours.as_str()),
                "{library}: `{licence}`"
            );
        }
    }
}

#[test]
fn each_readme_tells_what_the_manifest_says() {
    let mut found = Vec::new();
    for package in libraries() {
        let library = name(&package);
        let readme = text(library, "README.md").unwrap_or_default();
        let workspace = fs::read_to_string(Path::new(WORKSPACE).join("README.md")).unwrap();
        let version = package["version"].as_str().unwrap();
        let (short, _) = version.rsplit_once('.').unwrap();
        let rust = format!("Rust {}", package["rust_version"].as_str().unwrap());
        for (file, text) in [
            ("its README", &readme),
            ("the workspace's README", &workspace),
        ] {
            let line = text.lines().find(|line| {
                let told = line.strip_prefix(library).map(str::trim_start);
                told.is_some_and(|told| {
                    told.starts_with('=') && told.contains(&format!("\"{short}\""))
                })
            });
            if line.is_none() {
                found.push(format!(
                    "{library}: {file} has no dependency line for {short}"
                ));
            }
            if !text.contains(&rust) {
                found.push(format!("{library}: {file} does not say {rust}"));
            }
        }
        let features = package["features"].as_object().unwrap();
        let on: BTreeSet<&str> = strings(&features["default"]).into_iter().collect();
        let told = told_features(&readme);
        for feature in features.keys().filter(|feature| *feature != "default") {
            let row = (feature.as_str(), on.contains(feature.as_str()));
            if !told.contains(&row) {
                found.push(format!(
                    "{library}: its README does not tell of {row:?} (feature, on by default)"
                ));
            }
        }
        for (feature, _) in told {
            if !features.contains_key(feature) {
                found.push(format!(
                    "{library}: its README tells of `{feature}`, which it does not have"
                ));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_driver_is_compiled_for_those_who_ask() {
    let libraries = libraries();
    let db = libraries
        .iter()
        .find(|package| name(package) == "pool-db")
        .unwrap();
    assert_eq!(db["features"]["default"], json!([]), "pool-db: `default`");
}

#[test]
fn what_a_manifest_lacks_is_named() {
    let whole = libraries().remove(0);
    assert_eq!(faults(&whole), Vec::<String>::new());
    let library = name(&whole);
    for field in FIELDS {
        let mut without = whole.clone();
        without[field] = Value::Null;
        let found = faults(&without);
        assert!(
            found.len() == 1 && found[0].starts_with(&format!("{library}: `{field}`")),
            "{field}: {found:?}"
        );
    }
    for (field, wrong) in [
        ("publish", json!([])),
        ("documentation", json!("https://docs.rs/pool")),
        ("keywords", json!(["a", "b", "c", "d", "e", "f"])),
        ("keywords", json!(["two words"])),
        ("categories", json!(["pools"])),
        ("categories", json!([])),
    ] {
        let mut with = whole.clone();
        with[field] = wrong;
        let found = faults(&with);
        assert!(
            found.len() == 1 && found[0].starts_with(&format!("{library}: `{field}`")),
            "{field}: {found:?}"
        );
    }
}

/// What is missing or wrong in the manifest of a library, each with the crate's and the field's name.
fn faults(package: &Value) -> Vec<String> {
    let library = name(package);
    let mut faults = Vec::new();
    let mut want = |field: &str, good: bool, wanted: &str| {
        if !good {
            faults.push(format!("{library}: `{field}` is not {wanted}"));
        }
    };
    let told = |field: &str| package[field].as_str().unwrap_or_default();

    want("description", told("description").len() > 20, "a sentence");
    want(
        "license",
        told("license") == "MIT OR Apache-2.0",
        "MIT OR Apache-2.0",
    );
    want(
        "repository",
        told("repository").starts_with("https://"),
        "an address",
    );
    let documentation = format!("https://docs.rs/{library}");
    want(
        "documentation",
        told("documentation") == documentation,
        &documentation,
    );
    want("readme", told("readme") == "README.md", "README.md");
    want("rust_version", !told("rust_version").is_empty(), "stated");
    let keywords = strings(&package["keywords"]);
    let good = (1..=5).contains(&keywords.len()) && keywords.iter().all(|word| is_keyword(word));
    want("keywords", good, "one to five words of up to 20 characters");
    let categories = strings(&package["categories"]);
    let good = (1..=5).contains(&categories.len())
        && categories.iter().all(|slug| CATEGORIES.contains(slug));
    want(
        "categories",
        good,
        "one to five slugs of the registry's that this test knows",
    );
    want("publish", package["publish"].is_null(), "left out");
    let docs = json!({ "all-features": true, "rustdoc-args": ["--cfg", "docsrs"] });
    let good = package["metadata"]["docs"]["rs"] == docs;
    want(
        "metadata",
        good,
        "that of docs.rs: all features, and its cfg",
    );
    faults
}

fn is_keyword(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '+');
    word.len() <= 20
        && word.starts_with(|c: char| c.is_ascii_alphanumeric())
        && word.chars().all(plain)
}

/// The rows of a README's table of features: which, and whether it is on by default.
fn told_features(readme: &str) -> BTreeSet<(&str, bool)> {
    let table = readme
        .lines()
        .skip_while(|line| !line.starts_with("| feature |"));
    let rows = table.skip(2).take_while(|line| line.starts_with('|'));
    rows.filter_map(|row| {
        let mut cells = row.split('|').map(str::trim).skip(1);
        let feature = cells.next()?.trim_matches('`');
        Some((feature, cells.next()? == "yes"))
    })
    .collect()
}

fn libraries() -> Vec<Value> {
    let mut packages = packages();
    packages.retain(|package| LIBRARIES.contains(&name(package)));
    assert_eq!(packages.len(), LIBRARIES.len());
    packages
}

/// The packages of the workspace, as `cargo metadata` tells of them.
fn packages() -> Vec<Value> {
    let text = cargo(&["metadata", "--format-version=1", "--locked", "--no-deps"]);
    let mut metadata: Value = serde_json::from_str(&text).unwrap();
    match metadata["packages"].take() {
        Value::Array(packages) => packages,
        other => panic!("not a list: {other}"),
    }
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

fn text(library: &str, file: &str) -> Option<String> {
    fs::read_to_string(Path::new(WORKSPACE).join(library).join(file)).ok()
}

fn name(package: &Value) -> &str {
    package["name"].as_str().unwrap()
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

const LIBRARIES: [&str; 4] = ["pool-core", "pool-cpu", "pool-db", "pool-http"];

/// What a manifest must say, by the names that `cargo metadata` has for it.
const FIELDS: [&str; 9] = [
    "description",
    "license",
    "repository",
    "documentation",
    "readme",
    "rust_version",
    "keywords",
    "categories",
    "metadata",
];

/// Of the registry's categories those that fit. It refuses a slug that it does not have.
const CATEGORIES: [&str; 5] = [
    "asynchronous",
    "concurrency",
    "database",
    "network-programming",
    "web-programming::http-client",
];

const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

//! The map and the pages beside the code name files, functions, models and seeded bugs that exist.
//!
//! What stands in backticks is looked up: a `file.rs` or `folder/` in the crate of the page, a `function` or `Type::function` in its
//! sources. A function right behind a file is in that file. In a table of models each mutant is one that a model of its row catches.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn the_map_is_short_and_every_page_is_there() {
    let map = fs::read(Path::new(WORKSPACE).join(MAP)).unwrap();
    assert!(map.len() <= MOST, "{MAP} has {} bytes", map.len());
    for page in PAGES {
        let there = Path::new(WORKSPACE).join(page).is_file();
        assert!(there, "there is no {page}");
        let link = format!("({page})");
        assert!(
            String::from_utf8_lossy(&map).contains(&link),
            "{MAP} does not link to {page}"
        );
    }
}

#[test]
fn every_name_on_a_page_exists() {
    let files = files();
    let pages = files.iter().filter(|file| is_page(file));
    let (mut found, mut crates) = (Vec::new(), BTreeMap::new());
    for page in pages {
        let text = fs::read_to_string(Path::new(WORKSPACE).join(page)).unwrap();
        let folder = crate_of(page);
        let code = crates
            .entry(folder)
            .or_insert_with(|| Code::read(&files, folder));
        found.extend(mistakes(page, &text, code));
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_seeded_bug_is_on_a_page_of_its_crate() {
    let files = files();
    for folder in ["pool-core/", "pool-cpu/"] {
        let code = Code::read(&files, folder);
        // The bells of a fan-out are explained where they are.
        let explains = |file: &&String| {
            file.starts_with(folder) && (is_page(file) || file.ends_with("fan_out/bells.rs"))
        };
        let pages = files.iter().filter(explains);
        let text: String = pages
            .map(|page| fs::read_to_string(Path::new(WORKSPACE).join(page)).unwrap())
            .collect();
        let silent = |mutant: &&String| !text.contains(&format!("`{mutant}`"));
        let missing: Vec<_> = code.mutants.iter().filter(silent).collect();
        assert!(missing.is_empty(), "on no page of {folder}: {missing:?}");
    }
}

#[test]
fn a_wrong_name_is_found() {
    let code = Code::read(&files(), "pool-core/");
    let page = "pool-core/src/engine/PROTOCOL.md";
    for right in [
        "`engine/board.rs` `take`, `Kernel::put` and `board::lay`, `CALL`, `CallIsLate`, `line/`",
        "| hazard | model | mutants |\n| a | `close_wakes_all` | `CloseWakesOne` |",
        "see [it](../host/PROTOCOL.md), [and](https://example.com/)",
    ] {
        assert_eq!(mistakes(page, right, &code), [""; 0]);
    }
    for (wrong, name) in [
        ("`engine/bord.rs`", "engine/bord.rs"),
        ("`lines/`", "lines/"),
        ("`engine/board.rs` `take_or_wait`", "take_or_wait"),
        ("`board.rs` `take`, `Kernel::gut`", "Kernel::gut"),
        ("`Board::take_or_wait`", "Board::take_or_wait"),
        ("`take_or_fail`", "take_or_fail"),
        ("`Mutation::CallIsEarly`", "Mutation::CallIsEarly"),
        ("`CallIsEarly`", "CallIsEarly"),
        (
            "| model | mutants |\n| `close_wakes_all` | `CallIsLate` |",
            "CallIsLate",
        ),
        (
            "| model | mutants |\n| `close_wakes_none` | `CloseWakesOne` |",
            "close_wakes_none",
        ),
        ("[it](../hosts/PROTOCOL.md)", "../hosts/PROTOCOL.md"),
    ] {
        let found = mistakes(page, wrong, &code);
        let told = found
            .iter()
            .any(|mistake| mistake.starts_with(page) && mistake.contains(name));
        assert!(told, "{wrong}: {found:?}");
    }
}

/// What is on the page and not in the code, each with the page and the name.
fn mistakes(page: &str, text: &str, code: &Code) -> Vec<String> {
    let mut found = Vec::new();
    let mut tell = |name: &str, why: &str| found.push(format!("{page}: `{name}`: {why}"));
    let mut fenced = false;
    let mut columns: Vec<String> = Vec::new();
    // A span may be wrapped, and its file may stand at the end of the line before.
    let mut paragraph = String::new();
    for line in text.lines().chain([""]) {
        if line.starts_with("```") {
            fenced = !fenced;
        }
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').collect();
        let is_row = line.starts_with('|');
        if !is_row {
            columns.clear();
        } else if columns.is_empty() {
            columns = cells.iter().map(|cell| cell.trim().to_owned()).collect();
        } else {
            for (name, why) in wrong_models(&columns, &cells, code) {
                tell(&name, why);
            }
        }
        let ends = line.is_empty() || is_row || fenced;
        if !ends {
            paragraph = format!("{paragraph} {line}");
            continue;
        }
        for part in [std::mem::take(&mut paragraph), line.to_owned()] {
            if fenced {
                continue;
            }
            for (name, why) in wrong_spans(&part, code) {
                tell(&name, why);
            }
            for link in links(&part) {
                let folder = Path::new(WORKSPACE).join(page);
                if !folder.parent().unwrap().join(link).exists() {
                    tell(link, "the link leads nowhere");
                }
            }
        }
    }
    found
}

/// Names in backticks that are not in the code.
fn wrong_spans(text: &str, code: &Code) -> Vec<(String, &'static str)> {
    let mut wrong = Vec::new();
    let parts: Vec<&str> = text.split('`').collect();
    for at in (1..parts.len()).step_by(2) {
        let span = parts[at];
        let file = (at > 2 && parts[at - 1].trim().is_empty()).then(|| parts[at - 2]);
        let file = file.filter(|file| file.ends_with(".rs"));
        let why = if let Some(file) = file {
            let has = code.files.iter().any(|source| {
                is_or_ends_with(&source.path, file) && source.functions.contains(span)
            });
            (!has).then_some("the file has no such function")
        } else if span.contains('/') || span.ends_with(".rs") || span.ends_with(".md") {
            (!code.has_path(span)).then_some("there is no such file or folder")
        } else {
            code.lacks(span)
        };
        wrong.extend(why.map(|why| (span.to_owned(), why)));
    }
    wrong
}

/// In a row of a table of models: models that are none, and mutants that none of them catches.
fn wrong_models(columns: &[String], cells: &[&str], code: &Code) -> Vec<(String, &'static str)> {
    let cell = |name: &str| {
        let at = columns.iter().position(|column| column == name)?;
        let spans = cells.get(at)?.split('`').skip(1).step_by(2);
        Some(spans.map(str::to_owned).collect::<Vec<String>>())
    };
    let (Some(models), Some(mutants)) = (cell("model"), cell("mutants")) else {
        return Vec::new();
    };
    let mut wrong = Vec::new();
    let mut caught = BTreeSet::new();
    for model in models {
        match code.models.get(&model) {
            Some(mutants) => caught.extend(mutants),
            None => wrong.push((model, "there is no such model")),
        }
    }
    let missed = mutants
        .into_iter()
        .filter(|mutant| !caught.contains(mutant));
    wrong.extend(missed.map(|mutant| (mutant, "no model of its row catches it")));
    wrong
}

/// The targets of links to other files of the tree.
fn links(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1);
    let targets = targets.filter_map(|rest| Some(rest.split_once(')')?.0));
    targets.filter(|target| !target.contains("://")).collect()
}

/// What the sources of a crate have, or of all of them.
struct Code {
    paths: Vec<String>,
    files: Vec<Source>,
    /// Which mutants each model catches.
    models: BTreeMap<String, BTreeSet<String>>,
    mutants: BTreeSet<String>,
    /// Types, variants, constants, fields, modules and traits.
    names: BTreeSet<String>,
}

struct Source {
    path: String,
    functions: BTreeSet<String>,
    /// By the types that their `impl` names.
    methods: BTreeSet<(String, String)>,
}

impl Code {
    fn read(files: &[String], folder: &str) -> Self {
        let mut code = Self {
            paths: files
                .iter()
                .filter(|file| file.starts_with(folder))
                .cloned()
                .collect(),
            files: Vec::new(),
            models: BTreeMap::new(),
            mutants: BTreeSet::new(),
            names: BTreeSet::new(),
        };
        for path in code.paths.clone() {
            if path.ends_with(".rs") {
                let text = fs::read_to_string(Path::new(WORKSPACE).join(&path)).unwrap();
                code.add(path, &text);
            }
        }
        code
    }

    fn add(&mut self, path: String, text: &str) {
        let mut source = Source {
            path,
            functions: BTreeSet::new(),
            methods: BTreeSet::new(),
        };
        // The block at the margin that a line is in: the words of its head.
        let mut head: Vec<String> = Vec::new();
        let mut model: Option<String> = None;
        for line in text.lines() {
            let code = line.split("//").next().unwrap_or_default();
            let words = words(code);
            // A `where` goes on with the head before it.
            if line.starts_with(|c: char| c.is_alphabetic()) && !line.starts_with("where") {
                head.clone_from(&words);
            }
            self.names
                .extend(words.iter().filter(|word| is_defined(code, word)).cloned());
            if let Some(name) = after(&words, "fn") {
                source.functions.insert(name.clone());
                let of = head.iter().filter(|word| starts_upper(word));
                source
                    .methods
                    .extend(of.map(|of| (of.clone(), name.clone())));
            }
            let is_mutation = head.windows(2).any(|pair| pair == ["enum", "Mutation"]);
            if is_mutation
                && let [variant] = &words[..]
                && starts_upper(variant)
            {
                self.mutants.insert(variant.clone());
            }
            if source.path.contains("/tests/") {
                self.add_model(line, &words, &mut model);
            }
        }
        let name = source
            .path
            .trim_end_matches("/mod.rs")
            .trim_end_matches(".rs");
        let module = name.rsplit('/').next().unwrap_or(name).to_owned();
        let free = source.functions.iter();
        let of_module: Vec<_> = free.map(|name| (module.clone(), name.clone())).collect();
        source.methods.extend(of_module);
        self.names.insert(module);
        self.files.push(source);
    }

    /// Models are declared by macros: `name(bound) { .. }, caught by mutant = Bug, ..;`, or are tests of their own.
    fn add_model(&mut self, line: &str, words: &[String], model: &mut Option<String>) {
        let declares = line.strip_prefix("    ").is_some_and(|rest| {
            let name = rest.split('(').next().unwrap_or_default();
            rest.len() > name.len() && words.first().is_some_and(|word| word == name)
        });
        if declares && (line.ends_with('{') || line.contains("caught by")) {
            *model = words.first().cloned();
        }
        let name = match after(words, "fn") {
            Some(test) if !line.starts_with(' ') => Some(test.clone()),
            _ => model.clone(),
        };
        let Some(name) = name else { return };
        let caught = self.models.entry(name).or_default();
        let mutants = line.split(" = ").skip(1).filter_map(|rest| {
            let name = rest.split([',', ';', ' ']).next()?;
            (line.contains("mutant_") && starts_upper(name)).then(|| name.to_owned())
        });
        caught.extend(mutants);
    }

    fn has_path(&self, path: &str) -> bool {
        self.paths.iter().any(|file| {
            is_or_ends_with(file, path)
                || file.starts_with(path)
                || (path.ends_with('/') && file.contains(&format!("/{path}")))
        })
    }

    /// Why this is no name of the code, if it is one of a program at all.
    fn lacks(&self, span: &str) -> Option<&'static str> {
        let is_name =
            |part: &str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_');
        let parts: Vec<&str> = span.split("::").collect();
        if !parts.iter().all(|part| is_name(part)) || FOREIGN.contains(&parts[0]) {
            return None;
        }
        let [.., last] = parts[..] else { return None };
        let [.., of, _] = parts[..] else {
            let there = self.names.contains(last)
                || self.models.contains_key(last)
                || self.files.iter().any(|file| file.functions.contains(last));
            return (!there).then_some("there is no such name");
        };
        let pair = (of.to_owned(), last.to_owned());
        let there = if starts_upper(last) && of == "Mutation" {
            self.mutants.contains(last)
        } else if starts_upper(last) {
            self.names.contains(of) && self.names.contains(last)
        } else {
            self.files.iter().any(|file| file.methods.contains(&pair))
        };
        (!there).then_some("there is no such function or variant")
    }
}

/// Does this line of code define the word: an item, a field, a variant?
fn is_defined(code: &str, word: &str) -> bool {
    let Some(at) = code.find(word) else {
        return false;
    };
    let (before, after) = (code[..at].trim_end(), &code[at + word.len()..]);
    let keyword = before.rsplit([' ', '(']).next().unwrap_or_default();
    let is_item = ["struct", "enum", "trait", "type", "const", "static", "mod"].contains(&keyword);
    let is_first = before.is_empty() || before.starts_with("pub");
    let is_variant = starts_upper(word) && before.is_empty() && code.starts_with(' ');
    is_item
        || (is_first && after.starts_with(':') && !after.starts_with("::"))
        || (is_variant && (after.is_empty() || after.starts_with([',', '(', ' '])))
}

/// The word that comes after this one.
fn after<'a>(words: &'a [String], word: &str) -> Option<&'a String> {
    let at = words.iter().position(|other| other == word)?;
    words.get(at + 1)
}

fn words(code: &str) -> Vec<String> {
    let words = code.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    let words = words.filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

fn starts_upper(word: &str) -> bool {
    word.starts_with(|c: char| c.is_uppercase())
}

fn is_or_ends_with(file: &str, path: &str) -> bool {
    file == path || file.ends_with(&format!("/{path}"))
}

fn is_page(file: &str) -> bool {
    file == MAP || file.ends_with("PROTOCOL.md")
}

/// The folder of the crate that a page is about; all, for the map.
fn crate_of(page: &str) -> &str {
    let end = page.find('/').map_or(0, |at| at + 1);
    &page[..end]
}

/// The files that a clone has.
fn files() -> Vec<String> {
    let output = Command::new("git")
        .args(["-C", WORKSPACE, "ls-files", "-z"])
        .output()
        .expect("git is installed");
    let files = String::from_utf8(output.stdout).unwrap();
    let files: Vec<String> = files.split_terminator('\0').map(String::from).collect();
    assert!(files.iter().any(|file| file == MAP), "{files:?}");
    files
}

const MAP: &str = "ARCHITECTURE.md";
/// No map is longer.
const MOST: usize = 8192;
const PAGES: [&str; 7] = [
    "pool-core/src/engine/PROTOCOL.md",
    "pool-core/src/host/PROTOCOL.md",
    "pool-core/src/limiter/PROTOCOL.md",
    "pool-core/src/shared/PROTOCOL.md",
    "pool-core/src/flight/PROTOCOL.md",
    "pool-core/src/keyed/PROTOCOL.md",
    "pool-cpu/src/PROTOCOL.md",
];
/// Names of others, which are not looked up.
const FOREIGN: [&str; 7] = ["std", "unsafe", "Drop", "Hash", "Eq", "Clone", "SeqCst"];

const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

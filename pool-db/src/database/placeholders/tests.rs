#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::{Dialect::*, *};

const ALL: [Dialect; 3] = [Sqlite, Postgres, MySql];

/// The statement as MySQL would get it, or why there is none.
fn marked(dialect: Dialect, sql: &str) -> Result<String, String> {
    Placeholders::find(dialect, sql).map(|found| found.unnumbered(sql))
}

fn is_text_for(dialects: &[Dialect], sql: &str) {
    for dialect in dialects {
        let text = marked(*dialect, sql);
        assert_eq!(text.as_deref(), Ok(sql), "{dialect:?}");
    }
}

#[test]
fn placeholders_are_found_in_code() {
    for dialect in ALL {
        for (sql, with_marks) in [
            ("SELECT $1", "SELECT ?"),
            ("SELECT $1,$2,$1", "SELECT ?,?,?"),
            ("$1", "?"),
            ("SELECT a=$1AND", "an error"),
            ("SELECT ($1)+$2-$3", "SELECT (?)+?-?"),
            ("SELECT '$1', $1", "SELECT '$1', ?"),
            ("SELECT 'it''s $1', $1", "SELECT 'it''s $1', ?"),
            ("SELECT \"$1\", $1", "SELECT \"$1\", ?"),
            ("SELECT \"a\"\"$1\", $1", "SELECT \"a\"\"$1\", ?"),
            ("SELECT a$1, $1", "SELECT a$1, ?"),
            ("SELECT é$1, $1", "SELECT é$1, ?"),
            ("SELECT 1 -- $2\n, $1", "SELECT 1 -- $2\n, ?"),
            ("SELECT 1 /* $2 ' */, $1", "SELECT 1 /* $2 ' */, ?"),
            ("SELECT 1 /*/ $2 */, $1", "SELECT 1 /*/ $2 */, ?"),
            ("SELECT 2*/**/$1", "SELECT 2*/**/?"),
            ("SELECT $1 -- it's", "SELECT ? -- it's"),
            ("SELECT $1 /* it's", "SELECT ? /* it's"),
            ("SELECT $1, '", "SELECT ?, '"),
        ] {
            match marked(dialect, sql) {
                Ok(text) => assert_eq!(text, with_marks, "{dialect:?}"),
                Err(_) => assert_eq!(with_marks, "an error", "{dialect:?}: {sql}"),
            }
        }
    }
}

#[test]
fn quotes_and_comments_are_those_of_the_dialect() {
    // A `\` before the quote that ends a text, or that does not.
    assert_eq!(
        marked(MySql, r"SELECT 'a\', $1, '"),
        Ok(r"SELECT 'a\', $1, '".to_owned())
    );
    assert_eq!(
        marked(MySql, r#"SELECT "a\", $1, ", $1"#),
        Ok(r#"SELECT "a\", $1, ", ?"#.to_owned())
    );
    for dialect in [Sqlite, Postgres] {
        assert_eq!(
            marked(dialect, r"SELECT 'a\', $1, '"),
            Ok(r"SELECT 'a\', ?, '".to_owned())
        );
    }
    for e in ["e", "E"] {
        is_text_for(&[Postgres], &format!(r"SELECT {e}'a\', $1, '"));
        is_text_for(&[Postgres], &format!("SELECT {e}'a' \n -- b\n '\\', $1, '"));
        assert!(
            marked(Postgres, &format!(r"SELECT x{e}'a\', $1, '"))
                .unwrap()
                .contains('?')
        );
        assert!(
            marked(Postgres, &format!(r"SELECT {e} 'a\', $1, '"))
                .unwrap()
                .contains('?')
        );
        assert!(
            marked(Postgres, &format!("SELECT {e}'a' '\\', $1, '"))
                .unwrap()
                .contains('?')
        );
    }
    assert!(
        marked(Postgres, r"SELECT U&'a\', $1, '")
            .unwrap()
            .contains('?')
    );

    is_text_for(&[Sqlite, MySql], "SELECT `$1`, `a``$1`");
    is_text_for(&[Sqlite], "SELECT [$1], [a'$1]");
    assert_eq!(
        marked(Postgres, "SELECT a[$1]"),
        Ok("SELECT a[?]".to_owned())
    );

    is_text_for(&[Postgres], "SELECT 1 /* /* */ $1 */");
    for dialect in [Sqlite, MySql] {
        let nested = marked(dialect, "SELECT 1 /* /* */ + $1");
        assert_eq!(nested, Ok("SELECT 1 /* /* */ + ?".to_owned()));
    }

    is_text_for(&[MySql], "SELECT 1 # it's $1");
    is_text_for(&[Sqlite, Postgres, MySql], "SELECT 1 -- $1");
    is_text_for(&[Sqlite, Postgres, MySql], "SELECT 1 --\t$1");
    is_text_for(&[Sqlite, Postgres], "SELECT 1 --$1");
    assert_eq!(
        marked(MySql, "SELECT 1 --$1"),
        Ok("SELECT 1 --?".to_owned())
    );
    is_text_for(&[Sqlite, MySql], "SELECT 1 -- \r $1");
    assert_eq!(
        marked(Postgres, "SELECT 1 --\r+$1"),
        Ok("SELECT 1 --\r+?".to_owned())
    );

    is_text_for(
        &[Postgres, MySql],
        "SELECT $$ it's $1 $$, $tag$ $$ $1 $tag$",
    );
    is_text_for(&[Postgres], "SELECT $$ $1");
    is_text_for(&[Postgres], "SELECT $é$ $1 $é$");
    assert_eq!(
        marked(Postgres, "SELECT $a$ $b$ $a$, $1"),
        Ok("SELECT $a$ $b$ $a$, ?".to_owned())
    );
}

#[test]
fn what_is_no_placeholder_is_refused() {
    for dialect in ALL {
        for (sql, says) in [
            ("", "the statement is empty"),
            (" ; -- $1\n /* */", "the statement is empty"),
            ("SELECT '\0'", "the statement has a NUL character"),
            ("SELECT $0", "$0 is no placeholder: they begin with $1"),
            ("SELECT $01", "$01 is no placeholder: they begin with $1"),
            ("SELECT $1a", NO_DOLLAR),
            ("SELECT $1$", NO_DOLLAR),
            ("SELECT $", NO_DOLLAR),
            ("SELECT $name", NO_DOLLAR),
            (
                "SELECT $1, $3",
                "the statement has a placeholder $3, but none $2",
            ),
            (
                "SELECT $2",
                "the statement has a placeholder $2, but none $1",
            ),
            (
                "SELECT $65536",
                "$65536 is more than the 65535 placeholders that a statement may have",
            ),
            (
                "SELECT $99999999999999999999",
                "$99999999 is more than the 65535 placeholders that a statement may have",
            ),
        ] {
            assert_eq!(
                marked(dialect, sql),
                Err(says.to_owned()),
                "{dialect:?} {sql:?}"
            );
        }
    }
    for dialect in [Sqlite, MySql] {
        assert_eq!(marked(dialect, "SELECT ?"), Err(NO_MARK.to_owned()));
    }
    for sql in ["SELECT :name", "SELECT @name", "SELECT #name", "SELECT :1"] {
        assert_eq!(marked(Sqlite, sql), Err(NO_NAME.to_owned()));
    }
    is_text_for(&[Postgres], "SELECT a ? 'b', a::text, a @> b, a @b");
    is_text_for(&[MySql], "SELECT @name := 1");
    is_text_for(&[MySql], "SELECT 1 /*!50001 + 1 */ /*M! + 1 */");
    let executable = marked(MySql, "SELECT /*! '*/ $1 /*' */");
    assert!(executable.unwrap_err().starts_with("an executable comment"));
}

#[test]
fn the_number_of_values_is_told() {
    for (sql, values, says) in [
        (
            "SELECT 1",
            1,
            "the statement has no placeholder, but was given 1 value",
        ),
        (
            "SELECT $1",
            0,
            "the statement has the placeholder $1, but was given 0 values",
        ),
        (
            "SELECT $2, $1",
            3,
            "the statement has the placeholders $1 to $2, but was given 3 values",
        ),
    ] {
        for dialect in ALL {
            let error = Placeholders::of(dialect, sql, &vec![Value::Null; values]).unwrap_err();
            assert_eq!(error.to_string(), says);
            assert!(!error.may_have_happened() && !error.is_database());
        }
    }
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let values = [Value::Null, Value::F64(number)];
        let error = Placeholders::of(Postgres, "SELECT $1, $2", &values).unwrap_err();
        assert_eq!(
            error.to_string(),
            "$2 is not a finite number, which not every database keeps"
        );
    }
}

#[test]
fn values_are_as_often_and_in_the_order_that_the_marks_are() {
    let values = [Value::I64(1), Value::I64(2)];
    let found = Placeholders::of(MySql, "SELECT $2, $1, $2", &values).unwrap();
    assert_eq!(
        found.in_order(&values),
        [&values[1], &values[0], &values[1]]
    );
    assert_eq!(found.unnumbered("SELECT $2, $1, $2"), "SELECT ?, ?, ?");
    assert_eq!(found.numbered("SELECT $2, $1, $2"), "SELECT ?2, ?1, ?2");
}

/// A piece of a statement: how it is written, and how MySQL gets it.
fn piece(dialect: Dialect) -> impl Strategy<Value = (String, String)> {
    let same = |text: String| (text.clone(), text);
    let within = "[a-z$'\"`\\\\*/#?:;0-9é -]{0,6}";
    let code = prop::sample::select(vec![
        "SELECT", "a$1", "1.5e3", "(", ")", ",", "+", "*", "=", "x'00'", "é", "/", "-",
    ]);
    let quoted =
        (prop::sample::select(vec!['\'', '"', '`']), within).prop_map(move |(quote, text)| {
            let quote = if dialect == Postgres && quote == '`' {
                '"'
            } else {
                quote
            };
            let mut text = text.replace(quote, &format!("{quote}{quote}"));
            if dialect == MySql && quote != '`' {
                text = text.replace('\\', r"\\");
            }
            same(format!("{quote}{text}{quote}"))
        });
    let comment = within.prop_map(move |text| {
        let text = text.replace("*/", "").replace("/*", "").replace('*', "");
        same(format!("/* {text} */"))
    });
    let line = within.prop_map(move |text| same(format!("-- {text}\n")));
    let hash = within.prop_map(move |text| {
        same(if dialect == MySql {
            format!("#{text}\n")
        } else {
            "1".to_owned()
        })
    });
    let escaped = within.prop_map(move |text| {
        let text = text.replace('\\', r"\\").replace('\'', r"\'");
        same(match dialect {
            Sqlite => "1".to_owned(),
            Postgres => format!("E'{text}'"),
            MySql => format!("'{text}'"),
        })
    });
    let dollars = "[a-z'\"`*/ -]{0,6}".prop_map(move |text| {
        same(if dialect == Sqlite {
            "1".to_owned()
        } else {
            format!("$q${text}$$ $1 $q$")
        })
    });
    prop_oneof![
        3 => Just(("$1".to_owned(), "?".to_owned())),
        3 => code.prop_map(move |text| same(text.to_owned())),
        2 => quoted,
        1 => comment,
        1 => line,
        1 => hash,
        1 => escaped,
        1 => dollars,
    ]
}

fn statement(dialect: Dialect) -> impl Strategy<Value = (String, String)> {
    let pieces = prop::collection::vec(piece(dialect), 0..12);
    pieces.prop_map(|pieces| {
        let (written, got): (Vec<_>, Vec<_>) = pieces.into_iter().unzip();
        (
            format!("SELECT $1 {}", written.join(" ")),
            format!("SELECT ? {}", got.join(" ")),
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_statement_is_rewritten_piece_by_piece(
        (sqlite, got_sqlite) in statement(Sqlite),
        (postgres, got_postgres) in statement(Postgres),
        (mysql, got_mysql) in statement(MySql),
    ) {
        prop_assert_eq!(marked(Sqlite, &sqlite), Ok(got_sqlite));
        prop_assert_eq!(marked(Postgres, &postgres), Ok(got_postgres));
        prop_assert_eq!(marked(MySql, &mysql), Ok(got_mysql));
    }

    #[test]
    fn no_text_panics_and_nothing_but_placeholders_is_changed(
        hostile in "[-'\"`$\\[\\]\\\\*/#?:@;!M0-9a-eE \n\ré\u{1F600}]{0,40}",
    ) {
        for dialect in ALL {
            let Ok(found) = Placeholders::find(dialect, &hostile) else {
                continue;
            };
            // What was found reads `$` and a number, and what is between is as it was.
            let (mut rest, mut end) = (String::new(), 0);
            for (range, number) in &found.found {
                prop_assert_eq!(&hostile[range.clone()], format!("${number}"));
                prop_assert!(range.start >= end);
                rest.push_str(&hostile[end..range.start]);
                rest.push('?');
                end = range.end;
            }
            rest.push_str(&hostile[end..]);
            prop_assert_eq!(found.unnumbered(&hostile), rest);
        }
    }
}

/// SQLite itself is the reference: what it takes for its parameters.
#[cfg(feature = "sqlite")]
mod with_sqlite {
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2048))]

        #[test]
        fn sqlite_finds_the_same_placeholders(
            pieces in prop::collection::vec(
                prop::sample::select(vec![
                    "$1", "$2", "'", "\"", "`", "[", "]", "--", "/*", "*/", "\n", "\\", "#", "1", "a", ",", "+", " ", "''", "é", "$",
                ]),
                0..14,
            ),
        ) {
            let sqlite = rusqlite::Connection::open_in_memory().unwrap();
            let sql = format!("SELECT 1,{}", pieces.concat());
            let Ok(statement) = sqlite.prepare(&sql) else {
                return Ok(());
            };
            let mut names: Vec<String> = (1..=statement.parameter_count())
                .map(|at| statement.parameter_name(at).unwrap().to_owned())
                .collect();
            names.sort_unstable();
            match Placeholders::find(Sqlite, &sql) {
                Ok(found) => {
                    let mut ours: Vec<_> = found.found.iter().map(|(_, number)| format!("${number}")).collect();
                    ours.sort_unstable();
                    ours.dedup();
                    prop_assert_eq!(ours, names);
                    let numbered = found.numbered(&sql);
                    prop_assert_eq!(sqlite.prepare(&numbered).unwrap().parameter_count(), found.count);
                }
                // A gap, or a name.
                Err(why) => prop_assert!(
                    why.contains("but none") || names.iter().any(|name| name.len() != 2 || !"12".contains(&name[1..])),
                    "{sql}: {why}"
                ),
            }
        }
    }
}

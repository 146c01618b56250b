//! Many calls at once on one PostgreSQL connection, polled and dropped in any order: each answer is that to its own question.
#![allow(clippy::unwrap_used)]

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use pool_db::{
    Error,
    postgres::{Client, Pool, tokio_postgres::SimpleQueryMessage},
};
use tests::postgres::Server;

/// A question whose answer is known.
type Question<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + 'a>>;

const STEPS: u32 = 100_000;
/// More questions than that are not asked at once.
const MOST: usize = 48;
/// More texts than the connection keeps statements.
const TEXTS: i32 = 12;

async fn numbers(client: &Client, text: i32, n: i32) -> Result<(), Error> {
    let sql = format!(
        "SELECT $1::int + {text} + 0 * generate_series(1, {})",
        text + 1
    );
    let rows = client.query(&sql, &[&n]).await?;
    assert_eq!(rows.len(), usize::try_from(text).unwrap() + 1, "{sql}");
    for row in rows {
        assert_eq!(row.get::<_, i32>(0), n + text, "{sql}");
    }
    Ok(())
}

async fn text(client: &Client, n: i32) -> Result<(), Error> {
    let word = format!("word {n}").repeat(1 + n.unsigned_abs() as usize % 200);
    let row = client.query_one("SELECT $1::text", &[&word]).await?;
    assert_eq!(row.get::<_, &str>(0), word);
    Ok(())
}

async fn simple(client: &Client, n: i32) -> Result<(), Error> {
    let messages = client
        .simple_query(&format!("SELECT 1; SELECT {n}"))
        .await?;
    let last = messages.iter().rev().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    assert_eq!(last, Some(&*n.to_string()));
    Ok(())
}

/// The server says which question this is in its error.
async fn refused(client: &Client, n: i32) -> Result<(), Error> {
    let error = client
        .query("SELECT $1::text::int", &[&format!("no{n}")])
        .await;
    let error = error.unwrap_err();
    if !error.is_database() {
        return Err(error);
    }
    assert!(
        error.to_string().contains(&format!("\"no{n}\"")),
        "{n}: {error}"
    );
    Ok(())
}

async fn changed(client: &Client, n: i32) -> Result<(), Error> {
    let rows = u64::from(n.unsigned_abs() % 7);
    let limit = i64::try_from(rows).unwrap();
    let sql = "INSERT INTO sink SELECT generate_series(1, $1::bigint)";
    assert_eq!(client.execute(sql, &[&limit]).await?, rows);
    Ok(())
}

#[tokio::test]
async fn each_answer_is_that_to_its_own_question() {
    let server = Server::start();
    server.sql("CREATE TABLE sink (n bigint)");
    let pool = Pool::builder()
        .url(server.url())
        .max_size(1)
        .statement_cache(6)
        .build()
        .unwrap();
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut asked, mut answered, mut dropped) = (0, 0, 0);
    for _ in 0..20 {
        let connection = pool.get().await.unwrap();
        let client: &Client = &connection;
        let mut questions: Vec<Question<'_>> = Vec::new();
        for _ in 0..STEPS / 20 {
            let one = random.usize(..=questions.len());
            match random.u32(..12) {
                0..=3 if questions.len() < MOST => {
                    asked += 1;
                    let n = asked;
                    questions.push(match random.u32(..8) {
                        0 => Box::pin(text(client, n)),
                        1 => Box::pin(simple(client, n)),
                        2 => Box::pin(refused(client, n)),
                        3 => Box::pin(changed(client, n)),
                        _ => Box::pin(numbers(client, random.i32(..TEXTS).abs() % TEXTS, n)),
                    });
                }
                4 if one < questions.len() && random.u32(..4) == 0 => {
                    drop(questions.swap_remove(one));
                    dropped += 1;
                }
                5..=6 => tokio::task::yield_now().await,
                _ if one < questions.len() => {
                    let mut context = Context::from_waker(Waker::noop());
                    if let Poll::Ready(done) = questions[one].as_mut().poll(&mut context) {
                        done.unwrap();
                        answered += 1;
                        drop(questions.swap_remove(one));
                    }
                }
                _ => {}
            }
        }
        random.shuffle(&mut questions);
        // Some are answered, and the others dropped with the lease.
        for question in questions.drain(..random.usize(..=MOST).min(questions.len() / 2)) {
            question.await.unwrap();
            answered += 1;
        }
        dropped += questions.len();
        drop(questions);
        drop(connection);
    }
    let row = pool.query_one("SELECT 'the last'", &[]).await.unwrap();
    assert_eq!(row.get::<_, &str>(0), "the last");
    let status = pool.status();
    println!(
        "{asked} asked, {answered} answered, {dropped} dropped, on {} connections",
        status.opened
    );
    assert!(answered > 1_000 && dropped > 500, "{answered} {dropped}");
    assert_eq!(usize::try_from(asked).unwrap(), answered + dropped);
}

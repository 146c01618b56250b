//! Processes that share what a server can serve (`max_size = "auto"`), and come, go, freeze and are killed.
//!
//! Each is this program started again. It says when each of its gets began and ended, by the clock of the machine. The bench looks at
//! the server's sessions all the time, so it knows for each moment of each wait whether another connection could have been opened.

use std::env;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ::tests::{Process, User, postgres};
use benches::rounds::percentile;
use pool_db::postgres::{Fleet, Pool};
use tempfile::TempDir;
use tokio::time::sleep;

use super::failure::Failure;
use super::figures::Figures;

/// How many processes there are at most at one time.
pub(super) const PROCESSES: u32 = 6;
/// How many connections they may have together, with those by which they look at the server.
pub(super) const CONNECTIONS: u32 = 12;
/// How long nobody may wait while a seat is free.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// The seats: a connection is kept for the control session of each process, and of one that comes while another one goes.
const SEATS: u32 = CONNECTIONS - PROCESSES - 1;
/// Tasks that all need a connection, in each process.
const TASKS: usize = 4;
/// How long each has its connection.
const WORK: Duration = Duration::from_millis(20);

/// One wait for a connection, in microseconds of the machine's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wait {
    from: u64,
    to: u64,
}

/// One look at the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    at: u64,
    all: u32,
    pooled: u32,
}

/// A process, and when it was stopped in its tracks.
#[derive(Debug)]
struct Member {
    process: Process,
    frozen: Vec<Wait>,
    is_frozen: bool,
}

/// Lets processes come and go for so long.
pub(super) async fn run(lasts: Duration) -> Result<Figures, Failure> {
    let server = postgres::Server::builder()
        .setting("max_connections", 60)
        .start();
    server.sql("CREATE ROLE member LOGIN");
    let url = format!(
        "postgres://member@127.0.0.1:{}/postgres?sslmode=disable",
        server.port()
    );
    let eye = Pool::builder().url(server.url()).max_size(1).build()?;
    let watching = tokio::spawn(watch(eye, lasts));

    let folder = tempfile::tempdir()?;
    let end = Instant::now() + lasts;
    let mut members = vec![start(&url, &folder, 0)?];
    let (mut started, mut waits) = (1, Vec::new());
    while Instant::now() < end {
        sleep(Duration::from_millis(fastrand::u64(50..600))).await;
        match fastrand::u32(0..8) {
            0..=3 if members.len() < PROCESSES as usize => {
                members.push(start(&url, &folder, started)?);
                started += 1;
            }
            4 | 5 => {
                let at = fastrand::usize(0..members.len());
                members[at].freeze_or_thaw();
            }
            6 if members.len() > 2 => {
                // Killed, whatever it does.
                let member = members.swap_remove(fastrand::usize(0..members.len()));
                waits.extend(member.end());
            }
            7 if members.len() > 2 => {
                let mut member = members.swap_remove(fastrand::usize(0..members.len()));
                if !member.is_frozen {
                    member.process.stop("TERM", Duration::from_secs(5));
                }
                waits.extend(member.end());
            }
            _ => {}
        }
    }
    waits.extend(members.into_iter().flat_map(Member::end));
    let looks = watching.await??;
    figures(&waits, &looks)
}

/// Works as one of the processes, until it is ended.
pub(super) async fn work(url: &str) -> Result<(), Failure> {
    let fleet = Fleet::new()
        .name("bench")
        .max_connections(CONNECTIONS)
        .processes(PROCESSES + 1);
    let pool = Pool::builder().url(url).fleet(fleet).build()?;
    let tasks = (0..TASKS).map(|task| {
        let pool = pool.clone();
        tokio::spawn(async move {
            loop {
                println!("{task} begins {}", now());
                let got = pool.get().timeout(Duration::from_secs(60)).await;
                println!("{task} ends {}", now());
                // One that fails has waited all the same.
                if let Ok(connection) = got {
                    sleep(WORK).await;
                    drop(connection);
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        let () = task.await?;
    }
    Ok(())
}

fn start(url: &str, folder: &TempDir, number: u32) -> Result<Member, Failure> {
    let mut command = User::current().command(env::current_exe()?);
    command.args(["--fleet-member", url]);
    let log = folder.path().join(number.to_string());
    Ok(Member {
        process: Process::spawn(command, &log),
        frozen: Vec::new(),
        is_frozen: false,
    })
}

impl Member {
    fn freeze_or_thaw(&mut self) {
        if self.is_frozen {
            self.process.thaw();
            self.frozen.iter_mut().last().expect("it was frozen").to = now();
        } else {
            self.frozen.push(Wait {
                from: now(),
                to: u64::MAX,
            });
            self.process.freeze();
        }
        self.is_frozen = !self.is_frozen;
    }

    /// Ends it. Returns its waits, without those during which it was stopped itself.
    fn end(mut self) -> Vec<Wait> {
        self.process.kill();
        let mut waits = waits(&self.process.log(), now());
        waits.retain(|wait| {
            let beside = |frozen: &Wait| frozen.to < wait.from || frozen.from > wait.to;
            self.frozen.iter().all(beside)
        });
        waits
    }
}

/// What a process has said of its waits. One that has not ended has lasted until `end`.
fn waits(log: &str, end: u64) -> Vec<Wait> {
    let mut begun = [None; TASKS];
    let mut waits = Vec::new();
    for line in log.lines() {
        let mut words = line.split(' ');
        let task = words.next().and_then(|word| word.parse::<usize>().ok());
        let (what, at) = (
            words.next(),
            words.next().and_then(|word| word.parse().ok()),
        );
        // The last line of one that was killed may lack its end.
        let (Some(begun), Some(at)) = (task.and_then(|task| begun.get_mut(task)), at) else {
            continue;
        };
        match (what, *begun) {
            (Some("begins"), _) => *begun = Some(at),
            (Some("ends"), Some(from)) => {
                waits.push(Wait { from, to: at });
                *begun = None;
            }
            _ => {}
        }
    }
    waits.extend(
        begun
            .into_iter()
            .flatten()
            .map(|from| Wait { from, to: end }),
    );
    waits
}

async fn watch(eye: Pool, lasts: Duration) -> Result<Vec<Look>, Failure> {
    let start = Instant::now();
    let mut looks = Vec::new();
    while start.elapsed() < lasts {
        let row = eye.query_one(SESSIONS, &[]).await?;
        let (all, pooled): (i64, i64) = (row.get(0), row.get(1));
        looks.push(Look {
            at: now(),
            all: u32::try_from(all)?,
            pooled: u32::try_from(pooled)?,
        });
        sleep(Duration::from_millis(3)).await;
    }
    Ok(looks)
}

fn figures(waits: &[Wait], looks: &[Look]) -> Result<Figures, Failure> {
    let Some(most) = looks.iter().map(|look| look.all).max() else {
        return Err(Failure::new("the server was not looked at"));
    };
    let mut lasted: Vec<u64> = waits
        .iter()
        .map(|wait| (wait.to - wait.from) * 1000)
        .collect();
    if lasted.is_empty() {
        return Err(Failure::new("nobody has waited"));
    }
    lasted.sort_unstable();
    let mean = lasted.iter().sum::<u64>() as f64 / lasted.len() as f64;
    let free = free(looks);
    let idle = waits
        .iter()
        .flat_map(|wait| free.iter().map(|free| overlap(*wait, *free)))
        .max();
    let idle = Duration::from_micros(idle.unwrap_or(0));
    Ok(Figures::new(mean, percentile(&lasted, 0.99)).fleet(most.into(), idle))
}

/// The times during which a seat was free, all of the time.
fn free(looks: &[Look]) -> Vec<Wait> {
    let mut all = Vec::new();
    let mut since = None;
    for look in looks {
        if look.pooled < SEATS {
            since.get_or_insert(look.at);
        } else if let Some(from) = since.take() {
            all.push(Wait { from, to: look.at });
        }
    }
    if let (Some(from), Some(last)) = (since, looks.last()) {
        all.push(Wait { from, to: last.at });
    }
    all
}

fn overlap(one: Wait, other: Wait) -> u64 {
    one.to
        .min(other.to)
        .saturating_sub(one.from.max(other.from))
}

/// Microseconds of the machine's clock.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_micros() as u64)
}

const SESSIONS: &str = "SELECT count(*), count(*) FILTER (WHERE application_name ~ '#[1-9]') \
                        FROM pg_stat_activity WHERE usename = 'member'";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn waits_are_read_also_those_that_never_ended() {
        let log = "0 begins 10\n1 begins 11\n0 ends 15\n0 begins 16\n1 ends 20\n7 begins 3\n1 beg";
        let of = |from, to| Wait { from, to };
        assert_eq!(waits(log, 50), [of(10, 15), of(11, 20), of(16, 50)]);
    }

    #[test]
    fn a_wait_counts_as_far_as_a_seat_was_free_all_of_the_time() {
        let look = |at, pooled| Look {
            at,
            all: pooled + 2,
            pooled,
        };
        let looks = [
            look(0, SEATS),
            look(10, 1),
            look(20, 2),
            look(30, SEATS),
            look(40, 0),
            look(50, 0),
        ];
        let waits = [Wait { from: 5, to: 25 }, Wait { from: 28, to: 29 }];
        let figures = figures(&waits, &looks).unwrap();
        assert_eq!(
            (figures.idle_wait, figures.listed),
            (Some(15_000.0), Some(f64::from(SEATS) + 2.0))
        );
        assert_eq!(figures.ns, 10_500.0);
    }

    #[test]
    fn nothing_seen_is_a_failure() {
        assert!(figures(&[], &[]).is_err());
    }
}

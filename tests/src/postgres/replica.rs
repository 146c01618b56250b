//! Streaming replication: a server that follows another.

use std::thread;
use std::time::{Duration, Instant};

use super::{PATIENCE, Server};
use crate::Program;

impl Server {
    /// Starts a replica of this server: a hot standby with everything that is committed by now, which reads along from
    /// then on; returns when it answers. It has this server's settings, password and certificate, and a port and a
    /// folder of its own.
    ///
    /// A replica is a [`Server`] like any other: it can be killed, frozen and restarted, and after
    /// [`promote`](Self::promote) it can have replicas. This server keeps for it what it has not read yet, however
    /// long it is away.
    ///
    /// # Panics
    /// When this server does not run or is a replica itself, or the replica does not start, saying why.
    #[track_caller]
    pub fn replica(&self) -> Self {
        let mut replica = Self::empty(self.builder.clone());
        let name = format!("replica_{}", replica.port());
        // What is written here of the replica's own files it finds again as long as it lives, this server or not.
        let primary = replica.libpq_url(self.port()) + "&application_name=" + &name;
        let mut command = replica.user.command(PG_BASEBACKUP.path());
        command.arg("--pgdata").arg(replica.data());
        command.args(["--write-recovery-conf", "--create-slot", "--slot", &name]);
        command.args(["--checkpoint=fast", "--no-sync", "--dbname", &primary]);
        let output = command.output().expect("pg_basebackup can be started");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "pg_basebackup failed: {errors}");
        replica.launch();
        replica
    }

    /// Whether it is a replica, and read-only.
    ///
    /// # Panics
    /// When it does not answer.
    #[track_caller]
    pub fn is_replica(&self) -> bool {
        self.sql("SELECT pg_is_in_recovery()") == "t"
    }

    /// Makes a replica a primary: returns when it takes writes. Everything that it has received is replayed first,
    /// also when that is paused. The former primary is not told.
    ///
    /// # Panics
    /// When it is no replica, or has not become a primary after a minute.
    #[track_caller]
    pub fn promote(&self) {
        let promoted = self.sql("SELECT pg_promote(wait => true, wait_seconds => 60)");
        assert_eq!(promoted, "t", "not promoted; it printed:\n{}", self.log());
    }

    /// Lets a replica receive what the primary writes, and show nothing of it: its clients see the past. Returns when
    /// that holds.
    ///
    /// # Panics
    /// When it is no replica.
    #[track_caller]
    pub fn pause_replay(&self) {
        self.sql("SELECT pg_wal_replay_pause()");
        let state = "SELECT pg_get_wal_replay_pause_state()";
        self.wait_for("paused", PATIENCE, || {
            let state = self.sql(state);
            (state == "paused").then_some(()).ok_or(state)
        });
    }

    /// Shows the present again after [`pause_replay`](Self::pause_replay).
    ///
    /// # Panics
    /// When it is no replica.
    #[track_caller]
    pub fn resume_replay(&self) {
        self.sql("SELECT pg_wal_replay_resume()");
    }

    /// How far its log of writes goes, as PostgreSQL writes it: `0/3000148`. For a replica, how far it is replayed.
    ///
    /// # Panics
    /// When it does not answer.
    #[track_caller]
    pub fn lsn(&self) -> String {
        self.sql(
            "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END",
        )
    }

    /// Waits until a replica has replayed everything up to `lsn`, as [`lsn`](Self::lsn) of its primary.
    ///
    /// # Panics
    /// When it has not after a minute, with how far it is.
    #[track_caller]
    pub fn wait_replayed(&self, lsn: &str) {
        self.wait_replayed_within(PATIENCE, lsn);
    }

    #[track_caller]
    fn wait_replayed_within(&self, within: Duration, lsn: &str) {
        self.wait_for(lsn, within, || {
            let seen = self.sql(&format!(
                "SELECT at >= '{lsn}', at FROM pg_last_wal_replay_lsn() at"
            ));
            match seen.split_once('|') {
                Some(("t", _)) => Ok(()),
                _ => Err(seen),
            }
        });
    }

    /// Waits until `reached` says so, or panics with what it said last.
    #[track_caller]
    fn wait_for(&self, what: &str, within: Duration, reached: impl Fn() -> Result<(), String>) {
        let deadline = Instant::now() + within;
        while let Err(seen) = reached() {
            assert!(
                Instant::now() < deadline,
                "not {what} within {within:?} but {seen:?}; it printed:\n{}",
                self.log()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }
}

const PG_BASEBACKUP: Program = Program::new("pg_basebackup", "postgresql");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::psql;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn a_replica_has_the_rows_of_its_primary_and_is_read_only() {
        let primary = Server::start();
        primary.sql("CREATE TABLE t (n int); INSERT INTO t VALUES (1)");
        let replica = primary.replica();
        assert!(replica.is_replica() && !primary.is_replica());
        assert_ne!(replica.port(), primary.port());
        assert_eq!(replica.sql("SELECT n FROM t"), "1");
        primary.sql("INSERT INTO t VALUES (2)");
        replica.wait_replayed(&primary.lsn());
        assert_eq!(replica.sql("SELECT sum(n) FROM t"), "3");
        let refused = psql::command(&replica.url(), "INSERT INTO t VALUES (3)").output();
        let errors = refused.unwrap().stderr;
        let errors = String::from_utf8_lossy(&errors);
        assert!(errors.contains("in a read-only transaction"), "{errors}");
    }

    #[test]
    fn a_promoted_replica_takes_writes_and_has_replicas() {
        let mut primary = Server::start();
        primary.sql("CREATE TABLE t (n int)");
        let mut replica = primary.replica();
        replica.pause_replay();
        primary.sql("INSERT INTO t VALUES (1)");
        let received = "SELECT pg_last_wal_receive_lsn()::text";
        while replica.sql(received) != primary.lsn() {}
        primary.kill();
        replica.promote();
        assert!(!replica.is_replica());
        replica.sql("INSERT INTO t VALUES (2)");
        replica.restart();
        assert!(!replica.is_replica());
        assert_eq!(replica.replica().sql("SELECT sum(n) FROM t"), "3");
        // The former primary does not know.
        primary.restart();
        assert_eq!(primary.sql("SELECT sum(n) FROM t"), "1");
        assert!(!primary.is_replica());
    }

    #[test]
    fn a_replica_whose_replay_is_paused_shows_the_past() {
        let primary = Server::start();
        primary.sql("CREATE TABLE t (n int)");
        let replica = primary.replica();
        replica.pause_replay();
        primary.sql("INSERT INTO t VALUES (1)");
        let written = primary.lsn();
        let waited = catch_unwind(AssertUnwindSafe(|| {
            replica.wait_replayed_within(Duration::from_millis(100), &written);
        }));
        let said = waited.unwrap_err().downcast::<String>().unwrap();
        assert!(said.contains(&format!("not {written} within")), "{said}");
        assert_eq!(replica.sql("SELECT count(*) FROM t"), "0");
        replica.resume_replay();
        replica.wait_replayed(&written);
        assert_eq!(replica.sql("SELECT count(*) FROM t"), "1");
    }

    #[test]
    fn a_replica_reads_on_after_a_kill_a_freeze_and_a_restart_of_either() {
        let mut primary = Server::builder().password("geheim/&? ").tls().start();
        primary.sql("CREATE TABLE t (n int)");
        let mut replica = primary.replica();
        let write = |primary: &Server, replica: &Server| {
            primary.sql("INSERT INTO t VALUES (1)");
            replica.wait_replayed(&primary.lsn());
            assert_eq!(replica.sql("TABLE t"), primary.sql("TABLE t"));
        };
        replica.kill();
        // Without the slot it would want a file that is gone by now.
        for _ in 0..3 {
            primary.sql("INSERT INTO t VALUES (1); SELECT pg_switch_wal(); CHECKPOINT");
        }
        replica.restart();
        write(&primary, &replica);
        replica.freeze();
        replica.thaw();
        write(&primary, &replica);
        primary.kill();
        assert_eq!(replica.sql("SELECT count(*) FROM t"), "5");
        primary.restart();
        write(&primary, &replica);
        let ours = "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_replication USING (pid)";
        assert_eq!(primary.sql(ours), "t");
    }
}

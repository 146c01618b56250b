//! What the server says of the fleet's connections.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::SimpleQueryMessage;

use super::{Fleet, FleetLimit, share::share};

/// How sessions and seats of one fleet are named.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) fleet: String,
    /// The first half of the advisory locks' key.
    key: u32,
}

/// One look at the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Census {
    /// What each process needs, by the process id of its control session.
    controls: BTreeMap<i32, u32>,
    /// The seats of sessions that the server lists, with how many sessions have the name of each.
    named: BTreeMap<u32, u32>,
    /// The seats whose lock is held, by which control session.
    locked: BTreeMap<u32, i32>,
    /// How many connections the fleet may have.
    pub(super) connections: u32,
    pub(super) limited_by: FleetLimit,
}

impl Names {
    pub(super) fn new(fleet: String) -> Self {
        // FNV-1a: the same in each process and each version.
        let key = fleet.bytes().fold(0x811c_9dc5, |hash: u32, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        Self { fleet, key }
    }

    /// The name of the session that looks at the server.
    pub(super) fn control(&self, need: u32) -> String {
        format!("{}#0/{need}", self.fleet)
    }

    /// The name of a pooled session.
    pub(super) fn seat(&self, seat: u32) -> String {
        format!("{}#{seat}", self.fleet)
    }

    /// Says what this process needs.
    pub(super) fn says(&self, need: u32) -> String {
        format!("SET application_name = {}", quoted(&self.control(need)))
    }

    /// Takes the lock of a seat: `t` or `f`.
    pub(super) fn lock(&self, seat: u32) -> String {
        let key = self.key.cast_signed();
        format!("SELECT pg_catalog.pg_try_advisory_lock({key}, {seat})")
    }

    pub(super) fn unlock(&self, seat: u32) -> String {
        let key = self.key.cast_signed();
        format!("SELECT pg_catalog.pg_advisory_unlock({key}, {seat})")
    }

    /// Asks for the sessions, the locks and the limits.
    ///
    /// Each look is a statement in a transaction of its own: within a transaction the server repeats its first list of sessions.
    pub(super) fn look(&self) -> String {
        let (key, prefix) = (self.key, quoted(&format!("{}#", self.fleet)));
        let length = self.fleet.len() + 1;
        format!(
            "SELECT 'session', pid::text, application_name FROM pg_catalog.pg_stat_activity \
             WHERE datname = pg_catalog.current_database() AND pg_catalog.left(application_name, {length}) = {prefix} \
             UNION ALL SELECT 'lock', l.pid::text, l.objid::text \
             FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_database d ON d.oid = l.database \
             WHERE d.datname = pg_catalog.current_database() AND l.locktype = 'advisory' AND l.granted \
             AND l.classid = '{key}'::oid AND l.objsubid = 2 \
             UNION ALL SELECT 'server', \
             pg_catalog.current_setting('max_connections'), (pg_catalog.current_setting('superuser_reserved_connections')::int \
             + COALESCE(pg_catalog.current_setting('reserved_connections', true), '0')::int)::text \
             UNION ALL SELECT 'role', rolconnlimit::text, '' FROM pg_catalog.pg_roles WHERE rolname = session_user \
             UNION ALL SELECT 'database', datconnlimit::text, '' FROM pg_catalog.pg_database \
             WHERE datname = pg_catalog.current_database()"
        )
    }

    /// Reads the answer to [`look`](Self::look). `None` if it is not one.
    pub(super) fn read(&self, said: &[SimpleQueryMessage], fleet: &Fleet) -> Option<Census> {
        let rows = said.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some((row.get(0)?, row.get(1)?, row.get(2)?)),
            _ => None,
        });
        self.counted(rows, fleet)
    }

    fn counted<'a>(
        &self,
        rows: impl Iterator<Item = (&'a str, &'a str, &'a str)>,
        fleet: &Fleet,
    ) -> Option<Census> {
        let mut census = Census::default();
        let mut limits: Vec<(u32, FleetLimit)> = Vec::new();
        for (kind, first, second) in rows {
            match kind {
                "session" => {
                    let name = second.strip_prefix(&*self.fleet)?.strip_prefix('#')?;
                    if let Some(need) = name.strip_prefix("0/") {
                        census
                            .controls
                            .insert(first.parse().ok()?, need.parse().unwrap_or(1));
                    } else if let Ok(seat) = name.parse() {
                        *census.named.entry(seat).or_default() += 1;
                    }
                }
                "lock" => {
                    census
                        .locked
                        .insert(second.parse().ok()?, first.parse().ok()?);
                }
                "server" => {
                    let (most, reserved): (u32, u32) = (first.parse().ok()?, second.parse().ok()?);
                    let part = f64::from(most.saturating_sub(reserved)) * fleet.fraction;
                    // The cast saturates, and rounds down. What a part of a number should be may be a hair less.
                    limits.push(((part + 1e-9) as u32, FleetLimit::Server));
                }
                "role" | "database" => {
                    let by = if kind == "role" {
                        FleetLimit::Role
                    } else {
                        FleetLimit::Database
                    };
                    // A negative limit is none.
                    let limit: i32 = first.parse().ok()?;
                    limits.extend(u32::try_from(limit).ok().map(|limit| (limit, by)));
                }
                _ => return None,
            }
        }
        limits.extend(
            fleet
                .max_connections
                .map(|most| (most, FleetLimit::Setting)),
        );
        (census.connections, census.limited_by) =
            limits.into_iter().min_by_key(|(limit, _)| *limit)?;
        Some(census)
    }
}

impl Census {
    /// How many processes take part.
    pub(super) fn processes(&self) -> u32 {
        count(self.controls.len())
    }

    /// Whether the server lists a control session with this process id.
    pub(super) fn lists(&self, process_id: i32) -> bool {
        self.controls.contains_key(&process_id)
    }

    /// How many pooled connections there may be, if there are to be `expected` processes at most. One more may always join.
    pub(super) fn seats(&self, expected: u32) -> u32 {
        let others = self.processes().saturating_add(1).max(expected);
        self.connections.saturating_sub(others)
    }

    /// The seats that are taken. A seat is taken as long as the server lists a session of its name, or somebody has its lock.
    fn all_taken(&self) -> BTreeSet<u32> {
        self.named
            .keys()
            .chain(self.locked.keys())
            .copied()
            .collect()
    }

    /// How many connections are on seats, or may be soon. Two sessions of one name are two.
    pub(super) fn taken(&self) -> u32 {
        let twins = self.named.values().map(|sessions| sessions - 1);
        count(self.all_taken().len()).saturating_add(twins.sum())
    }

    /// Whether there are more connections than there may be.
    pub(super) fn is_over(&self) -> bool {
        self.taken().saturating_add(self.processes()) > self.connections
    }

    /// The first seats that are free.
    pub(super) fn free(&self) -> impl Iterator<Item = u32> {
        let taken = self.all_taken();
        (1..=self.connections).filter(move |seat| !taken.contains(seat))
    }

    /// How many sessions have the name of a seat.
    pub(super) fn sessions_on(&self, seat: u32) -> u32 {
        self.named.get(&seat).copied().unwrap_or(0)
    }

    /// Whether a control session has the lock of a seat.
    pub(super) fn is_locked_by(&self, seat: u32, process_id: i32) -> bool {
        self.locked.get(&seat) == Some(&process_id)
    }

    /// How many connections the process with this control session may have, which needs `need`.
    pub(super) fn share(&self, process_id: i32, need: u32, expected: u32) -> u32 {
        let needs: Vec<_> = self
            .controls
            .iter()
            .map(|(id, said)| if *id == process_id { need } else { *said })
            .collect();
        let at = self.controls.keys().position(|id| *id == process_id);
        share(self.seats(expected), &needs, at.unwrap_or(0))
    }

    /// Whether another process has fewer connections than it needs and may have.
    pub(super) fn others_are_short(&self, process_id: i32, expected: u32) -> bool {
        let needs: Vec<_> = self.controls.values().copied().collect();
        self.controls.iter().enumerate().any(|(at, (id, need))| {
            let has = self.locked.values().filter(|holder| *holder == id).count();
            *id != process_id && count(has) < (*need).min(share(self.seats(expected), &needs, at))
        })
    }

    /// Whether there are more processes than seats, and another one that needs a connection has none.
    pub(super) fn starves_others(&self, process_id: i32, expected: u32) -> bool {
        let has_none = |id: &i32| !self.locked.values().any(|holder| holder == id);
        self.seats(expected) < self.processes()
            && self
                .controls
                .iter()
                .any(|(id, need)| *id != process_id && *need > 0 && has_none(id))
    }
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// A literal. The text has no backslash.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn census(fleet: &Fleet, rows: &[(&'static str, &'static str, &'static str)]) -> Census {
        Names::new("shop".to_owned())
            .counted(rows.iter().copied(), fleet)
            .unwrap()
    }

    const LIMITS: [(&str, &str, &str); 3] = [
        ("server", "100", "3"),
        ("role", "-1", ""),
        ("database", "-1", ""),
    ];

    #[test]
    fn the_lowest_limit_counts_and_says_so() {
        let limit = |fleet: Fleet, role, database| {
            let census = census(
                &fleet,
                &[LIMITS[0], ("role", role, ""), ("database", database, "")],
            );
            (census.connections, census.limited_by)
        };
        assert_eq!(limit(Fleet::new(), "-1", "-1"), (77, FleetLimit::Server));
        assert_eq!(
            limit(Fleet::new().fraction(1.0), "-1", "-1"),
            (97, FleetLimit::Server)
        );
        assert_eq!(limit(Fleet::new(), "10", "20"), (10, FleetLimit::Role));
        assert_eq!(limit(Fleet::new(), "0", "20"), (0, FleetLimit::Role));
        assert_eq!(limit(Fleet::new(), "-1", "20"), (20, FleetLimit::Database));
        assert_eq!(
            limit(Fleet::new().max_connections(12), "30", "-2"),
            (12, FleetLimit::Setting)
        );
    }

    #[test]
    fn a_seat_is_taken_by_its_name_or_by_its_lock() {
        let fleet = Fleet::new().max_connections(12);
        let mut rows = LIMITS.to_vec();
        rows.extend([
            ("session", "70", "shop#0/3"),
            ("session", "60", "shop#0/200"),
            ("session", "71", "shop#1"),
            ("lock", "70", "1"),
            ("session", "72", "shop#3"),
            ("lock", "60", "4"),
            // Somebody else's idea of a name.
            ("session", "73", "shop#x"),
        ]);
        let census = census(&fleet, &rows);
        assert_eq!(
            (census.processes(), census.taken(), census.seats(1)),
            (2, 3, 9)
        );
        assert_eq!(census.free().take(3).collect::<Vec<_>>(), [2, 5, 6]);
        assert!(census.lists(60) && !census.lists(71) && !census.is_over());
        assert!(census.is_locked_by(4, 60) && !census.is_locked_by(3, 70));
        assert_eq!((census.sessions_on(3), census.sessions_on(4)), (1, 0));
        // The first needs three, the second takes the rest.
        assert_eq!((census.share(70, 3, 1), census.share(60, 200, 1)), (3, 6));
        assert!(!census.starves_others(60, 1));
        // The first has one of three, the second one of six.
        assert!(census.others_are_short(60, 1) && census.others_are_short(70, 1));
    }

    #[test]
    fn two_sessions_on_one_seat_are_two() {
        let mut rows = LIMITS.to_vec();
        rows.extend([
            ("session", "1", "shop#1"),
            ("session", "2", "shop#1"),
            ("session", "3", "shop#0/1"),
        ]);
        let two = census(&Fleet::new().max_connections(3), &rows);
        assert_eq!((two.taken(), two.is_over()), (2, false));
        assert_eq!((two.seats(1), two.seats(3)), (1, 0));
        rows.push(("session", "4", "shop#0/1"));
        assert!(census(&Fleet::new().max_connections(3), &rows).is_over());
    }

    #[test]
    fn a_process_without_a_connection_is_noticed_where_there_are_too_few() {
        let mut rows = LIMITS.to_vec();
        rows.extend([
            ("session", "1", "shop#0/1"),
            ("session", "2", "shop#0/9"),
            ("lock", "1", "1"),
        ]);
        let crowded = census(&Fleet::new().max_connections(4), &rows);
        assert_eq!(crowded.seats(1), 1);
        assert!(crowded.starves_others(1, 1) && !crowded.starves_others(2, 1));
        let wide = census(&Fleet::new().max_connections(9), &rows);
        assert!(!wide.starves_others(1, 1));
        rows[4] = ("session", "2", "shop#0/0");
        assert!(!census(&Fleet::new().max_connections(4), &rows).starves_others(1, 1));
    }

    #[test]
    fn names_are_part_of_the_text_and_fit() {
        let names = Names::new("it's".to_owned());
        assert!(names.look().contains("= 'it''s#'"));
        let longest = Names::new("x".repeat(40));
        assert!(longest.control(u32::MAX).len() < 64);
        assert_ne!(names.key, longest.key);
        assert!(names.read(&[], &Fleet::new()).is_none());
    }
}

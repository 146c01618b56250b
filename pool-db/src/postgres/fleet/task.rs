//! The task that keeps a process at its share.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use super::{FleetState, Member, member::jittered};

/// Runs until the pool is closed.
pub(super) async fn attend(member: Arc<Member>) {
    let mut next_try = Instant::now();
    let mut failures = 0_u32;
    loop {
        tokio::select! {
            () = sleep(jittered(PULSE)) => {}
            () = member.calls.notified() => {}
        }
        let Some(pool) = member.pool().filter(|pool| !pool.is_closed()) else {
            break;
        };
        if member.is_proxied_off() {
            return;
        }
        let status = pool.status();
        drop(pool);
        member.needs(&status);
        let now = Instant::now();
        if now < next_try {
            continue;
        }
        // Somebody waits, and may do so because others need to learn of it, or have given something back.
        let every = if status.waiting > 0 {
            SOON
        } else {
            jittered(EVERY)
        };
        if member
            .round(|looked| now.saturating_duration_since(looked) >= every)
            .await
        {
            failures = 0;
        } else {
            failures = (failures + 1).min(6);
            next_try = Instant::now() + jittered(PULSE * (1 << failures));
        }
    }
    member.leave(FleetState::NotJoined, None).await;
}

/// How often the pool's own counts are looked at.
const PULSE: Duration = Duration::from_millis(100);
/// How often the server is looked at while somebody waits.
const SOON: Duration = Duration::from_millis(250);
/// How often the server is looked at otherwise.
const EVERY: Duration = Duration::from_secs(1);

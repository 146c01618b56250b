//! How the connections that a server can serve are shared among processes: plain arithmetic.

/// How many of `cap` connections the process at `at` may have, of processes that need `needs`.
///
/// The shares are max-min fair: a process that needs less than an equal part gets what it needs, and the others share the rest
/// equally. What nobody needs is spread evenly, so that a process can grow before it has asked. The first in the list get what does
/// not divide. The shares add up to `cap`.
///
/// With more processes than connections, each may have one, and seats decide who has.
pub(super) fn share(cap: u32, needs: &[u32], at: usize) -> u32 {
    let count = u32::try_from(needs.len()).unwrap_or(u32::MAX);
    if count == 0 || cap <= count {
        return 1;
    }
    let need = |at: usize| needs.get(at).map_or(1, |need| (*need).max(1));
    let mut order: Vec<usize> = (0..needs.len()).collect();
    order.sort_by_key(|at| need(*at));
    let mut left = cap;
    for (done, one) in order.iter().enumerate() {
        let others = count - u32::try_from(done).unwrap_or(count);
        if need(*one) > left / others {
            // The others need no less than this one, so they get equal parts.
            let sharing = &order[done..];
            if !sharing.contains(&at) {
                return need(at);
            }
            let before = sharing.iter().filter(|other| **other < at).count();
            return part(left, others, before);
        }
        left -= need(*one);
    }
    need(at) + part(left, count, at)
}

/// The part of `whole` that the one at `at` of `count` has.
fn part(whole: u32, count: u32, at: usize) -> u32 {
    let is_first = u32::try_from(at).is_ok_and(|at| at < whole % count);
    whole / count + u32::from(is_first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(cap: u32, needs: &[u32]) -> Vec<u32> {
        (0..needs.len()).map(|at| share(cap, needs, at)).collect()
    }

    #[test]
    fn equal_needs_have_equal_shares_and_the_first_get_the_rest() {
        assert_eq!(shares(10, &[100, 100, 100]), [4, 3, 3]);
        assert_eq!(shares(12, &[1, 1, 1]), [4, 4, 4]);
        assert_eq!(shares(9, &[100]), [9]);
    }

    #[test]
    fn what_one_does_not_need_the_others_get() {
        assert_eq!(shares(12, &[1, 100]), [1, 11]);
        assert_eq!(shares(12, &[2, 100, 3, 100]), [2, 4, 3, 3]);
        // Nobody needs the other six.
        assert_eq!(shares(12, &[2, 4]), [5, 7]);
        assert_eq!(shares(12, &[0, 0]), [6, 6]);
    }

    #[test]
    fn with_more_processes_than_connections_each_may_have_one() {
        assert_eq!(shares(2, &[5, 5, 5]), [1, 1, 1]);
        assert_eq!(shares(0, &[5]), [1]);
        assert_eq!(share(5, &[], 0), 1);
    }

    #[test]
    fn shares_add_up_to_the_cap_and_are_fair_for_any_needs() {
        let mut random = fastrand::Rng::with_seed(15);
        for _ in 0..20_000 {
            let count = random.usize(1..12);
            let most = if random.bool() { 8 } else { u32::MAX };
            let needs: Vec<_> = (0..count).map(|_| random.u32(0..most)).collect();
            let cap = random.u32(0..60);
            let shares = shares(cap, &needs);
            let seen = format!("{cap} for {needs:?}: {shares:?}");
            assert!(shares.iter().all(|share| *share >= 1), "{seen}");
            if (cap as usize) <= count {
                continue;
            }
            assert_eq!(shares.iter().sum::<u32>(), cap, "{seen}");
            for (share, need) in shares.iter().zip(&needs) {
                // Whoever lacks something has as much as anybody has, but for the rest of a division.
                let is_short = share < need;
                let most = shares.iter().max();
                assert!(
                    !is_short || most.is_none_or(|most| *most <= share + 1),
                    "{seen}"
                );
            }
        }
    }
}

//! A TCP port on loopback that is one test's alone.

use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;
use std::ops::Range;

/// A port of 127.0.0.1 that no other test takes while this value lives, also while no server listens on it.
///
/// A server that is killed and started again must find its port free. Two things could take it meanwhile:
/// the kernel, for somebody's outgoing connection, so the port is chosen below the range that the kernel
/// chooses from; and another test, so the same number is held open on 127.0.0.2, which every test tries
/// first. The kernel gives that up when the process ends, however it ends.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _held: TcpListener,
}

impl Port {
    /// Reserves one.
    ///
    /// # Panics
    /// When 1000 tries found none free.
    #[track_caller]
    pub fn reserve() -> Self {
        let random = RandomState::new();
        (0..1000_u32)
            .find_map(|attempt| {
                let number = RANGE.start + (random.hash_one(attempt) % RANGE.len() as u64) as u16;
                let held = TcpListener::bind(("127.0.0.2", number)).ok()?;
                TcpListener::bind(("127.0.0.1", number)).ok()?;
                Some(Self {
                    number,
                    _held: held,
                })
            })
            .unwrap_or_else(|| panic!("no free port on 127.0.0.1 in {RANGE:?}"))
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }
}

/// Linux takes the ports of outgoing connections from 32768 up.
const RANGE: Range<u16> = 10_000..32_000;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_two_reservations_are_the_same_port() {
        let ports: Vec<Port> = (0..200).map(|_| Port::reserve()).collect();
        let numbers: HashSet<u16> = ports.iter().map(Port::number).collect();
        assert_eq!(numbers.len(), ports.len());
    }

    #[test]
    fn a_reserved_port_can_be_listened_on_again_and_again() {
        let port = Port::reserve();
        for _ in 0..3 {
            TcpListener::bind(("127.0.0.1", port.number())).unwrap();
        }
    }

    #[test]
    fn a_dropped_reservation_is_free_again() {
        let number = Port::reserve().number();
        TcpListener::bind(("127.0.0.2", number)).unwrap();
    }
}

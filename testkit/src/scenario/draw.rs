use std::time::Duration;

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use crate::peer::{Pace, PeerOptions};
use crate::scenario::{Kind, NAME, Scenario, Side};
use crate::seed::Seed;

/// No more bytes than this in one direction.
const MOST: u64 = 2 << 20;

/// No more calls than this for the bytes of one direction, neither of a peer nor of the proxy, so that a session takes
/// a second and not a minute.
const CALLS: u64 = 1000;

impl Scenario {
    /// A session of any kind for a proxy whose buffers hold `buffer` bytes.
    ///
    /// Of concurrent sessions the server has to distinguish each, so each client sends a few bytes at least;
    /// a client that vanishes needs that too.
    pub fn draw(seed: Seed, buffer: u64, concurrent: bool) -> Self {
        let kinds = if concurrent { &Kind::ALL[..] } else { &Kind::ALL[..Kind::ALL.len() - 1] };
        let kind = *kinds.choose(&mut seed.derive("kind").rng()).expect("there are kinds");
        Self::draw_kind(kind, seed, buffer, concurrent)
    }

    /// A session of this kind; otherwise as [`draw`](Self::draw).
    pub fn draw_kind(kind: Kind, seed: Seed, buffer: u64, concurrent: bool) -> Self {
        let mut rng = seed.derive("sides").rng();
        let grains: [u64; 4] =
            std::array::from_fn(|_| *[1, 16, 3000, 65_536].choose(&mut rng).expect("not empty"));
        let [up_sent, up_received, down_sent, down_received] = grains;
        // At least what the kind and concurrent sessions need.
        let least_up = if concurrent { NAME } else { u64::from(kind == Kind::ServerUnread) };
        let least_down = u64::from(matches!(kind, Kind::ClientReset | Kind::ClientUnread));
        let up = amount(up_sent.min(up_received).min(buffer), &mut rng).max(least_up);
        let down = amount(down_sent.min(down_received).min(buffer), &mut rng).max(least_down);
        let mut client = side(up, up_sent, (down, down_received), &mut rng);
        let mut server = side(down, down_sent, (up, up_received), &mut rng);
        match kind {
            Kind::ClientReset => client.receives_first = rng.random_range(0..down),
            Kind::ServerReset => server.receives_first = rng.random_range(0..=up),
            _ => {}
        }
        // A side that leaves bytes unread waits until all that it has sent is acknowledged. Linux passes over acknowledgements
        // while segments do not fit into a small receive buffer, and then it would wait for ever.
        match kind {
            Kind::ClientReset | Kind::ClientUnread => client.options.receive_buffer = None,
            Kind::ServerReset | Kind::ServerUnread => server.options.receive_buffer = None,
            _ => {}
        }
        let address = seed.derive("address").rng().random_range(0..60);
        Self { seed, kind, address, client, server }
    }
}

/// How many bytes one direction gets if they move `grain` at a time: often few, sometimes none, sometimes the most.
fn amount(grain: u64, rng: &mut ChaCha8Rng) -> u64 {
    let most = (grain * CALLS).min(MOST);
    match rng.random_range(0..8) {
        0 => 0,
        1 => most,
        // The same chance for each order of magnitude.
        _ => most >> rng.random_range(0..most.ilog2()),
    }
}

fn side(bytes: u64, sent: u64, (expected, received): (u64, u64), rng: &mut ChaCha8Rng) -> Side {
    Side {
        bytes,
        receives_first: 0,
        finishes: rng.random(),
        urgent: bytes > 0 && rng.random_ratio(1, 8),
        sends: pace(bytes, sent, rng),
        receives: pace(expected, received, rng),
        options: PeerOptions {
            receive_buffer: rng.random::<bool>().then(|| rng.random_range(4096..=65_536)),
            send_buffer: rng.random::<bool>().then(|| rng.random_range(1..=65_536)),
            no_delay: rng.random(),
            urgent_inline: false,
        },
    }
}

/// A pace for `bytes` bytes, up to `grain` of them a call, whose pauses together take a fraction of a second.
fn pace(bytes: u64, grain: u64, rng: &mut ChaCha8Rng) -> Pace {
    let grain = usize::try_from(grain).expect("a grain is small");
    let pace = Pace::chunks(1..=grain);
    let calls = u32::try_from(2 * bytes / grain as u64).expect("the amount was chosen for few calls");
    match rng.random_range(0..4) {
        0 => pace.pausing((calls / 50).max(1), Duration::from_millis(3)),
        1 => pace.limited((4 * bytes).max(1)),
        _ => pace,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_seed_draws_the_same_again_and_another_seed_another() {
        let text = |number| format!("{:?}", Scenario::draw(Seed::new(number), 4096, true));
        assert_eq!(text(1), text(1));
        assert_ne!(text(1), text(2));
    }

    #[test]
    fn a_side_that_leaves_bytes_unread_has_a_receive_buffer_of_the_usual_size() {
        for number in 0..2000 {
            let Scenario { kind, client, server, .. } = Scenario::draw(Seed::new(number), 4096, true);
            let unread = match kind {
                Kind::ClientReset | Kind::ClientUnread => client,
                Kind::ServerReset | Kind::ServerUnread => server,
                _ => continue,
            };
            assert_eq!(unread.options.receive_buffer, None, "{kind:?}");
        }
    }

    #[test]
    fn amounts_keep_their_limits() {
        let mut kinds = HashSet::new();
        for number in 0..2000 {
            for (buffer, concurrent) in [(1, false), (7, true), (262_144, true)] {
                let scenario = Scenario::draw(Seed::new(number), buffer, concurrent);
                let most = (buffer * CALLS).min(MOST);
                assert!(scenario.client.bytes <= most && scenario.server.bytes <= most);
                assert!(!concurrent || scenario.client.bytes >= NAME);
                assert!(concurrent || scenario.kind != Kind::Vanish);
                kinds.insert(scenario.kind);
            }
        }
        assert_eq!(kinds.len(), Kind::ALL.len());
    }
}

//! Every byte, in order, both ways.

use std::time::{Duration, Instant};

use crate::conform::trial::{PATIENCE, connect};
use crate::conform::{Case, PeerRole, Stand, Stop, Trial, Verdict, broken, judge};
use crate::recipe::Setting;
use testkit::peer::{Connection, Gate, Listener, Pace, PeerOptions, Script, Step};

pub(super) const CASES: &[Case] = &[
    Case::new("bytes_go_both_ways_at_once", both_ways_at_once),
    Case::new("a_stalled_upload_does_not_stop_the_download", |trial| stalled(trial, PeerRole::Client)),
    Case::new("a_stalled_download_does_not_stop_the_upload", |trial| stalled(trial, PeerRole::Server)),
    Case::new("writes_of_every_size_arrive", every_write_size),
    Case::new("messages_around_common_buffer_sizes_arrive", around_buffer_sizes),
    Case::new("bytes_keep_their_order_at_every_offset_of_a_small_buffer", small_buffer),
    Case::new("tiny_socket_buffers_lose_nothing", tiny_socket_buffers),
    Case::new("random_chunks_and_pauses_lose_nothing", random_chunks),
    Case::new("thousands_of_tiny_segments_wait_for_stalled_readers", tiny_segments),
    Case::new("an_urgent_byte_arrives_among_the_others", urgent_byte),
    Case::new("a_banner_from_the_server_arrives_first", banner),
    Case::new("a_dialogue_of_single_bytes_is_not_delayed", dialogue).alone(),
];

/// What both sides send and receive, and in which order; `meet` adds how they end.
///
/// That is in the plainest way there is, since these cases are not about ends: the client finishes when it has everything,
/// and the server then.
struct Sides {
    client: (Vec<Step>, Vec<Step>),
    server: (Vec<Step>, Vec<Step>),
    /// How many bytes go up and down.
    bytes: (u64, u64),
}

impl Sides {
    fn meet(self, trial: &Trial, options: PeerOptions) -> Verdict {
        self.meet_on(&trial.stand_with(options)?, options)
    }

    fn meet_on(self, stand: &Stand<'_>, options: PeerOptions) -> Verdict {
        let complete = Gate::new()?;
        let (mut client_sends, mut client_receives) = self.client;
        client_sends.extend([Step::Await(complete.clone()), Step::Fin]);
        client_receives.extend([Step::Open(complete), Step::receive_all()]);
        let (server_sends, mut server_receives) = self.server;
        server_receives.push(Step::receive_all());
        // One side may be through long before the other on a busy machine.
        let script = |sends, receives| Script::new(sends).beside(receives).patience(judge::UNTIL_FULL);
        let client = script(client_sends, client_receives);
        let server = script(server_sends, server_receives);
        let (client, server) = stand.session_with(options, client, server)?;
        judge::both_whole(&client, &server, self.bytes)
    }

    /// Both sides send this number of bytes in these steps, and receive those of the other side at the same time.
    fn alike(bytes: u64, sends: Vec<Step>, receives: Pace) -> Self {
        let side = (sends, vec![Step::Receive(bytes, receives)]);
        Self { client: side.clone(), server: side, bytes: (bytes, bytes) }
    }

    /// The same at this pace.
    fn exchange(bytes: u64, pace: Pace) -> Self {
        Self::alike(bytes, vec![Step::Send(bytes, pace.clone())], pace)
    }
}

fn both_ways_at_once(trial: &Trial) -> Verdict {
    Sides::exchange(8 << 20, Pace::FAST).meet(trial, PeerOptions::default())
}

fn tiny_socket_buffers(trial: &Trial) -> Verdict {
    let tiny = PeerOptions { receive_buffer: Some(4096), send_buffer: Some(1), ..PeerOptions::default() };
    Sides::exchange(256 << 10, Pace::FAST).meet(trial, tiny)
}

fn random_chunks(trial: &Trial) -> Verdict {
    let pace = Pace::chunks(1..=3000).pausing(50, Duration::from_millis(3));
    Sides::exchange(1 << 20, pace).meet(trial, PeerOptions::default())
}

fn small_buffer(trial: &Trial) -> Verdict {
    let recipe = trial.recipe_with(Setting::Buffer, "4096")?;
    let small = PeerOptions { receive_buffer: Some(4096), ..PeerOptions::default() };
    Sides::exchange(4 << 20, Pace::chunks(1..=8192)).meet_on(&trial.stand_of(&recipe, small)?, small)
}

/// One side fills its direction, then the other direction has to carry a megabyte, then the first one goes on.
fn stalled(trial: &Trial, fills: PeerRole) -> Verdict {
    // More than two kernels and a proxy hold as a rule, with the small buffers of the peers. One whose kernel lets its
    // receive buffer grow beyond that gets everything, and the other direction has to go on all the same.
    let (bulk, bytes) = (16 << 20, 1 << 20);
    let (full, flowed) = (Gate::new()?, Gate::new()?);
    let fill = (
        vec![Step::send(bulk)],
        vec![
            Step::Stalled(judge::QUIET),
            Step::Open(full.clone()),
            Step::receive(bytes),
            Step::Open(flowed.clone()),
        ],
    );
    let sleep = (vec![Step::Await(full), Step::send(bytes)], vec![Step::Await(flowed), Step::receive(bulk)]);
    let (client, server) = fills.pair(fill, sleep);
    Sides { client, server, bytes: fills.pair(bulk, bytes) }.meet(trial, judge::SMALL)
}

fn every_write_size(trial: &Trial) -> Verdict {
    let around_powers = (2..=20).flat_map(|power: u32| [(1 << power) - 1, 1 << power, (1 << power) + 1]);
    let sizes: Vec<usize> = [1, 2].into_iter().chain(around_powers).chain([4 << 20]).collect();
    let bytes = sizes.iter().map(|size| *size as u64).sum();
    let writes = sizes.iter().map(|size| Step::Send(*size as u64, Pace::chunks(*size..=*size)));
    Sides::alike(bytes, writes.collect(), Pace::FAST).meet(trial, PeerOptions::default())
}

fn around_buffer_sizes(trial: &Trial) -> Verdict {
    let multiples = (9..=18).flat_map(|power| [1, 2, 3].map(|times: u64| times << power));
    let sizes: Vec<u64> = multiples.flat_map(|size| [size - 1, size, size + 1]).collect();
    let bytes = (sizes.iter().sum(), sizes.len() as u64);
    let (mut client, mut server) = (Vec::new(), Vec::new());
    for size in sizes {
        client.extend([Step::send(size), Step::receive(1)]);
        server.extend([Step::receive(size), Step::send(1)]);
    }
    let sides = Sides { client: (vec![], client), server: (vec![], server), bytes };
    sides.meet(trial, PeerOptions::default())
}

fn tiny_segments(trial: &Trial) -> Verdict {
    let options = PeerOptions { no_delay: true, ..PeerOptions::default() };
    let bytes = 5000;
    let (client_sent, server_sent) = (Gate::new()?, Gate::new()?);
    let side = |own, other| {
        (
            vec![Step::Send(bytes, Pace::BYTE_AT_A_TIME), Step::Open(own)],
            vec![Step::Await(other), Step::receive(bytes)],
        )
    };
    let client = side(client_sent.clone(), server_sent.clone());
    let server = side(server_sent, client_sent);
    Sides { client, server, bytes: (bytes, bytes) }.meet(trial, options)
}

fn urgent_byte(trial: &Trial) -> Verdict {
    let options = PeerOptions { urgent_inline: true, ..PeerOptions::default() };
    let bytes = 21_001;
    let sends = vec![Step::send(1000), Step::Urgent, Step::send(20_000)];
    Sides::alike(bytes, sends, Pace::FAST).meet(trial, options)
}

fn banner(trial: &Trial) -> Verdict {
    let client = vec![Step::receive(100), Step::send(10), Step::receive(1000)];
    let server = vec![Step::send(100), Step::receive(10), Step::send(1000)];
    let sides = Sides { client: (vec![], client), server: (vec![], server), bytes: (10, 1100) };
    sides.meet(trial, PeerOptions::default())
}

/// What an exchange may take longer than ten times a direct one: half of the shortest delay of an acknowledgement.
const ADDED: Duration = Duration::from_millis(20);

fn dialogue(trial: &Trial) -> Verdict {
    let options = PeerOptions { no_delay: true, ..PeerOptions::default() };
    let stand = trial.stand_with(options)?;
    let proxied = (stand.connect(options)?, stand.accept()?);
    let listener = Listener::bind(options)?;
    let direct = (connect(listener.address(), options)?, listener.accept(PATIENCE)?);
    judge::compare_times(|| {
        let (mut through, mut without) = (Vec::new(), Vec::new());
        for exchange in 0..WARM_UP + EXCHANGES {
            for ((client, server), times) in [(&proxied, &mut through), (&direct, &mut without)] {
                let begin = Instant::now();
                two_bytes(client, server).and_then(|()| two_bytes(server, client))?;
                times.extend((exchange >= WARM_UP).then(|| begin.elapsed()));
            }
        }
        // What delays every exchange delays a quarter of them, and a busy machine seldom delays all of the others.
        let (through, without) = (judge::quantile(through, 4), judge::quantile(without, 4));
        let observed =
            format!("{through:.1?} for a quarter of the exchanges, {without:.1?} without the proxy");
        Ok((through <= without * 10 + ADDED, observed))
    })
}

/// Acknowledgements are delayed only once the kernel has recognised a dialogue.
const WARM_UP: usize = 20;

const EXCHANGES: usize = 40;

/// Sends a byte, and another one when the first has arrived.
fn two_bytes(from: &Connection, to: &Connection) -> Result<(), Stop> {
    for byte in [b"a", b"b"] {
        let arrived = from.send_all(byte, PATIENCE).and_then(|()| to.receive_exactly(1, PATIENCE));
        match arrived {
            Ok(received) if received == byte => {}
            other => return broken(format!("{byte:?} was sent, and this received: {other:?}")),
        }
    }
    Ok(())
}

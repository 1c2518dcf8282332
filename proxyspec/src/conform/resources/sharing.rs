//! Clients beside each other.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::conform::trial::{PATIENCE, Stand, connect, no_connection, passed, until};
use crate::conform::{PeerRole, Service, Stop, Trial, Verdict, broken, echo, judge};
use crate::recipe::Setting;
use testkit::peer::{Connection, Gate, Listener, Peer, PeerOptions, Script, Step, gate};

/// A client that is served beyond the limit is served soon; one that is pending is not, however long.
const TOO_EARLY: Duration = Duration::from_secs(1);

pub(super) fn beyond_the_limit(trial: &Trial) -> Verdict {
    let (stand, limit) = match trial.service() {
        Service::ManyAtOnce => (trial.stand_set(Setting::Clients, "2")?, 2),
        Service::Once | Service::OneAtATime => (trial.stand()?, 1),
    };
    let mut places = (0..limit).map(|_| pair(&stand)).collect::<Result<Vec<_>, _>>()?;
    let script = trial.of_client(echo::asks(echo::ANSWER)).patience(PATIENCE * 2);
    let one_more = Peer::client(stand.address(), PeerOptions::default(), script);
    if stand.listener().accept(TOO_EARLY).is_ok() {
        return broken(format!("it serves {} clients at once, although its limit is {limit}", limit + 1));
    }
    drop(places.pop());
    let connection = stand.listener().accept(PATIENCE);
    let server = connection.map(|connection| connection.run(&trial.of_server(echo::answers())));
    let client = one_more.join();
    match (client, server) {
        (Ok(client), Ok(server)) => echo::judge_both(&client, &server),
        (Ok(client), Err(_)) if client.late.is_none() => Err(Stop::NotApplicable(format!(
            "it turns such a client away, who got {}",
            judge::describe(&client)
        ))),
        (Ok(client), Err(error)) => {
            broken(format!("not served: {error}; the client got {}", judge::describe(&client)))
        }
        // The queue itself is full.
        (Err(error), _) if error.kind() == ErrorKind::ConnectionRefused => {
            Err(Stop::NotApplicable(format!("it turns such a client away: {error}")))
        }
        (Err(error), _) => no_connection(error),
    }
}

/// A client and its server that have exchanged a byte.
fn pair(stand: &Stand<'_>) -> Result<(Connection, Connection), Stop> {
    let options = PeerOptions { no_delay: true, ..PeerOptions::default() };
    let pair = (stand.connect(options)?, stand.accept()?);
    exchange(&pair)?;
    Ok(pair)
}

/// A byte there and one back, and how long it took.
fn exchange((client, server): &(Connection, Connection)) -> Result<Duration, Stop> {
    let begin = Instant::now();
    echo::exchange(client, server).or_else(|error| broken(format!("a byte did not arrive: {error}")))?;
    Ok(begin.elapsed())
}

pub(super) fn stalled_beside_others(trial: &Trial) -> Verdict {
    let stand = trial.stand_with(judge::SMALL)?;
    let alone = sessions(&stand)?;
    let (release, _release) = gate()?;
    let mut stalled = Vec::new();
    for sender in PeerRole::BOTH {
        let full = Gate::new()?;
        let fill = [Step::Fill(judge::QUIET), Step::Open(full.clone()), Step::Await(release.clone())];
        let script = |steps: &[Step]| Script::new(steps).patience(PATIENCE * 4);
        let (client, server) = sender.pair(script(&fill), script(&[Step::Await(release.clone())]));
        stalled.push(stand.begin(judge::SMALL, client, server)?);
        passed(&full, judge::UNTIL_FULL, "the sender has found no end")?;
    }
    judge::compare_times(|| {
        let beside = sessions(&stand)?;
        let observed =
            format!("{beside:.1?} for half of the sessions beside the stalled ones, {alone:.1?} before");
        Ok((beside <= alone * 10 + Duration::from_secs(1), observed))
    })
}

/// Twenty sessions, one after another: how long half of them took at most.
fn sessions(stand: &Stand<'_>) -> Result<Duration, Stop> {
    let times = (0..20).map(|_| {
        let begin = Instant::now();
        echo::session(stand)?;
        Ok::<_, Stop>(begin.elapsed())
    });
    Ok(judge::quantile(times.collect::<Result<_, _>>()?, 2))
}

pub(super) fn fairness(trial: &Trial) -> Verdict {
    let stand = trial.stand()?;
    let (pairs, others) = (1..=10, 10);
    let through = pairs.clone().map(|_| pair(&stand)).collect::<Result<Vec<_>, _>>()?;
    let bulk = (stand.connect(PeerOptions::default())?, stand.accept()?);
    let listener = Listener::bind(PeerOptions::default())?;
    let direct = || -> Result<_, Stop> {
        let options = PeerOptions { no_delay: true, ..PeerOptions::default() };
        Ok((connect(listener.address(), options)?, listener.accept(PATIENCE)?))
    };
    let without = pairs.map(|_| direct()).collect::<Result<Vec<_>, _>>()?;
    let direct_bulk = direct()?;
    judge::compare_times(|| {
        let (without, _) = beside_bulk(&direct_bulk, &without)?;
        let (through, _) = beside_bulk(&bulk, &through)?;
        let observed = format!(
            "{through:.1?} for half of the exchanges of {others} clients, {without:.1?} without the proxy"
        );
        Ok((through <= without * 20 + Duration::from_millis(100), observed))
    })
}

/// The least that a bulk transfer carries before exchanges beside it are timed, and again meanwhile: more than buffers hold.
const BULK: u64 = 16 << 20;

/// How many exchanges a pair has at least.
const EXCHANGES: usize = 10;

/// How long half of the exchanges on these connections took at most, while another one was full of bytes from the server;
/// and how many bytes that one carried.
fn beside_bulk(
    (client, server): &(Connection, Connection),
    others: &[(Connection, Connection)],
) -> Result<(Duration, u64), Stop> {
    let chunk = vec![0; 64 << 10];
    let carried = AtomicU64::new(0);
    let (stop, opener) = gate()?;
    thread::scope(|scope| {
        let sending = scope.spawn(|| {
            while !stop.wait(Duration::ZERO) {
                server.send_all(&chunk, PATIENCE)?;
            }
            // Where the receiver is to stop.
            server.send_all(&[1], PATIENCE)
        });
        let receiving = scope.spawn(|| {
            while client.receive_exactly(1, PATIENCE)? != [1] {
                client.receive_exactly(chunk.len() - 1, PATIENCE)?;
                carried.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            }
            Ok(())
        });
        let is_beyond = |bytes| carried.load(Ordering::Relaxed) >= bytes || receiving.is_finished();
        let timed =
            until(PATIENCE, || Ok(is_beyond(BULK).then_some(()).ok_or("no bulk transfer".to_owned())))
                .and_then(|()| {
                    let enough = carried.load(Ordering::Relaxed) + BULK;
                    let mut times = Vec::new();
                    while times.len() < EXCHANGES * others.len() || !is_beyond(enough) {
                        for pair in others {
                            times.push(exchange(pair)?);
                        }
                    }
                    Ok(judge::quantile(times, 2))
                });
        drop(opener);
        let ended =
            |outcome: thread::Result<_>| outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let transfer: io::Result<()> = ended(receiving.join()).and(ended(sending.join()));
        let time = timed?;
        transfer.or_else(|error| broken(format!("the bulk transfer ended: {error}")))?;
        Ok((time, carried.load(Ordering::Relaxed)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exchanges_are_timed_while_the_bulk_transfer_flows() {
        let listener = Listener::bind(PeerOptions::default()).unwrap();
        let pair = || {
            let client = connect(listener.address(), PeerOptions::default()).unwrap();
            (client, listener.accept(PATIENCE).unwrap())
        };
        let (_, carried) = beside_bulk(&pair(), &[pair()]).unwrap();
        assert!(carried >= 2 * BULK, "{carried} bytes");
    }
}

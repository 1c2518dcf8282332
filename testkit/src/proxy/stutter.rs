use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use rand::RngExt;

use crate::proxy::Proxy;
use crate::seed::Seed;

/// Runs `body` while the process of the proxy, if there is one, is stopped for moments again and again.
///
/// On a fast machine a proxy seldom finds more than one thing to do. After a pause it finds bytes, FINs and resets of
/// both sides at once.
pub fn stuttering<T>(proxy: Option<&Proxy>, seed: Seed, body: impl FnOnce() -> T) -> T {
    thread::scope(|scope| {
        let (_until_dropped, over) = channel::<()>();
        if let Some(proxy) = proxy {
            let mut rng = seed.derive("stutter").rng();
            scope.spawn(move || {
                let mut pause = || over.recv_timeout(Duration::from_micros(rng.random_range(100..10_000)));
                while pause() == Err(RecvTimeoutError::Timeout) {
                    // The thread that watches a process notices that it has gone.
                    let _ = proxy.freeze();
                    let _ = pause();
                    let _ = proxy.thaw();
                }
            });
        }
        body()
    })
}

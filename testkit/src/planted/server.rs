use std::fs::File;
use std::io;
use std::mem;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use clap::Args;
use socket2::SockRef;

use super::{Bug, session};

/// A proxy to be started.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// The bug; without it the proxy is correct
    #[arg(long, value_enum)]
    pub bug: Option<Bug>,
    /// Serve one client at a time, while the others wait
    #[arg(long)]
    pub one_at_a_time: bool,
    /// The bytes of a buffer
    #[arg(long, default_value_t = 16_384, value_parser = clap::value_parser!(u32).range(1..))]
    pub buffer: u32,
    /// The seconds that reaching the server may take
    #[arg(long, default_value_t = 10)]
    pub connect: u64,
    /// The seconds after which a silent session is ended of which one direction has ended [default: never]
    #[arg(long)]
    pub half_close: Option<u64>,
    /// The server
    pub host: String,
    /// Its port
    pub port: u16,
    /// The port to listen on
    pub listen: u16,
}

/// Threads do little here, and there are two for each session.
pub(super) const STACK: usize = 128 << 10;

/// How long to wait for a descriptor, or a thread, to be free.
const RETRY: Duration = Duration::from_millis(100);

/// Listens and forwards until killed.
///
/// # Errors
///
/// When it cannot listen.
pub fn serve(options: Options) -> io::Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", options.listen))?;
    let options = Arc::new(options);
    // Inherited by what it accepts, so that no byte comes before it is set.
    SockRef::from(&listener).set_out_of_band_inline(options.bug != Some(Bug::LosesUrgentByte))?;
    loop {
        match listener.accept() {
            Ok((client, _)) if options.one_at_a_time => serve_client(&client, &options),
            Ok((client, _)) => {
                let options = options.clone();
                let thread = thread::Builder::new().stack_size(STACK);
                // Without a thread there is no session: the client is reset.
                let _ = thread.spawn(move || serve_client(&client, &options));
            }
            Err(_) => thread::sleep(RETRY),
        }
    }
}

fn serve_client(client: &TcpStream, options: &Options) {
    if options.bug == Some(Bug::LeaksDescriptor) {
        // If there is none left, there is nothing to leak.
        let _ = File::open("/dev/null").map(mem::forget);
    }
    // An error ends its session alone.
    let _ = session::run(client, options);
}

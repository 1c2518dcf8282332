//! Accepting clients, each with the rings that its session needs.

use std::rc::Rc;

use eventloop::{Listener, Ready, Session};
use ringbuf::Pool;

use crate::limits::Limits;
use crate::proxy_session::ProxySession;

/// A session that accepts up to `max_clients` clients at once. Each gets two rings of `ring_capacity` bytes; `begin`
/// receives it, chooses its destination if that is known already, and spawns it.
///
/// ```
/// use std::net::{TcpListener, TcpStream};
/// use eventloop::testing::{accept, assert_withstands_misbehaving_clients};
/// use eventloop::{ConnectOptions, Connector, EventLoop, Listener, SocketOptions};
/// use relay::{Limits, serve};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // A forwarder to one server, for up to 100 clients.
/// let server = TcpListener::bind("127.0.0.1:0")?;
/// let addresses = [server.local_addr()?];
/// let listener = Listener::bind("127.0.0.1:0".parse()?, SocketOptions::default())?;
/// let address = listener.local_addr()?;
/// let mut event_loop = EventLoop::new()?;
/// event_loop.spawn(serve(listener, 100, 64 * 1024, Limits::default(), move |mut session, ready| {
///     session.connect(Connector::new(&addresses[..], ConnectOptions::default(), ready.now()));
///     ready.spawn(session);
/// }));
/// assert_withstands_misbehaving_clients(&mut event_loop, |event_loop| {
///     let client = TcpStream::connect(address)?;
///     Ok((client, Some(accept(event_loop, &server)?)))
/// });
/// # Ok(()) }
/// ```
///
/// # Panics
///
/// If `ring_capacity` is 0.
pub fn serve(
    listener: Listener,
    max_clients: usize,
    ring_capacity: usize,
    limits: impl Into<Rc<Limits>>,
    mut begin: impl FnMut(ProxySession, &Ready<'_>),
) -> impl Session {
    let (pool, limits) = (Pool::new(ring_capacity, max_clients.saturating_mul(2)), limits.into());
    listener.with_max_clients(max_clients).into_session(move |client, ready| {
        let ring = || pool.reserve().expect("a session keeps its permit longer than its rings");
        begin(ProxySession::new(client, ring(), ring(), limits.clone(), ready.now()), ready);
    })
}

//! x
mod connector;
mod deadlines;
mod event_loop;
mod listener;
mod options;
mod resolver;
mod session;
pub mod signals;
mod source;
pub use connector::{Connect, ConnectError, Connected, Connector};
pub use event_loop::{EventLoop, Handle, SessionId};
pub use listener::{Accept, Listener};
pub use options::SocketOptions;
pub use resolver::{Addresses, Lookup, Resolver, resolve};
pub use session::{Intents, Progress, Ready, Session};
pub use signals::Signals;
pub use source::{Source, Stream, canonical};

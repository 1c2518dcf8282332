//! x
pub mod cli;
mod config;
mod descriptors;
mod destination;
pub mod ending;
pub mod log;
mod proxy;
pub mod relay;
mod session;

pub use config::Config;
pub use proxy::{Proxy, StartError};

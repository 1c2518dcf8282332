//! What operators add to the forwarder: which clients may connect, what is measured, and how it is started and watched.

pub(crate) mod allow;
pub(crate) mod denials;
pub(crate) mod descriptors;
pub(crate) mod metrics;
mod metrics_format;
pub(crate) mod progress;
pub mod proxy_protocol;
pub mod service_manager;
pub(crate) mod session_table;
pub mod status_server;

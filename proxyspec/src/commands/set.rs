//! A proxy between clients and a server, for the commands that play sessions through it.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use clap::Args;
use proxyspec::conform::Subject;
use testkit::descriptors;
use testkit::peer::{Listener, PeerOptions};
use testkit::proxy::Proxy;
use testkit::scenario::Stage;

use crate::commands::subject::SubjectArguments;

#[derive(Debug, Args)]
pub(crate) struct SetArguments {
    /// Let the proxy connect to this host: 127.0.0.1, ::1, or localhost, which is both
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1", value_parser = ["127.0.0.1", "::1", "localhost"])]
    host: String,

    #[command(flatten)]
    subject: SubjectArguments,
}

pub(crate) struct Set {
    pub(crate) stage: Arc<Stage>,
    /// Its process, if it was started here.
    pub(crate) proxy: Option<Proxy>,
    /// What to call it.
    pub(crate) name: String,
}

impl SetArguments {
    /// Starts the proxy and the server, for several clients at once or for one after the other.
    pub(crate) fn build(&self, concurrent: bool) -> Result<Set, String> {
        let (subject, name) = self.subject.subject()?;
        let (addresses, origin, proxy) = match subject {
            Subject::Running { proxy, origin } => {
                let listener = Listener::bind_to(origin, PeerOptions::default())
                    .map_err(|error| format!("cannot listen on {origin}: {error}"))?;
                (vec![proxy], vec![listener], None)
            }
            Subject::Command(recipe) => {
                let origin = listen_at(&self.host).map_err(|error| format!("cannot listen: {error}"))?;
                let port = origin[0].address().port();
                let proxy = recipe.start(&self.host, port).map_err(|error| error.to_string())?;
                let addresses = proxy.loopback_addresses().map_err(|error| error.to_string())?;
                (addresses, origin, Some(proxy))
            }
        };
        // Each session takes half a dozen descriptors of this process. With fewer there are just fewer sessions at once. The
        // proxy was started before, and keeps its limit.
        let _ = descriptors::raise_limit();
        let stage = Stage::new(addresses, origin, concurrent).map_err(|error| error.to_string())?;
        Ok(Set { stage: Arc::new(stage), proxy, name })
    }

    /// These arguments again, for a shell.
    pub(crate) fn words(&self) -> String {
        let host = if self.host == "127.0.0.1" { String::new() } else { format!("--host {} ", self.host) };
        host + &self.subject.words()
    }
}

/// A listener at each address that the host has; all of them at one port.
fn listen_at(host: &str) -> io::Result<Vec<Listener>> {
    let bind = |address: SocketAddr| Listener::bind_to(address, PeerOptions::default());
    match host {
        "127.0.0.1" => Ok(vec![bind((Ipv4Addr::LOCALHOST, 0).into())?]),
        "::1" => Ok(vec![bind((Ipv6Addr::LOCALHOST, 0).into())?]),
        _ => loop {
            let first = bind((Ipv4Addr::LOCALHOST, 0).into())?;
            match bind((Ipv6Addr::LOCALHOST, first.address().port()).into()) {
                // Another socket has that port there: the next one will be another.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                second => return Ok(vec![first, second?]),
            }
        },
    }
}

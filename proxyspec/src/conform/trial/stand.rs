//! A proxy under test with the server behind it, and sessions through both.

use std::net::SocketAddr;
use std::ops::Deref;
use std::thread;
use std::time::Duration;

use super::{PATIENCE, Trial, connect};
use crate::conform::{Stop, broken};
use testkit::peer::{Connection, Listener, Peer, PeerOptions, Report, Script};
use testkit::proxy::Proxy;

/// How long a proxy whose case is over may take to end when asked to; it is killed then.
const STOP_PATIENCE: Duration = Duration::from_millis(300);

/// A proxy that runs as long as this value lives.
///
/// That it has ended by itself meanwhile fails the case, unless the case has taken the process.
#[derive(Debug)]
pub struct RunningProxy<'a> {
    pub(super) trial: &'a Trial,
    pub(super) address: SocketAddr,
    pub(super) proxy: Option<Proxy>,
}

impl RunningProxy<'_> {
    /// Where its clients connect.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    ///
    /// # Errors
    ///
    /// [`Stop::NotApplicable`] when the suite has not started it.
    pub fn proxy(&self) -> Result<&Proxy, Stop> {
        self.proxy.as_ref().ok_or_else(no_process)
    }

    /// Its process, for cases in which it is to end.
    ///
    /// # Errors
    ///
    /// [`Stop::NotApplicable`] when the suite has not started it.
    pub fn take(mut self) -> Result<Proxy, Stop> {
        self.proxy.take().ok_or_else(no_process)
    }
}

impl Drop for RunningProxy<'_> {
    fn drop(&mut self) {
        let Some(mut proxy) = self.proxy.take() else { return };
        let mut notes = self.trial.notes();
        notes.started.retain(|pid| *pid != proxy.pid());
        if let Ok(status) = proxy.wait(Duration::ZERO) {
            let last = proxy.log().pop().map(|line| format!(", after saying {line:?}")).unwrap_or_default();
            notes.deaths.push(format!("the proxy ended by itself: {status}{last}"));
        }
        drop(notes);
        proxy.stop(STOP_PATIENCE);
    }
}

fn no_process() -> Stop {
    Stop::NotApplicable("the process of the proxy is out of reach".to_owned())
}

/// A proxy and the server behind it.
#[derive(Debug)]
pub struct Stand<'a> {
    pub(super) trial: &'a Trial,
    pub(super) listener: Listener,
    pub(super) running: RunningProxy<'a>,
}

impl<'a> Deref for Stand<'a> {
    type Target = RunningProxy<'a>;

    fn deref(&self) -> &RunningProxy<'a> {
        &self.running
    }
}

impl<'a> Stand<'a> {
    /// The server's socket.
    pub const fn listener(&self) -> &Listener {
        &self.listener
    }

    /// The parts it is made of.
    pub fn apart(self) -> (Listener, RunningProxy<'a>) {
        (self.listener, self.running)
    }

    /// A connection of a client.
    ///
    /// # Errors
    ///
    /// [`Stop::Broken`] when there is none.
    pub fn connect(&self, options: PeerOptions) -> Result<Connection, Stop> {
        connect(self.address(), options)
    }

    /// The connection that the proxy has made to the server.
    ///
    /// # Errors
    ///
    /// [`Stop::Broken`] when there is none.
    pub fn accept(&self) -> Result<Connection, Stop> {
        let connection = self.listener.accept(PATIENCE);
        connection.or_else(|error| broken(format!("the proxy did not connect to the server: {error}")))
    }

    /// One session: a client and a server that run these scripts, and what they saw, in this order.
    ///
    /// # Errors
    ///
    /// [`Stop::Broken`] when there is no connection.
    pub fn session(&self, client: Script, server: Script) -> Result<(Report, Report), Stop> {
        self.session_with(PeerOptions::default(), client, server)
    }

    /// The same, which goes on while the case does something else: client and server.
    ///
    /// # Errors
    ///
    /// [`Stop::Broken`] when there is no connection.
    pub fn begin(&self, options: PeerOptions, client: Script, server: Script) -> Result<(Peer, Peer), Stop> {
        let client = Peer::client(self.address(), options, self.trial.of_client(client));
        Ok((client, Peer::of(self.accept()?, self.trial.of_server(server))))
    }

    /// The same with options for the client's socket; those of the server are the listener's.
    ///
    /// # Errors
    ///
    /// [`Stop::Broken`] when there is no connection.
    pub fn session_with(
        &self,
        options: PeerOptions,
        client: Script,
        server: Script,
    ) -> Result<(Report, Report), Stop> {
        let (client, server) = (self.trial.of_client(client), self.trial.of_server(server));
        self.trial.doing(format!("a session of this client: {client:?}\nand this server: {server:?}"));
        thread::scope(|scope| {
            let server = scope.spawn(|| self.accept().map(|connection| connection.run(&server)));
            let client = self.connect(options).map(|connection| connection.run(&client));
            let server = server.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            self.trial.doing("");
            Ok((client?, server?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conform::{Service, Subject};
    use testkit::seed::Seed;

    #[test]
    fn a_proxy_that_has_ended_by_itself_is_remembered() {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
        let subject = Subject::Running { proxy: nowhere, origin: nowhere };
        let trial = Trial::new(subject, Service::ManyAtOnce, Seed::new(1));
        let script = "echo listening on 127.0.0.1:9, forwarding to x:1; echo cannot go on; exit 3";
        let mut proxy = Proxy::command("sh").args(["-c", script]).start().unwrap();
        proxy.wait(PATIENCE).unwrap();
        proxy.wait_for_line(PATIENCE, |line| line == "cannot go on").unwrap();
        drop(RunningProxy { trial: &trial, address: nowhere, proxy: Some(proxy) });
        let said = "the proxy ended by itself: exit status: 3, after saying \"cannot go on\"";
        assert_eq!(trial.deaths(), [said]);
    }
}

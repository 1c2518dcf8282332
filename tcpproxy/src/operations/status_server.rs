//! Metrics and health over HTTP.

mod connection;
mod metrics_format;
mod request;
mod response;

use std::rc::Rc;

use eventloop::{Accept, Intents, Listener, Progress, Ready, Session, Stream};

pub use metrics_format::MetricsFormat;
pub use request::{LONGEST, Method, RequestError, StatusRequest};

use crate::proxy::Shared;
use connection::Connection;
use response::{BAD_REQUEST, METHOD_NOT_ALLOWED, NOT_FOUND, OK, Response, SERVICE_UNAVAILABLE};

/// The session that answers requests for metrics and health. It takes no permits of clients, and ends when the
/// proxy does: it answers as long as there are sessions.
///
/// There are at most [`MOST_CONNECTIONS`]. One more takes the place of the least important, so that idle or
/// slow connections, however many, delay no request.
pub(crate) struct StatusServer {
    shared: Rc<Shared>,
    listener: Listener,
    connections: Vec<Connection>,
}

/// Connections at the same time: a few of Prometheus, of a balancer that checks health, and of a browser.
pub(crate) const MOST_CONNECTIONS: usize = 16;

impl StatusServer {
    pub(crate) fn new(shared: Rc<Shared>, listener: Listener) -> Self {
        Self { shared, listener, connections: Vec::new() }
    }

    /// Serves a new connection, and drops the least important one if there are too many.
    fn admit(&mut self, stream: Stream, ready: &Ready<'_>) {
        let mut connection = Connection::new(stream, ready.now());
        if !connection.advance(ready, true, |request| answer(&self.shared, request)) {
            return;
        }
        if self.connections.len() == MOST_CONNECTIONS
            && let Some((least, _)) =
                self.connections.iter().enumerate().min_by_key(|(_, connection)| connection.importance())
        {
            self.connections.swap_remove(least);
        }
        self.connections.push(connection);
    }
}

impl Session for StatusServer {
    fn intents(&self, intents: &mut Intents<'_>) {
        self.listener.intents(intents);
        for connection in &self.connections {
            connection.intents(intents);
        }
    }

    fn advance(&mut self, ready: &Ready<'_>) -> eventloop::Result<Progress> {
        if self.shared.is_over() {
            return Ok(Progress::Done);
        }
        let shared = &self.shared;
        self.connections
            .retain_mut(|connection| connection.advance(ready, false, |request| answer(shared, request)));
        while let Accept::Client { stream, .. } = self.listener.accept(ready) {
            self.admit(stream, ready);
        }
        Ok(Progress::Continue)
    }
}

fn answer(shared: &Shared, request: Result<StatusRequest, RequestError>) -> Vec<u8> {
    match request {
        Ok(request) => respond(shared, &request).encode(request.method == Method::Head),
        Err(error) => Response::line(BAD_REQUEST, error).encode(false),
    }
}

fn respond(shared: &Shared, request: &StatusRequest) -> Response {
    if request.method == Method::Other {
        return Response {
            fields: "allow: GET, HEAD\r\n",
            ..Response::line(METHOD_NOT_ALLOWED, "only GET and HEAD")
        };
    }
    match request.path.as_str() {
        "/metrics" => Response {
            status: OK,
            content_type: request.format.content_type(),
            fields: "vary: accept\r\n",
            body: shared.metrics_text(request.format),
        },
        "/healthz" if shared.is_stopping() => Response::line(SERVICE_UNAVAILABLE, "draining"),
        "/healthz" => Response::line(OK, "serving"),
        _ => Response::line(NOT_FOUND, "there are /metrics and /healthz"),
    }
}

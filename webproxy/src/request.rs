//! A request as the proxy accepts it.

use http::header::{HOST, HeaderValue};
use http::uri::{Authority, Scheme};
use http::{Method, Request, StatusCode, Uri, Version};
use http1::Framing;

use crate::origin::{HTTP, Origin};
use crate::refusal::Refusal;

/// A request that was accepted, and as it goes on to the origin: with a `Host` and a URI that agree, and without
/// anything that was for this hop.
pub(crate) struct ProxyRequest {
    pub(crate) head: Request<()>,
    pub(crate) origin: Origin,
    /// Of its body.
    pub(crate) framing: Framing,
    /// Whether the client keeps the connection.
    pub(crate) keeps: bool,
}

impl ProxyRequest {
    /// Accepts a request, or says why not. `name` is the proxy's in `Via`.
    pub(crate) fn accept(mut head: Request<()>, name: &str) -> Result<Self, Refusal> {
        if *head.uri() == "*" {
            return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, "request for the proxy itself"));
        }
        let version = head.version();
        let connect = head.method() == Method::CONNECT;
        let origin = origin(head.uri(), connect)
            .ok_or(Refusal::bad_request("not a request for http://HOST[:PORT]/ or to CONNECT HOST:PORT"))?;
        check_host(&head, version)?;
        let framing =
            http1::request_framing(&head).ok_or(Refusal::bad_request("unclear length of the body"))?;
        if connect && framing != Framing::None {
            return Err(Refusal::bad_request("CONNECT with a body")); // RFC 9110, section 9.3.6
        }
        if http1::has_passed(head.headers(), name) {
            return Err(Refusal::new(StatusCode::LOOP_DETECTED, "forwarding loop"));
        }
        if !http1::decrement_max_forwards(&mut head) {
            return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, "request for the proxy itself"));
        }
        // The origin of the URI counts, whatever Host says (RFC 9112, section 3.2.2).
        let authority = origin.to_string();
        *head.uri_mut() =
            with_authority(head.uri(), &authority, connect).ok_or(Refusal::bad_request("malformed URI"))?;
        let host = HeaderValue::try_from(authority).map_err(|_| Refusal::bad_request("malformed host"))?;
        head.headers_mut().insert(HOST, host);
        let keeps = http1::keeps_connection(version, head.headers());
        http1::forward(version, head.headers_mut(), framing, name);
        Ok(Self { head, origin, framing, keeps })
    }

    pub(crate) fn method(&self) -> &Method {
        self.head.method()
    }

    pub(crate) fn is_http10(&self) -> bool {
        self.head.version() == Version::HTTP_10
    }

    pub(crate) fn has_body(&self) -> bool {
        !matches!(self.framing, Framing::None | Framing::Length(0))
    }
}

/// Where a URI points: absolute with the scheme `http`, or for CONNECT an authority alone.
fn origin(uri: &Uri, connect: bool) -> Option<Origin> {
    let form = if connect {
        uri.scheme().is_none() && uri.path_and_query().is_none()
    } else {
        uri.scheme() == Some(&Scheme::HTTP)
    };
    let authority = uri.authority().filter(|_| form)?;
    Origin::parse(authority.as_str(), (!connect).then_some(HTTP))
}

fn with_authority(uri: &Uri, authority: &str, connect: bool) -> Option<Uri> {
    if connect {
        return Some(uri.clone());
    }
    let mut parts = uri.clone().into_parts();
    parts.authority = Some(Authority::try_from(authority).ok()?);
    Uri::from_parts(parts).ok()
}

/// RFC 9112, section 3.2: a request of HTTP/1.1 has one `Host`, and it is valid. Several lines were joined by a comma,
/// which no host has.
fn check_host(head: &Request<()>, version: Version) -> Result<(), Refusal> {
    let valid = match head.headers().get(HOST) {
        None => version == Version::HTTP_10,
        Some(host) if host.is_empty() => true,
        Some(host) => host.to_str().is_ok_and(|host| Origin::parse(host, Some(HTTP)).is_some()),
    };
    if valid { Ok(()) } else { Err(Refusal::bad_request("not one valid Host")) }
}

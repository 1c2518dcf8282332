//! The properties of heads and bodies made of any bytes.
//!
//! The bytes come from proptest (`any_input.rs`) and from a fuzzer (`fuzz/` in the repository).

use http::{HeaderMap, Method, Request, Response};
use http1::{
    Body, Framing, HeadError, HeadReader, Stop, encode_request, encode_response, forward, request_framing,
    response_framing,
};
use ringbuf::RingBuffer;

/// Checks that a head is read the same however its bytes are split, and that the next program reads the forwarded head
/// with the same framing.
pub(crate) fn check_head(bytes: &[u8]) {
    if let Some(mut request) = read(bytes, HeadReader::request, encode_request)
        && let Some(framing) = request_framing(&request)
    {
        forward(request.version(), request.headers_mut(), framing, "proxy");
        let again: Request<()> = read_forwarded(&encode_request(&request), HeadReader::request);
        assert_eq!(again.method(), request.method());
        assert_eq!(request_framing(&again), Some(framing));
        assert_eq!(again.headers(), request.headers());
        assert_only_for_next_hop(again.headers(), framing);
    }
    if let Some(mut response) = read(bytes, HeadReader::response, encode_response)
        && let Some(framing) = response_framing(&Method::GET, &response)
    {
        let outgoing = if framing == Framing::Close { Framing::Chunked } else { framing };
        forward(response.version(), response.headers_mut(), outgoing, "proxy");
        let again: Response<()> = read_forwarded(&encode_response(&response), HeadReader::response);
        assert_eq!(again.status(), response.status());
        assert_eq!(response_framing(&Method::GET, &again), Some(outgoing));
        assert_eq!(again.headers(), response.headers());
        assert_only_for_next_hop(again.headers(), outgoing);
    }
}

/// Checks that no field concerns the last hop (RFC 9110, section 7.6.1).
fn assert_only_for_next_hop(fields: &HeaderMap, framing: Framing) {
    for name in ["connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade"] {
        assert!(!fields.contains_key(name), "{name}");
    }
    assert_eq!(fields.contains_key("transfer-encoding"), framing == Framing::Chunked);
}

type Read<T> = fn(&mut HeadReader, &mut RingBuffer) -> Result<Option<T>, HeadError>;

fn read<T>(bytes: &[u8], read: Read<T>, encode: fn(&T) -> Vec<u8>) -> Option<T> {
    let limit = bytes.len() + 1;
    let shown = |head: Result<Option<T>, HeadError>, rest: &mut RingBuffer| {
        (head.map(|head| head.map(|head| encode(&head))), rest.make_contiguous().to_vec())
    };
    let mut ring = RingBuffer::new(limit + 1);
    let (mut reader, mut split) = (HeadReader::new(limit), Ok(None));
    for at in 0..=bytes.len() {
        split = read(&mut reader, &mut ring);
        if !matches!(split, Ok(None)) {
            assert!(ring.push_all(&bytes[at..]).unwrap());
            break;
        }
        let next = bytes.get(at..=at).unwrap_or_default();
        assert!(ring.push_all(next).unwrap());
    }
    let mut all = RingBuffer::new(limit + 1);
    assert!(all.push_all(bytes).unwrap());
    let whole = read(&mut HeadReader::new(limit), &mut all);
    let head = match &whole {
        Ok(Some(_)) => read(&mut HeadReader::new(limit), &mut holding(bytes, limit + 1)).unwrap(),
        _ => None,
    };
    assert_eq!(shown(split, &mut ring), shown(whole, &mut all));
    head
}

fn read_forwarded<T>(bytes: &[u8], read: Read<T>) -> T {
    let mut ring = holding(bytes, bytes.len() + 1);
    let head = read(&mut HeadReader::new(bytes.len()), &mut ring);
    let head = head.expect("a forwarded head is valid").expect("a forwarded head is complete");
    assert!(ring.is_empty(), "a forwarded head ends with its empty line");
    head
}

fn holding(bytes: &[u8], capacity: usize) -> RingBuffer {
    let mut ring = RingBuffer::new(capacity);
    assert!(ring.push_all(bytes).unwrap());
    ring
}

/// Checks that a body is decoded as the slow reference below decodes it, through rings of any size, and that the same
/// body is written. The first three bytes choose the framing and the sizes.
pub(crate) fn check_body(bytes: &[u8]) {
    let [framing, capacity, piece, body @ ..] = bytes else { return };
    let incoming = match framing % 4 {
        0 => Framing::Length(u64::from(framing / 4)),
        1 => Framing::Close,
        _ => Framing::Chunked,
    };
    let (end, data, used) = match incoming {
        Framing::Length(length) => {
            let used = body.len().min(length as usize);
            let end = if used == length as usize { Stop::Complete } else { Stop::NeedsInput };
            (end, body[..used].to_vec(), used)
        }
        Framing::Close => (Stop::Complete, body.to_vec(), body.len()),
        _ => decode(body),
    };
    for outgoing in [incoming, Framing::Chunked, Framing::Close] {
        if incoming == Framing::Chunked && matches!(outgoing, Framing::Length(_)) {
            continue;
        }
        // The smallest room that a chunk with one byte needs is 13 bytes.
        let mut to = RingBuffer::new(usize::from(*capacity) + 13);
        let mut from = RingBuffer::new(body.len() + 1);
        let (mut forwarded, mut observed, mut sent) = (Body::new(incoming, outgoing), Vec::<u8>::new(), 0);
        let (mut out, mut popped) = (Vec::new(), [0; 256]);
        let stop = loop {
            let more = &body[sent..body.len().min(sent + usize::from(*piece) + 1)];
            assert!(from.push_all(more).unwrap());
            sent += more.len();
            let ended = sent == body.len();
            let stop =
                forwarded.advance_observed(&mut from, ended, &mut to, &mut |data| observed.extend(data));
            let n = to.pop_slice(&mut popped[..usize::from(*piece) + 1]);
            out.extend(&popped[..n]);
            match stop {
                Stop::NeedsRoom => assert!(n > 0, "the body stops although the ring has room"),
                Stop::NeedsInput if !ended => {}
                stop if to.is_empty() => break stop,
                _ => {}
            }
        };
        assert_eq!(stop, end);
        assert_eq!(observed, data);
        assert_eq!(forwarded.is_complete(), end == Stop::Complete);
        if outgoing != Framing::Chunked {
            assert_eq!(out, data);
        } else if end == Stop::Complete {
            assert_eq!(decode(&out), (Stop::Complete, data.clone(), out.len()));
        } else {
            let (stop, partial, _) = decode(&out);
            assert_eq!((stop, partial), (Stop::NeedsInput, data.clone()), "a part of a body is not complete");
        }
        if end == Stop::Complete {
            assert_eq!(
                body.len() - sent + from.len(),
                body.len() - used,
                "bytes behind the body are untouched"
            );
        }
    }
}

/// Decodes a chunked body (RFC 9112, section 7.1) line by line: how it ends, its data, and its length.
fn decode(body: &[u8]) -> (Stop, Vec<u8>, usize) {
    let (mut data, mut at) = (Vec::new(), 0);
    let line =
        |at: usize| body[at..].windows(2).position(|two| two == b"\r\n").map(|end| &body[at..at + end]);
    let is_text = |bytes: &[u8]| bytes.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 127));
    loop {
        let Some(head) = line(at) else { return (Stop::NeedsInput, data, at) };
        let digits = head.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (size, extension) = head.split_at(digits);
        let blank = extension.iter().take_while(|byte| b" \t".contains(byte)).count();
        let size = str::from_utf8(size).ok().filter(|size| size.len() <= 16);
        let Some(size) = size.and_then(|size| u64::from_str_radix(size, 16).ok()) else {
            return (Stop::Malformed, data, at);
        };
        if !(extension.is_empty() || extension[blank..].starts_with(b";")) || !is_text(extension) {
            return (Stop::Malformed, data, at);
        }
        at += head.len() + 2;
        if size == 0 {
            break;
        }
        let there = (body.len() - at).min(usize::try_from(size).unwrap_or(usize::MAX));
        data.extend(&body[at..at + there]);
        at += there;
        match line(at) {
            Some(b"") if there as u64 == size => at += 2,
            Some(_) if there as u64 == size => return (Stop::Malformed, data, at),
            _ => return (Stop::NeedsInput, data, at),
        }
    }
    loop {
        match line(at) {
            None => return (Stop::NeedsInput, data, at),
            Some(b"") => return (Stop::Complete, data, at + 2),
            Some(field) => {
                let name = field.iter().position(|&byte| byte == b':').unwrap_or(0);
                let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
                if name == 0 || !field[..name].iter().all(token) || !is_text(&field[name + 1..]) {
                    return (Stop::Malformed, data, at);
                }
                at += field.len() + 2;
            }
        }
    }
}

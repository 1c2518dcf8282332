//! A parser of requests for the tests, independent of the one they test: it understands one way to say things only.

/// A request as an origin sees it.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) target: String,
    pub(crate) host: String,
}

/// All requests that are complete in these bytes.
///
/// # Errors
///
/// What is not canonical, so that some other program may read it differently.
pub(crate) fn requests(mut bytes: &[u8]) -> Result<Vec<Seen>, String> {
    let mut seen = Vec::new();
    while let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
        let head = str::from_utf8(&bytes[..end]).map_err(|error| error.to_string())?;
        bytes = &bytes[end + 4..];
        let mut lines = head.split("\r\n");
        let [_, target, "HTTP/1.1"] = lines.next().unwrap_or_default().split(' ').collect::<Vec<_>>()[..]
        else {
            return Err(format!("no request line: {head:?}"));
        };
        let mut fields: Vec<(&str, &str)> = Vec::new();
        for line in lines {
            let (name, value) = line.split_once(": ").ok_or_else(|| format!("no field: {line:?}"))?;
            let token =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
            if !name.bytes().all(token) || value.chars().any(char::is_control) {
                return Err(format!("no canonical field: {line:?}"));
            }
            if fields.iter().any(|&(known, _)| known == name) {
                return Err(format!("twice: {name}"));
            }
            fields.push((name, value));
        }
        let field = |name| fields.iter().find(|&&(known, _)| known == name).map(|&(_, value)| value);
        let host = field("host").ok_or("no Host")?.to_owned();
        let rest = match (field("content-length"), field("transfer-encoding")) {
            (None, None) => Some(bytes),
            (Some(length), None) => {
                let number: usize = length.parse().map_err(|_| format!("no length: {length:?}"))?;
                if number.to_string() != length {
                    return Err(format!("no canonical length: {length:?}"));
                }
                bytes.get(number..)
            }
            (None, Some("chunked")) => after_chunks(bytes)?,
            both => return Err(format!("no clear framing: {both:?}")),
        };
        let Some(rest) = rest else { break };
        bytes = rest;
        seen.push(Seen { target: target.to_owned(), host });
    }
    Ok(seen)
}

/// What is behind a chunked body without extensions and trailers; `None` if it is not complete.
fn after_chunks(mut bytes: &[u8]) -> Result<Option<&[u8]>, String> {
    loop {
        let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
        let digits = str::from_utf8(&bytes[..end]).map_err(|error| error.to_string())?;
        let size = usize::from_str_radix(digits, 16).map_err(|_| format!("no size: {digits:?}"))?;
        if format!("{size:x}") != digits {
            return Err(format!("no canonical size: {digits:?}"));
        }
        let Some((data, rest)) = bytes[end + 2..].split_at_checked(size + 2) else { return Ok(None) };
        if !data.ends_with(b"\r\n") {
            return Err(format!("no end of a chunk: {data:?}"));
        }
        bytes = rest;
        if size == 0 {
            return Ok(Some(bytes));
        }
    }
}

//! The lines of the chunked coding (RFC 9112, section 7.1).

use http::header::HeaderName;

/// The size of a chunk and the length of its extensions, in bytes, from a line with its CRLF. `None` if the line is
/// malformed.
///
/// Extensions are not interpreted, but they have to be text: another program may take a control character for the end of
/// the line.
pub(crate) fn chunk_size(line: &[u8]) -> Option<(u64, usize)> {
    let line = line.strip_suffix(b"\r\n")?;
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (size, extensions) = line.split_at(digits);
    let size =
        u64::from_str_radix(str::from_utf8(size).ok().filter(|size| size.len() <= MAX_DIGITS)?, 16).ok()?;
    let begins = extensions.is_empty() || extensions.trim_ascii_start().starts_with(b";");
    (begins && is_text(extensions)).then_some((size, extensions.len()))
}

/// Whether this line, with its CRLF, is a field (RFC 9112, section 5).
pub(crate) fn is_field(line: &[u8]) -> bool {
    let mut parts = line.strip_suffix(b"\r\n").unwrap_or_default().splitn(2, |&byte| byte == b':');
    let (name, value) = (parts.next().unwrap_or_default(), parts.next());
    HeaderName::from_bytes(name).is_ok() && value.is_some_and(is_text)
}

/// The most hexadecimal digits of a `u64`.
const MAX_DIGITS: usize = 16;

/// Whether these bytes may be in a field's value (RFC 9110, section 5.5).
fn is_text(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == b'\t' || byte >= b' ' && byte != 0x7f)
}

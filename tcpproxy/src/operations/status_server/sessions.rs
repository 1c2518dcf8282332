//! The sessions of the moment as JSON, a page at a time.

use std::cmp::Reverse;
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use super::request::StatusRequest;
use crate::operations::session_table::SessionRow;

/// Which sessions a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PageRequest {
    sort: Sort,
    /// Least first, and not greatest first.
    ascending: bool,
    /// From 1 on.
    page: usize,
    limit: usize,
}

/// What sessions are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Age,
    Idle,
    Bytes,
    Up,
    Down,
    Waiting,
}

/// The most sessions of one page.
const MOST: usize = 1000;

/// More bytes than any row has: three addresses of at most 58 bytes, six numbers of at most 20, and the names.
const LONGEST_ROW: usize = 512;

/// How often the text is in memory while an answer is made of it: with its head, and as two strings that grow.
const COPIES: usize = 5;

impl PageRequest {
    /// Reads the parameters of a request.
    ///
    /// # Errors
    ///
    /// What is wrong with one of them.
    pub(super) fn parse(request: &StatusRequest) -> Result<Self, &'static str> {
        let sort = match request.parameter("sort") {
            None | Some("age") => Sort::Age,
            Some("idle") => Sort::Idle,
            Some("bytes") => Sort::Bytes,
            Some("up") => Sort::Up,
            Some("down") => Sort::Down,
            Some("waiting") => Sort::Waiting,
            Some(_) => return Err("sort is one of age, idle, bytes, up, down and waiting"),
        };
        let ascending = match request.parameter("order") {
            None | Some("desc") => false,
            Some("asc") => true,
            Some(_) => return Err("order is one of asc and desc"),
        };
        let number = |name, default: usize, most, error| match request.parameter(name) {
            None => Ok(default),
            Some(text) => text.parse().ok().filter(|number| (1..=most).contains(number)).ok_or(error),
        };
        let page = number("page", 1, usize::MAX, "page is a number from 1 on")?;
        let limit = number("limit", MOST, MOST, "limit is a number from 1 to 1000")?;
        Ok(Self { sort, ascending, page, limit })
    }

    /// The most bytes of memory that the answer takes for this number of sessions.
    pub(super) fn memory(self, sessions: usize) -> usize {
        sessions * size_of::<SessionRow>() + COPIES * sessions.min(self.limit) * LONGEST_ROW
    }

    /// The sessions of this page, and the number of pages.
    fn select(self, rows: &mut [SessionRow]) -> (&[SessionRow], usize) {
        // The address makes the order the same at each request.
        match (self.sort, self.ascending) {
            (sort, true) => rows.sort_unstable_by_key(|row| (sort.key(row), row.client)),
            (sort, false) => rows.sort_unstable_by_key(|row| (Reverse(sort.key(row)), row.client)),
        }
        let pages = rows.len().div_ceil(self.limit).max(1);
        let from = (self.page - 1).saturating_mul(self.limit).min(rows.len());
        let to = from.saturating_add(self.limit).min(rows.len());
        (&rows[from..to], pages)
    }

    /// The page as the members of a JSON object, without its braces.
    pub(super) fn members(self, mut rows: Vec<SessionRow>) -> String {
        let total = rows.len();
        let (selected, pages) = self.select(&mut rows);
        let mut json = format!(
            r#""total":{total},"page":{},"pages":{pages},"limit":{},"sessions":["#,
            self.page, self.limit
        );
        for (at, row) in selected.iter().enumerate() {
            json.push_str(if at == 0 { "\n" } else { ",\n" });
            write_row(&mut json, row);
        }
        json.push_str("\n]");
        json
    }
}

impl Sort {
    fn key(self, row: &SessionRow) -> u128 {
        match self {
            Self::Age => row.age.as_nanos(),
            Self::Idle => row.idle.as_nanos(),
            Self::Bytes => u128::from(row.up) + u128::from(row.down),
            Self::Up => row.up.into(),
            Self::Down => row.down.into(),
            Self::Waiting => (row.up_waiting + row.down_waiting) as u128,
        }
    }
}

/// Addresses and words need no escapes.
fn write_row(json: &mut String, row: &SessionRow) {
    let SessionRow { client, peer, server, phase, age, idle, up, down, up_waiting, down_waiting } = row;
    let [peer, server] = [peer, server].map(optional);
    let [age, idle] = [age, idle].map(Duration::as_millis);
    let _ = write!(
        json, // writing into memory cannot fail
        r#"{{"client":"{client}","peer":{peer},"server":{server},"phase":"{phase}","age_ms":{age},"idle_ms":{idle},"#
    );
    let _ =
        write!(json, r#""up":{up},"down":{down},"up_waiting":{up_waiting},"down_waiting":{down_waiting}}}"#);
}

fn optional(address: &Option<SocketAddr>) -> String {
    address.map_or_else(|| "null".to_owned(), |address| format!("\"{address}\""))
}

/// A string of JSON (RFC 8259, section 7).
pub(super) fn string(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => json.extend(['\\', character]),
            '\0'..='\x1f' => {
                let _ = write!(json, "\\u{:04x}", u32::from(character));
            }
            _ => json.push(character),
        }
    }
    json.push('"');
    json
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::termination::Phase;
    use serde_json::Value;

    fn row(number: u16) -> SessionRow {
        SessionRow {
            client: ([192, 0, 2, 1], number).into(),
            peer: None,
            server: Some(([198, 51, 100, 7], 80).into()),
            phase: Phase::Data,
            age: Duration::from_millis(u64::from(number)),
            idle: Duration::from_millis(u64::from(1000 - number)),
            up: u64::from(number % 10),
            down: 0,
            up_waiting: usize::from(number % 7),
            down_waiting: 1,
        }
    }

    #[track_caller]
    fn page(query: &str, rows: &[SessionRow]) -> Value {
        let request = format!("GET /sessions?{query} HTTP/1.0\n\n");
        let request = StatusRequest::parse(request.as_bytes()).unwrap().unwrap();
        let members = PageRequest::parse(&request).unwrap().members(rows.to_vec());
        serde_json::from_str(&format!("{{{members}}}")).unwrap()
    }

    fn ports(page: &Value) -> Vec<u16> {
        let sessions = page["sessions"].as_array().unwrap().iter();
        let port = |session: &Value| session["client"].as_str().unwrap().rsplit_once(':').unwrap().1.parse();
        sessions.map(|session| port(session).unwrap()).collect()
    }

    #[test]
    fn a_row_says_what_there_is_to_say() {
        let full = SessionRow { peer: Some("[2001:db8::1]:5".parse().unwrap()), ..row(3) };
        let empty = SessionRow { server: None, phase: Phase::Connect, ..row(2) };
        let page = page("", &[full, empty]);
        let row = |client, peer: Value, server: Value, phase, numbers: [u64; 6]| {
            let [age_ms, idle_ms, up, down, up_waiting, down_waiting] = numbers;
            serde_json::json!({
                "client": client, "peer": peer, "server": server, "phase": phase, "age_ms": age_ms,
                "idle_ms": idle_ms, "up": up, "down": down, "up_waiting": up_waiting, "down_waiting": down_waiting,
            })
        };
        let server = Value::from("198.51.100.7:80");
        assert_eq!(
            page["sessions"][0],
            row("192.0.2.1:3", "[2001:db8::1]:5".into(), server, "data", [3, 997, 3, 0, 3, 1])
        );
        assert_eq!(
            page["sessions"][1],
            row("192.0.2.1:2", Value::Null, Value::Null, "connect", [2, 998, 2, 0, 2, 1])
        );
        assert_eq!((&page["total"], &page["pages"], &page["limit"]), (&2.into(), &1.into(), &1000.into()));
    }

    #[test]
    fn pages_are_sorted_and_have_a_thousand_sessions_at_the_most() {
        let rows: Vec<_> = (1..=999).map(row).collect();
        assert_eq!(ports(&page("limit=3", &rows)), [999, 998, 997]);
        assert_eq!(ports(&page("limit=3&sort=idle", &rows)), [1, 2, 3]);
        assert_eq!(ports(&page("limit=3&sort=idle&order=asc", &rows)), [999, 998, 997]);
        assert_eq!(ports(&page("limit=3&sort=bytes", &rows)), [9, 19, 29]);
        assert_eq!(ports(&page("limit=3&sort=up", &rows)), [9, 19, 29]);
        assert_eq!(ports(&page("limit=3&sort=down", &rows)), [1, 2, 3]);
        assert_eq!(ports(&page("limit=3&sort=waiting", &rows)), [6, 13, 20]);
        assert_eq!(ports(&page("limit=500&page=2&order=asc", &rows)), (501..=999).collect::<Vec<_>>());
        assert_eq!(ports(&page("limit=500&page=3", &rows)), [0; 0]);
        assert_eq!(page("page=18446744073709551615", &rows)["pages"], 1);
        let many = [rows.clone(), rows].concat();
        assert_eq!((ports(&page("", &many)).len(), &page("", &many)["pages"]), (1000, &2.into()));
        assert_eq!((ports(&page("", &[])).len(), &page("", &[])["pages"]), (0, &1.into()));
    }

    #[test]
    fn no_row_is_longer_than_is_reckoned_with() {
        let address = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535".parse().unwrap();
        let longest = SessionRow {
            client: address,
            peer: Some(address),
            server: Some(address),
            phase: Phase::Connect,
            age: Duration::from_secs(u64::MAX / 1000),
            idle: Duration::from_secs(u64::MAX / 1000),
            up: u64::MAX,
            down: u64::MAX,
            up_waiting: usize::MAX,
            down_waiting: usize::MAX,
        };
        let mut json = String::new();
        write_row(&mut json, &longest);
        assert!(json.len() < LONGEST_ROW, "{} bytes", json.len());
    }

    #[test]
    fn a_wrong_parameter_is_an_error_that_names_it() {
        for query in ["sort=name", "order=up", "page=0", "page=x", "limit=0", "limit=1001", "limit=-1"] {
            let request = format!("GET /sessions?{query} HTTP/1.0\n\n");
            let request = StatusRequest::parse(request.as_bytes()).unwrap().unwrap();
            let error = PageRequest::parse(&request).unwrap_err();
            assert!(error.starts_with(query.split('=').next().unwrap()), "{query}: {error}");
        }
    }

    #[test]
    fn a_string_is_escaped() {
        for text in ["example.org", "\"\\\n\0\u{1f}</script>é"] {
            assert_eq!(serde_json::from_str::<String>(&string(text)).unwrap(), text);
        }
    }
}

//! The words a peer is composed of on the command line.

use std::time::Duration;

use bytesize::ByteSize;
use testkit::peer::{Pace, Step};

/// What a peer does: connections one after the other, with pauses before them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Program {
    pub(crate) parts: Vec<Part>,
}

#[derive(Clone, Debug)]
pub(crate) enum Part {
    /// Nothing, for a while, without a connection.
    Pause(Duration),
    /// A connection, and two lists of steps that run on it at the same time.
    Connection(Vec<Step>, Vec<Step>),
}

/// How the words are explained to people.
pub(crate) const HELP: &str = include_str!("verbs.txt");

/// How long [`fill`](Step::Fill) waits if no time is given.
const FILLED: Duration = Duration::from_millis(500);

/// Long enough for a program that is started by hand.
const FOR_GOOD: Duration = Duration::from_secs(1000 * 24 * 3600);

impl Program {
    /// Reads the verbs. Each connection begins with the verb `opening`; where `opened`, the first one is there from
    /// the beginning.
    pub(crate) fn parse(words: &[String], opening: &str, opened: bool) -> Result<Self, String> {
        let mut program = Self::default();
        if opened && words.first().is_none_or(|word| word != opening) {
            program.parts.push(Part::Connection(Vec::new(), Vec::new()));
        }
        let mut beside = false;
        for word in words {
            let named = |error: String| format!("{word:?}: {error}");
            if word == opening {
                program.parts.push(Part::Connection(Vec::new(), Vec::new()));
                beside = false;
                continue;
            }
            let last = program.parts.last_mut();
            match (word.as_str(), last) {
                ("beside", Some(Part::Connection(..))) if !beside => beside = true,
                ("beside", Some(Part::Connection(..))) => {
                    return Err(named("two lists of verbs are all that runs on a connection".to_owned()));
                }
                (_, Some(Part::Connection(first, second))) => {
                    (if beside { second } else { first }).push(step(word).map_err(named)?);
                }
                (_, Some(Part::Pause(_)) | None) => match step(word).map_err(named)? {
                    Step::Pause(pause) => program.parts.push(Part::Pause(pause)),
                    _ => return Err(named(format!("there is no connection yet; {opening} comes first"))),
                },
            }
        }
        Ok(program)
    }
}

fn step(word: &str) -> Result<Step, String> {
    let (verb, argument) = word.split_once(':').map_or((word, None), |(verb, text)| (verb, Some(text)));
    let needed = |what: &str| argument.ok_or_else(|| format!("{verb} needs {what}, as in {verb}:{what}"));
    let alone = |step| argument.map_or(Ok(step), |_| Err(format!("{verb} takes no argument")));
    Ok(match verb {
        "send" => {
            let (size, pace) = paced(needed("SIZE")?)?;
            Step::Send(bytes(size)?, pace)
        }
        "say" => Step::Say(unescaped(needed("TEXT")?)?),
        "expect" => Step::Expect(unescaped(needed("TEXT")?)?),
        "fill" => Step::Fill(argument.map_or(Ok(FILLED), time)?),
        "recv" => match paced(needed("SIZE")?)? {
            ("all", pace) => Step::ReceiveAll(pace),
            (size, pace) => Step::Receive(bytes(size)?, pace),
        },
        "echo" => Step::Echo(how(argument.into_iter().flat_map(|text| text.split(',')))?),
        "pause" => Step::Pause(time(needed("TIME")?)?),
        "urgent" => alone(Step::Urgent)?,
        "readable" => alone(Step::Readable)?,
        "acked" => alone(Step::Acknowledged)?,
        "hold" => alone(Step::Pause(FOR_GOOD))?,
        "fin" => alone(Step::Fin)?,
        "rst" => alone(Step::Reset)?,
        "close" => alone(Step::Close)?,
        _ => return Err("there is no such verb; --help explains those there are".to_owned()),
    })
}

/// `1MiB,by:1..100,rate:64KiB`: what comes before the first comma, and how.
fn paced(text: &str) -> Result<(&str, Pace), String> {
    let mut words = text.split(',');
    let amount = words.next().unwrap_or_default();
    Ok((amount, how(words)?))
}

fn how<'a>(words: impl Iterator<Item = &'a str>) -> Result<Pace, String> {
    let (mut pace, mut rate) = (Pace::FAST, None);
    for word in words {
        match word.split_once(':') {
            Some(("by", range)) => {
                let (least, most) = range.split_once("..").unwrap_or((range, range));
                let count = |text| bytes(text).map(|count| usize::try_from(count).unwrap_or(usize::MAX));
                let (least, most) = (count(least)?, count(most)?);
                if least == 0 || least > most || most > MOST_AT_ONCE {
                    return Err(format!("a call moves 1 byte or more and at most 16 MiB, not {range}"));
                }
                pace = Pace::chunks(least..=most);
            }
            Some(("rate", size)) => match bytes(size)? {
                0 => return Err("a rate of 0 is a stall: say pause or hold".to_owned()),
                bytes => rate = Some(bytes),
            },
            _ => return Err(format!("{word:?} is no way to send or receive: by:N, by:N..M or rate:SIZE")),
        }
    }
    Ok(match rate {
        Some(rate) => pace.limited(rate),
        None => pace,
    })
}

/// A buffer of such a size is made for each call.
const MOST_AT_ONCE: usize = 16 << 20;

fn bytes(text: &str) -> Result<u64, String> {
    let size: ByteSize = text.parse().map_err(|_| format!("{text:?} is no size like 100, 64KiB or 1MB"))?;
    Ok(size.as_u64())
}

fn time(text: &str) -> Result<Duration, String> {
    let time =
        humantime::parse_duration(text).map_err(|_| format!("{text:?} is no time like 200ms or 3s"))?;
    Ok(time.min(FOR_GOOD))
}

fn unescaped(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next() {
                Some(b'r') => b'\r',
                Some(b'n') => b'\n',
                Some(b't') => b'\t',
                Some(b'0') => 0,
                Some(b'\\') => b'\\',
                Some(b'x') => {
                    let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
                    match (digit(), digit()) {
                        (Some(high), Some(low)) => (high * 16 + low) as u8,
                        _ => return Err("\\x needs two hexadecimal digits".to_owned()),
                    }
                }
                _ => return Err("after a backslash comes one of r n t 0 \\ xHH".to_owned()),
            },
            byte => byte,
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str, opening: &str, opened: bool) -> Result<String, String> {
        let words: Vec<_> = words.split_whitespace().map(str::to_owned).collect();
        Program::parse(&words, opening, opened).map(|program| format!("{:?}", program.parts))
    }

    #[test]
    fn verbs_become_steps() {
        let fast = format!("{:?}", Pace::FAST);
        assert_eq!(
            parse("pause:5s accept recv:100 send:1KiB fin pause:200ms rst", "accept", false).unwrap(),
            format!(
                "[Pause(5s), Connection([Receive(100, {fast}), Send(1024, {fast}), Fin, Pause(200ms), Reset], [])]"
            )
        );
        assert_eq!(
            parse("fill beside recv:all connect close", "connect", true).unwrap(),
            format!("[Connection([Fill(500ms)], [ReceiveAll({fast})]), Connection([Close], [])]")
        );
        assert_eq!(
            parse("connect readable acked urgent echo", "connect", true).unwrap(),
            format!("[Connection([Readable, Acknowledged, Urgent, Echo({fast})], [])]")
        );
        assert_eq!(parse("", "connect", true).unwrap(), "[Connection([], [])]");
    }

    #[test]
    fn a_transfer_may_have_a_pace() {
        let pace = Pace::chunks(1..=1460).limited(65_536);
        assert_eq!(
            parse("send:10,rate:64KiB,by:1..1460 recv:all,by:7 echo:by:1", "connect", true).unwrap(),
            format!(
                "[Connection([Send(10, {pace:?}), ReceiveAll({:?}), Echo({:?})], [])]",
                Pace::chunks(7..=7),
                Pace::BYTE_AT_A_TIME
            )
        );
    }

    #[test]
    fn a_text_may_hold_any_byte() {
        assert_eq!(unescaped(r"a: b\r\n\x00\xfF\\,").unwrap(), b"a: b\r\n\x00\xff\\,");
        assert!(unescaped(r"\").is_err() && unescaped(r"\x1").is_err() && unescaped(r"\q").is_err());
        let word = "say:GET / HTTP/1.0\\r\\n".to_owned();
        let program = Program::parse(&[word], "connect", true).unwrap();
        assert!(matches!(&program.parts[..], [Part::Connection(steps, _)] if matches!(&steps[..],
            [Step::Say(text)] if text == b"GET / HTTP/1.0\r\n")));
    }

    #[test]
    fn other_words_are_refused_with_the_word_and_the_reason() {
        for (words, reason) in [
            ("sned:1", "\"sned:1\": there is no such verb"),
            ("send", "send needs SIZE, as in send:SIZE"),
            ("send:lots", "\"lots\" is no size"),
            ("send:1,by:0", "a call moves 1 byte or more"),
            ("send:1,by:9..3", "a call moves 1 byte or more"),
            ("send:1,rate:0", "a rate of 0 is a stall"),
            ("send:1,slowly", "\"slowly\" is no way to send"),
            ("pause:5", "\"5\" is no time"),
            ("fin:1", "fin takes no argument"),
            ("beside beside", "two lists of verbs"),
            ("accept", "there is no such verb"),
        ] {
            let error = parse(words, "connect", true).unwrap_err();
            assert!(error.contains(reason), "{words}: {error}");
        }
        let error = parse("recv:1 accept", "accept", false).unwrap_err();
        assert_eq!(error, "\"recv:1\": there is no connection yet; accept comes first");
    }
}

//! HTTP/1.1, as much of it as opencode's hosts use.

use serde_json::Value;
use std::io::{self, BufRead, Read as _, Write};

/// The longest body that is read.
const LONGEST_BODY: usize = 64 << 20;

/// The longest line of a head.
const LONGEST_LINE: u64 = 64 << 10;

/// A request.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub method: String,
    /// Without the query, in its segments.
    pub path: Vec<String>,
    /// The folder that it is about.
    pub directory: Option<String>,
    pub authorization: Option<String>,
    pub body: Value,
}

impl Request {
    /// Reads one; `None` at the end of the connection.
    ///
    /// # Errors
    /// The connection broke, or what came is no request.
    pub fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let Some(line) = line(from)? else { return Ok(None) };
        let mut words = line.split(' ');
        let (Some(method), Some(target)) = (words.next(), words.next()) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let directory = query.split('&').find_map(|pair| pair.strip_prefix("directory="));
        let mut request = Self {
            method: method.to_owned(),
            path: path.split('/').filter(|segment| !segment.is_empty()).map(decoded).collect(),
            directory: directory.map(decoded),
            ..Self::default()
        };
        let mut length = 0;
        while let Some(line) = line_of_head(from)? {
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap_or(0),
                "authorization" => request.authorization = Some(value.trim().to_owned()),
                _ => {}
            }
        }
        if length > LONGEST_BODY {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut body = vec![0; length];
        from.read_exact(&mut body)?;
        request.body = serde_json::from_slice(&body).unwrap_or_default();
        Ok(Some(request))
    }
}

fn line(from: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    from.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)?;
    let text = String::from_utf8_lossy(&line).trim_end().to_owned();
    Ok((!line.is_empty()).then_some(text))
}

/// A header; `None` at the end of the head.
fn line_of_head(from: &mut impl BufRead) -> io::Result<Option<String>> {
    Ok(line(from)?.filter(|line| !line.is_empty()))
}

/// A part of an address, with its `%41` and `+` resolved.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
                digit().zip(digit()).map_or(b'%', |(high, low)| (high * 16 + low) as u8)
            }
            other => other,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Answers with JSON, or with nothing.
///
/// # Errors
/// The connection broke.
pub(super) fn answer(to: &mut impl Write, status: u16, body: Option<&Value>) -> io::Result<()> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    to.write_all((head + &body).as_bytes())
}

/// Begins a stream of events, which lasts as long as the connection.
///
/// # Errors
/// The connection broke.
pub(super) fn begin_stream(to: &mut impl Write) -> io::Result<()> {
    to.write_all(b"HTTP/1.1 200 x\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
}

/// `user:password` as HTTP's Basic authorization has it.
pub(super) fn basic(credentials: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::from("Basic ");
    for group in credentials.as_bytes().chunks(3) {
        let bits =
            group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= group.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_request_is_read_and_the_next_one_begins_after_its_body() {
        let text = "POST /session/a%2Db/abort?x=1&directory=%2Ftmp%2Fa+b HTTP/1.1\r\nAuthorization: Basic eDp5\r\n\
                    Content-Length: 7\r\n\r\n{\"a\":1}GET / HTTP/1.1\r\n\r\n";
        let mut from = text.as_bytes();
        let first = Request::read(&mut from).unwrap().unwrap();
        assert_eq!((first.method.as_str(), first.path.join(" ")), ("POST", "session a-b abort".to_owned()));
        assert_eq!(first.directory.as_deref(), Some("/tmp/a b"));
        assert_eq!((first.authorization, first.body), (Some(basic("x:y")), json!({"a": 1})));
        assert_eq!(Request::read(&mut from).unwrap().unwrap().method, "GET");
        assert!(Request::read(&mut from).unwrap().is_none());
    }
}

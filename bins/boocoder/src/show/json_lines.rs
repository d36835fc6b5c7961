//! Lines of JSON that a terminal shows as they are.

use std::{
    borrow::Cow,
    fmt::Write as _,
    io::{self, BufWriter, Write},
};

use serde::Serialize;

use super::text::is_safe;
use crate::exit::Error;

/// Prints each item as one line.
///
/// # Errors
/// When stdout does not take it.
pub fn print<T: Serialize>(items: &[T]) -> Result<(), Error> {
    write(&mut BufWriter::new(io::stdout().lock()), items)
        .map_err(|error| Error::failed(format!("stdout: {error}")))
}

/// Writes each item as one line, and flushes.
///
/// # Errors
/// Those of the writer.
pub fn write<T: Serialize>(out: &mut impl Write, items: &[T]) -> io::Result<()> {
    for item in items {
        let line = serde_json::to_string(item)?;
        writeln!(out, "{}", escaped(&line))?;
    }
    out.flush()
}

/// The same JSON, with what a terminal obeys as `\u` escapes. JSON itself escapes no more than what lies below U+0020,
/// and agents say what they want (SAFETY A24, A25). Elsewhere than in its strings JSON has none of these characters.
fn escaped(json: &str) -> Cow<'_, str> {
    if json.chars().all(is_safe) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len() + 64);
    for c in json.chars() {
        if is_safe(c) {
            escaped.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        }
    }
    Cow::Owned(escaped)
}

/// A writer of whole lines of JSON that escapes them.
pub struct Escaping<W>(pub W);

impl<W: Write> Write for Escaping<W> {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.0.write_all(escaped(&String::from_utf8_lossy(lines)).as_bytes())?;
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_is_the_same_and_no_terminal_obeys_the_line() {
        let said = "a\u{9b}2J\u{7f}\u{85}\u{202e}\u{1b}[31m\n\t\"\\ ö 漢 😀";
        let mut line = Vec::new();
        write(&mut line, &[said]).unwrap();
        let line = String::from_utf8(line).unwrap();
        assert_eq!(line, "\"a\\u009b2J\\u007f\\u0085\\u202e\\u001b[31m\\n\\t\\\"\\\\ ö 漢 😀\"\n");
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), said);
    }
}

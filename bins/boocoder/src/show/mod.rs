//! What a person sees.

/// A line on stdout. That nobody reads it any more (`boocoder … | head`) is no reason to leave work undone.
macro_rules! say {
    ($($text:tt)*) => {{ use std::io::Write as _; let _ = writeln!(std::io::stdout(), $($text)*); }};
}
/// Text on stdout, likewise.
macro_rules! put {
    ($($text:tt)*) => {{ use std::io::Write as _; let _ = write!(std::io::stdout(), $($text)*); }};
}
/// A line on stderr, likewise.
macro_rules! complain {
    ($($text:tt)*) => {{ use std::io::Write as _; let _ = writeln!(std::io::stderr(), $($text)*); }};
}
/// A question on stderr, likewise.
macro_rules! ask {
    ($($text:tt)*) => {{ use std::io::Write as _; let _ = write!(std::io::stderr(), $($text)*); }};
}

pub mod json_lines;
pub mod log;
pub mod stream;
pub mod table;
pub mod text;
pub mod view;

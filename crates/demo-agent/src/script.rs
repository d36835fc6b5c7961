//! From a prompt's text to directives.

use serde_json::{Value, value::RawValue};
use std::{str::FromStr, time::Duration};

/// One thing to do; what each means is in `language.md`.
#[derive(Debug, PartialEq)]
pub(crate) enum Directive {
    Write { path: String, text: String, append: bool },
    Read(String),
    Delete(String),
    Rename(String, String),
    Mkdir(String),
    Chmod(u32, String),
    Symlink { target: String, path: String },
    Outside(String),
    Say(String),
    Think(String),
    Stream { count: u64, bytes: usize },
    BigText { bytes: usize },
    Plan(Vec<String>),
    Commands(Vec<String>),
    Usage { input: u64, output: u64, cost: f64 },
    Tool { name: String, text: String },
    Ask { title: String, announced: bool },
    History,
    Prompt,
    Settings,
    Help,
    Shell(String),
    Terminal(String),
    Sleep(Duration),
    Stall,
    Env(Option<String>),
    Pwd,
    Fds,
    Pid,
    Misbehave(Misbehaviour),
}

/// Something that no agent should do; what each means is in `language.md`.
#[derive(Debug, PartialEq)]
pub(crate) enum Misbehaviour {
    IgnoreCancel,
    EndTurnWhenCancelled,
    IgnoreSignals,
    IgnoreEof,
    Fork {
        count: usize,
        kinds: Vec<ChildKind>,
    },
    Crash(nix::sys::signal::Signal),
    Exit(u8),
    CloseStdout,
    Garbage(u64),
    LongLine(usize),
    Tiny {
        bytes: usize,
        member: String,
        piece: String,
    },
    Flood(Duration),
    FloodStderr(Duration),
    Stderr(String),
    BadUtf8,
    Nul,
    WrongSession(String),
    Late(String),
    AnswerTwice,
    AnswerNow,
    Error {
        code: i64,
        message: String,
    },
    Stop(String),
    /// JSON as it was written.
    Update(String),
    Notify {
        method: String,
        params: Value,
    },
    Request {
        method: String,
        params: Value,
    },
    StringIds,
    Raw(String),
}

/// How a child tries to escape whoever stops its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChildKind {
    /// An ordinary child.
    Plain,
    /// In a process group of its own.
    Group,
    /// In a session of its own.
    Session,
    /// In a session of its own and no longer our child.
    Daemon,
    /// Without any environment variable by which it could be found again.
    Cleared,
}

impl ChildKind {
    pub const ALL: [Self; 5] = [Self::Plain, Self::Group, Self::Session, Self::Daemon, Self::Cleared];

    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Group => "group",
            Self::Session => "session",
            Self::Daemon => "daemon",
            Self::Cleared => "cleared",
        }
    }
}

/// Reads a prompt; empty when it holds no directive.
///
/// # Errors
/// A sentence that names the line that looks like a directive but is none.
pub(crate) fn parse(prompt: &str) -> Result<Vec<Directive>, String> {
    let mut script = Vec::new();
    for (number, line) in prompt.split('\n').enumerate() {
        let line = line.strip_suffix('\r').unwrap_or(line);
        let Some((word, rest)) = directive_word(line) else { continue };
        let directive =
            directive(word, rest).map_err(|why| format!("line {}: /{word}: {why}", number + 1))?;
        script.push(directive);
    }
    Ok(script)
}

/// `("write", "a.txt hello")` of `/write a.txt hello`; a path such as `/etc/hosts` is prose.
fn directive_word(line: &str) -> Option<(&str, &str)> {
    let rest = line.strip_prefix('/')?;
    let (word, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let named = word.starts_with(|c: char| c.is_ascii_lowercase())
        && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    named.then_some((word, rest))
}

fn directive(word: &str, rest: &str) -> Result<Directive, String> {
    use Directive as D;
    let mut words = Words(rest);
    let directive = match word {
        "write" | "append" => {
            D::Write { path: words.word("PATH")?, text: words.text(), append: word == "append" }
        }
        "read" => D::Read(words.word("PATH")?),
        "delete" => D::Delete(words.word("PATH")?),
        "rename" => D::Rename(words.word("PATH")?, words.word("PATH")?),
        "mkdir" => D::Mkdir(words.word("PATH")?),
        "chmod" => {
            let mode = words.word("OCTAL")?;
            let mode = u32::from_str_radix(&mode, 8).map_err(|_| format!("{mode:?} is no octal mode"))?;
            D::Chmod(mode, words.word("PATH")?)
        }
        "symlink" => D::Symlink { target: words.word("TARGET")?, path: words.word("PATH")? },
        "outside" => D::Outside(words.word("PATH")?),
        "say" => D::Say(words.text()),
        "think" => D::Think(words.text()),
        "stream" => D::Stream { count: words.number("N")?, bytes: words.number_or(20)? },
        "text" => D::BigText { bytes: words.number::<usize>("MIB")?.saturating_mul(1 << 20) },
        "plan" => D::Plan(words.text().split(';').map(|step| step.trim().to_owned()).collect()),
        "commands" => D::Commands(words.all()),
        "usage" => {
            D::Usage { input: words.number("IN")?, output: words.number("OUT")?, cost: words.number_or(0.0)? }
        }
        "tool" => D::Tool { name: words.word("NAME")?, text: words.text() },
        "ask" | "ask-unseen" => D::Ask { title: words.text(), announced: word == "ask" },
        "history" => D::History,
        "prompt" => D::Prompt,
        "settings" => D::Settings,
        "help" => D::Help,
        "shell" => D::Shell(words.line()),
        "terminal" => D::Terminal(words.line()),
        "sleep" => D::Sleep(Duration::from_millis(words.number("MS")?)),
        "stall" => D::Stall,
        "env" => D::Env(words.all().pop()),
        "pwd" => D::Pwd,
        "fds" => D::Fds,
        "pid" => D::Pid,
        _ => return misbehaviour(word, words).map(D::Misbehave),
    };
    words.end()?;
    Ok(directive)
}

fn misbehaviour(word: &str, mut words: Words<'_>) -> Result<Misbehaviour, String> {
    use Misbehaviour as M;
    let misbehaviour = match word {
        "ignore-cancel" => M::IgnoreCancel,
        "end-turn-when-cancelled" => M::EndTurnWhenCancelled,
        "ignore-signals" => M::IgnoreSignals,
        "ignore-eof" => M::IgnoreEof,
        "fork" => M::Fork { count: words.number("N")?, kinds: child_kinds(&words.all())? },
        "crash" => {
            let name = words.all().pop().unwrap_or_else(|| "SIGSEGV".to_owned());
            M::Crash(name.parse().map_err(|_| format!("{name:?} is no signal"))?)
        }
        "exit" => M::Exit(words.number("CODE")?),
        "close-stdout" => M::CloseStdout,
        "garbage" => M::Garbage(words.number("N")?),
        "long-line" => M::LongLine(words.number("BYTES")?),
        "tiny" => {
            M::Tiny { bytes: words.number("BYTES")?, member: words.word("MEMBER")?, piece: words.raw_json()? }
        }
        "flood" => M::Flood(words.seconds()?),
        "flood-stderr" => M::FloodStderr(words.seconds()?),
        "stderr" => M::Stderr(words.text()),
        "bad-utf8" => M::BadUtf8,
        "nul" => M::Nul,
        "wrong-session" => M::WrongSession(words.text()),
        "late" => M::Late(words.text()),
        "answer-twice" => M::AnswerTwice,
        "answer-now" => M::AnswerNow,
        "error" => M::Error { code: words.number("CODE")?, message: words.text() },
        "stop" => M::Stop(words.word("REASON")?),
        "update" => M::Update(words.raw_json()?),
        "notify" => M::Notify { method: words.word("METHOD")?, params: words.json()? },
        "request" => M::Request { method: words.word("METHOD")?, params: words.json()? },
        "string-ids" => M::StringIds,
        "raw" => M::Raw(words.text()),
        _ => return Err("there is no such directive; /help lists them".to_owned()),
    };
    words.end()?;
    Ok(misbehaviour)
}

fn child_kinds(names: &[String]) -> Result<Vec<ChildKind>, String> {
    if names.is_empty() {
        return Ok(ChildKind::ALL.to_vec());
    }
    let kind = |name: &String| {
        let found = ChildKind::ALL.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| format!("{name:?} is no kind of child"))
    };
    names.iter().map(kind).collect()
}

/// What is left of a directive's line.
struct Words<'a>(&'a str);

impl Words<'_> {
    fn word(&mut self, what: &str) -> Result<String, String> {
        let rest = self.0.trim_start();
        let (word, rest) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or_else(|| format!("{what}: a quote is missing"))?,
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        if word.is_empty() {
            return Err(format!("{what} is missing"));
        }
        self.0 = rest.strip_prefix(' ').unwrap_or(rest);
        Ok(unescape(word))
    }

    fn number<T: FromStr>(&mut self, what: &str) -> Result<T, String> {
        let word = self.word(what)?;
        word.parse().map_err(|_| format!("{what}: {word:?} is no number that fits"))
    }

    fn number_or<T: FromStr>(&mut self, default: T) -> Result<T, String> {
        if self.0.trim().is_empty() { Ok(default) } else { self.number("number") }
    }

    fn seconds(&mut self) -> Result<Duration, String> {
        let word = self.word("SECONDS")?;
        let seconds = word.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        seconds.ok_or_else(|| format!("{word:?} is no number of seconds"))
    }

    fn line(&mut self) -> String {
        std::mem::take(&mut self.0).to_owned()
    }

    fn text(&mut self) -> String {
        unescape(std::mem::take(&mut self.0))
    }

    fn all(&mut self) -> Vec<String> {
        std::mem::take(&mut self.0).split_whitespace().map(str::to_owned).collect()
    }

    fn json(&mut self) -> Result<Value, String> {
        serde_json::from_str(&self.raw_json()?).map_err(not_json)
    }

    /// JSON with what no value can hold: the halves of surrogate pairs.
    fn raw_json(&mut self) -> Result<String, String> {
        let text = std::mem::take(&mut self.0).trim();
        let text = if text.is_empty() { "{}" } else { text };
        serde_json::from_str::<&RawValue>(text).map_err(not_json)?;
        Ok(text.to_owned())
    }

    fn end(&self) -> Result<(), String> {
        let rest = self.0.trim();
        if rest.is_empty() { Ok(()) } else { Err(format!("{rest:?} is too much")) }
    }
}

fn not_json(error: serde_json::Error) -> String {
    format!("not JSON: {error}")
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('\\') => out.push('\\'),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_and_paths_are_no_directives() {
        assert_eq!(parse("please look at\n/etc/hosts is wrong\n / say x\n"), Ok(vec![]));
    }

    #[test]
    fn quotes_and_escapes() {
        let script = parse("/write \"a b.txt\" one\\ntwo \\\\n\r\nprose\n/say  x").unwrap();
        let write = Directive::Write { path: "a b.txt".into(), text: "one\ntwo \\n".into(), append: false };
        assert_eq!(script, [write, Directive::Say(" x".into())]);
    }

    #[test]
    fn a_typing_error_is_an_error() {
        assert_eq!(
            parse("x\n/wirte a b").unwrap_err(),
            "line 2: /wirte: there is no such directive; /help lists them"
        );
        assert_eq!(parse("/stream many").unwrap_err(), "line 1: /stream: N: \"many\" is no number that fits");
        assert_eq!(parse("/stall now").unwrap_err(), "line 1: /stall: \"now\" is too much");
        assert_eq!(parse("/write").unwrap_err(), "line 1: /write: PATH is missing");
    }

    #[test]
    fn every_directive_of_the_manual_is_known() {
        let manual = include_str!("language.md").split("```text").nth(1).unwrap();
        let words: Vec<_> = manual
            .split_whitespace()
            .filter_map(|word| word.strip_prefix('/'))
            .filter(|word| {
                !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-' || b == b'8')
            })
            .collect();
        assert!(words.len() > 45, "{words:?}");
        for word in words {
            let unknown = directive(word, "").is_err_and(|why| why.contains("no such directive"));
            assert!(!unknown, "/{word} is in the manual and unknown");
        }
    }
}

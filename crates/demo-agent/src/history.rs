//! Conversations on disk, and the ledger of prompts.

use serde_json::{Value, json};
use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// Who said something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaker {
    User,
    Agent,
}

/// One entry of a conversation.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub speaker: Speaker,
    pub text: String,
}

impl Entry {
    fn to_json(&self) -> Value {
        let speaker = if self.speaker == Speaker::User { "user" } else { "agent" };
        json!({"speaker": speaker, "text": self.text})
    }

    /// The session update that tells it again.
    pub fn to_update(&self) -> Value {
        let kind = match self.speaker {
            Speaker::User => "user_message_chunk",
            Speaker::Agent => "agent_message_chunk",
        };
        json!({"sessionUpdate": kind, "content": {"type": "text", "text": self.text}})
    }

    fn from_json(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        let speaker = if value["speaker"] == "user" { Speaker::User } else { Speaker::Agent };
        Some(Self { speaker, text: value["text"].as_str()?.to_owned() })
    }
}

/// The conversations below a directory, one file of JSON lines each.
#[derive(Debug)]
pub(crate) struct Archive(PathBuf);

impl Archive {
    pub fn open(dir: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        Ok(Self(dir.to_owned()))
    }

    /// Marks a conversation as closed, by an empty file `SESSION.closed`.
    pub fn close(&self, session: &str) -> io::Result<()> {
        File::create(self.file(session)?.with_extension("closed")).map(drop)
    }

    /// Makes the file of a new conversation.
    pub fn create(&self, session: &str) -> io::Result<()> {
        OpenOptions::new().append(true).create_new(true).open(self.file(session)?).map(drop)
    }

    /// Everything said so far; a line that a killed agent left half written is skipped.
    pub fn load(&self, session: &str) -> io::Result<Vec<Entry>> {
        let lines = BufReader::new(File::open(self.file(session)?)?).lines();
        lines.filter_map(|line| line.map(|line| Entry::from_json(&line)).transpose()).collect()
    }

    pub fn append(&self, session: &str, entry: &Entry) -> io::Result<()> {
        self.write(session, &entry.to_json())
    }

    /// Keeps what was set.
    pub fn set(&self, session: &str, option: &str, value: &str) -> io::Result<()> {
        self.write(session, &json!({"set": option, "value": value}))
    }

    /// What was set so far, in order: options and their values.
    pub fn settings(&self, session: &str) -> io::Result<Vec<(String, String)>> {
        let set = |line: String| {
            let value: Value = serde_json::from_str(&line).ok()?;
            Some((value["set"].as_str()?.to_owned(), value["value"].as_str()?.to_owned()))
        };
        let lines = BufReader::new(File::open(self.file(session)?)?).lines();
        lines.filter_map(|line| line.map(set).transpose()).collect()
    }

    fn write(&self, session: &str, entry: &Value) -> io::Result<()> {
        let line = format!("{entry}\n");
        OpenOptions::new().append(true).open(self.file(session)?)?.write_all(line.as_bytes())
    }

    /// An id that is no plain file name is not one of ours.
    fn file(&self, session: &str) -> io::Result<PathBuf> {
        let plain = !session.is_empty()
            && session.len() < 100
            && session.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !plain {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(self.0.join(format!("{session}.jsonl")))
    }
}

/// Appends the ledger's line for a prompt, in a single write: two agents may share one ledger.
pub(crate) fn enter_in_ledger(ledger: &Path, session: &str, prompt: &str) -> io::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
    let first_line: String = prompt.lines().next().unwrap_or("").chars().take(200).collect();
    let first_line = first_line.replace('\t', " ");
    let (bytes, hash) = (prompt.len(), fnv1a(prompt.as_bytes()));
    let line = format!("{now}\t{session}\t{bytes}\t{hash:016x}\t{first_line}\n");
    OpenOptions::new().append(true).create(true).open(ledger)?.write_all(line.as_bytes())
}

/// FNV-1a, 64 bits: enough to tell a test's prompts apart.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

//! The recorded conversations; `tests/transcripts/README.md` describes their format.

use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use serde_json::Value;

/// One scenario of one agent.
pub struct Scenario {
    /// `agent/scenario`.
    pub name: String,
    pub rows: Vec<Row>,
}

pub struct Row {
    pub from: From,
    pub line: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum From {
    Host,
    Agent,
    /// A new process: ids begin anew.
    Spawn,
}

impl Row {
    /// The row as JSON; two lines of the host are none, to see what agents make of it.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_str(&self.line).ok()
    }
}

pub fn all() -> Vec<Scenario> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "gz"));
    files.sort();
    assert_eq!(files.len(), 10);
    files.iter().flat_map(|path| read(path)).collect()
}

fn read(path: &Path) -> Vec<Scenario> {
    let mut text = String::new();
    GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    let agent = path.file_name().unwrap().to_str().unwrap().trim_end_matches(".ndjson.gz");
    let mut scenarios: Vec<Scenario> = Vec::new();
    let mut tails = Vec::new();
    for line in text.split_terminator('\n') {
        let mut row: Value = serde_json::from_str(line).unwrap();
        let mut line = row["line"].as_str().unwrap().to_owned();
        if let Some(tail) = row["tail"].take().as_u64() {
            let tail: &String = &tails[usize::try_from(tail).unwrap()];
            line.push_str(tail);
        }
        let from = match row["dir"].as_str().unwrap() {
            "scenario" => {
                scenarios.push(Scenario { name: format!("{agent}/{line}"), rows: Vec::new() });
                continue;
            }
            "tail" => {
                tails.push(line);
                continue;
            }
            "in" => From::Agent,
            "out" => From::Host,
            "spawn" => From::Spawn,
            _ => continue,
        };
        scenarios.last_mut().unwrap().rows.push(Row { from, line });
    }
    scenarios
}

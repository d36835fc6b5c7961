//! The command line.

use crate::front::stream_json::Options;
use std::{ffi::OsString, path::PathBuf, time::Duration};

/// What the command line asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Args {
    /// Where conversations are kept; `None` forgets them at exit.
    pub state: Option<PathBuf>,
    /// Where a line is appended for every prompt that arrives.
    pub ledger: Option<PathBuf>,
    /// Misbehaviour from the start, in the order given.
    pub faults: Vec<Fault>,
    /// Print the help and end.
    pub help: bool,
    /// What is spoken.
    pub protocol: Protocol,
}

/// What is spoken with the host.
#[derive(Debug, Clone, Default)]
pub(crate) enum Protocol {
    /// The Agent Client Protocol.
    #[default]
    Acp,
    /// What Claude Code speaks.
    StreamJson(Options),
    /// What opencode's server speaks.
    Opencode,
}

/// One misbehaviour from the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    Exit(u8),
    Garbage,
    Silent,
    Slow(Duration),
    Stderr(String),
    Version(u64),
    NoSession,
    Load(LoadFault),
}

/// What is wrong with `session/load`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LoadFault {
    /// Refused, always.
    Refuse,
    /// Never answered.
    Silent,
    /// The history comes after the answer, as gemini's does.
    Late,
    /// The end of the process.
    Exit,
}

impl Args {
    /// Reads the arguments after the program's name.
    ///
    /// # Errors
    /// A sentence that names the argument that is not understood.
    pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let mut parsed = Self {
            state: std::env::var_os("BOOCODER_DEMO_STATE").filter(|dir| !dir.is_empty()).map(PathBuf::from),
            ..Self::default()
        };
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{} needs a value", arg.display()));
            match arg.to_str() {
                Some("--state") => parsed.state = Some(value()?.into()),
                Some("--ledger") => parsed.ledger = Some(value()?.into()),
                Some("--fault") => parsed.faults.push(Fault::parse(&value()?.to_string_lossy())?),
                Some("--help" | "-h") => parsed.help = true,
                // From here on the arguments are those of the program in whose place we are.
                Some("stream-json") => {
                    parsed.protocol = Protocol::StreamJson(Options::parse(args.by_ref()));
                }
                Some("serve") => {
                    parsed.protocol = Protocol::Opencode;
                    args.by_ref().for_each(drop);
                }
                _ => return Err(format!("unknown argument {}", arg.display())),
            }
        }
        Ok(parsed)
    }
}

impl Fault {
    fn parse(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let bad = || format!("fault {name} needs a number, not {value:?}");
        Ok(match name {
            "exit" => Self::Exit(value.parse().map_err(|_| bad())?),
            "garbage" => Self::Garbage,
            "silent" => Self::Silent,
            "slow" => Self::Slow(Duration::from_millis(value.parse().map_err(|_| bad())?)),
            "stderr" => Self::Stderr(value.to_owned()),
            "version" => Self::Version(value.parse().map_err(|_| bad())?),
            "no-session" => Self::NoSession,
            "load" => Self::Load(match value {
                "refuse" => LoadFault::Refuse,
                "silent" => LoadFault::Silent,
                "late" => LoadFault::Late,
                "exit" => LoadFault::Exit,
                _ => return Err(format!("fault load is refuse, silent, late or exit, not {value:?}")),
            }),
            _ => return Err(format!("unknown fault {name:?}")),
        })
    }
}

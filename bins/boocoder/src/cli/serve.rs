//! `boocoder serve`.

use clap::Args;

use dispatch_core::task::Name;

/// Run queued tasks until it is stopped
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Serve {
    /// At most so many turns at once [default: twice the processors, at least 4]
    #[arg(long, value_name = "NUMBER")]
    pub slots: Option<usize>,
    /// At most so many turns of one agent at once; may be given for several agents
    #[arg(long, value_name = "AGENT=NUMBER", value_parser = agent_limit)]
    pub agent_limit: Vec<(Name, usize)>,
    /// Seconds that running turns are given when it is stopped [default: 30]
    #[arg(long, value_name = "SECONDS")]
    pub grace: Option<u64>,
    /// Seconds to wait at the start for a database that cannot be reached
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub wait: u64,
    /// Log one JSON object a line
    #[arg(long)]
    pub json_log: bool,
}

fn agent_limit(text: &str) -> Result<(Name, usize), String> {
    let wrong = || "say AGENT=NUMBER, as in goose=2".to_owned();
    let (agent, limit) = text.split_once('=').ok_or_else(wrong)?;
    Ok((Name::new(agent).ok_or_else(wrong)?, limit.trim().parse().map_err(|_| wrong())?))
}

const HELP: &str = "\
It says `serving: …` on stdout once it takes tasks, and logs on stderr what it does. Any number of them may
serve one record side by side, and beside `boocoder run`. SIGTERM or Ctrl-C stops it: it takes no more tasks,
gives running turns their grace, then stops them; those can be resumed. A second signal ends at once. SIGHUP
does the same, unless it is ignored, as below nohup.

Examples:
  boocoder serve                                  with the record in the data directory
  boocoder serve --slots 8 --agent-limit goose=2  at most eight turns, at most two of them goose's
  BOOCODER_DATABASE_URL=postgres://boo@db/boo boocoder serve --wait 300

Exit codes:
  0    stopped by a signal, everything in order
  1    it had to give up: the record was lost for longer than its lease
  2    the command line or the configuration is wrong
  3    could not start: the record cannot be reached, is newer than this program, or cannot be written
  130  ended at once by a second Ctrl-C
  143  ended at once by a second SIGTERM or SIGHUP";

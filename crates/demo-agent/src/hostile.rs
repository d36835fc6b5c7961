//! Directives that misbehave.

use crate::{
    agent::Refusal,
    script::{ChildKind, Misbehaviour},
    turn::{Flow, Turn, text_block},
    wire::Halt,
};
use nix::{
    libc,
    sys::signal::{SigHandler, Signal, raise, signal},
    unistd::{ForkResult, fork, getpid, setsid, write},
};
use serde_json::{Value, json};
use std::{
    io::{self, Read as _, Write as _},
    os::{fd::AsFd as _, unix::process::CommandExt as _},
    process::Command,
    time::{Duration, Instant},
};

/// How long a hostile child lives if nobody ends it; a failed test must not leave it for good.
const CHILD_SECONDS: &str = "600";

impl Turn<'_> {
    pub fn misbehave(&mut self, misbehaviour: Misbehaviour) -> Result<Flow, Halt> {
        use Misbehaviour as M;
        match misbehaviour {
            M::IgnoreCancel => self.active_mut().ignore_cancel = true,
            M::EndTurnWhenCancelled => self.end_turn_when_cancelled = true,
            M::IgnoreSignals => ignore_signals(),
            M::IgnoreEof => self.agent.wire.ignore_eof = true,
            M::Fork { count, kinds } => self.fork(count, &kinds)?,
            M::Crash(signal) => return Err(self.crash(signal)?),
            M::Exit(code) => {
                self.agent.wire.flush()?;
                return Err(Halt::Exit(code));
            }
            M::CloseStdout => self.agent.wire.close_sink()?,
            M::Garbage(lines) => self.garbage(lines)?,
            M::LongLine(bytes) => {
                self.agent.wire.raw_filler(bytes)?;
                self.agent.wire.raw(b"\n")?;
            }
            M::Tiny { bytes, member, piece } => self.tiny(bytes, &member, &piece)?,
            M::Flood(time) => self.flood(time)?,
            M::FloodStderr(time) => self.flood_stderr(time)?,
            // Nobody may be reading: that is not our trouble.
            M::Stderr(text) => drop(writeln!(io::stderr(), "{text}")),
            M::BadUtf8 => self.chunk_of(b"bad \xff\xfe\xc3\x28 bytes")?,
            M::Nul => {
                self.chunk_of(b"a nul: \\u0000.")?;
                self.chunk_of(b"half a pair: \\ud800.")?;
            }
            M::WrongSession(text) => {
                let update = json!({"sessionUpdate": "agent_message_chunk", "content": text_block(&text)});
                self.agent.update("somebody-elses-session", &update)?;
            }
            M::Late(text) => self.late.push(text),
            M::AnswerTwice => self.answer_twice = true,
            M::AnswerNow => {
                self.answer_now()?;
                self.agent.wire.flush()?;
            }
            M::Error { code, message } => {
                self.refusal = Some(Refusal { code, message });
                return Ok(Flow::End);
            }
            M::Stop(reason) => {
                self.stop_reason = reason;
                return Ok(Flow::End);
            }
            M::Update(update) => {
                let session = Value::from(self.session.as_str());
                let line = format!(
                    r#"{{"jsonrpc":"2.0","method":"session/update","params":{{"sessionId":{session},"update":{update}}}}}"#
                );
                self.agent.wire.raw(format!("{line}\n").as_bytes())?;
            }
            M::Notify { method, params } => {
                self.agent.wire.send(&json!({"jsonrpc": "2.0", "method": method, "params": params}))?;
            }
            M::Request { method, params } => self.ask_anything(&method, params)?,
            M::StringIds => self.agent.wire.string_ids = true,
            M::Raw(text) => self.agent.wire.raw(format!("{text}\n").as_bytes())?,
        }
        Ok(Flow::Next)
    }

    fn ask_anything(&mut self, method: &str, params: Value) -> Result<(), Halt> {
        let text = match self.call(method, params)? {
            Ok(result) => format!("{method} answered {result}\n"),
            Err(error) => format!("{method} refused {error}\n"),
        };
        self.say(&text)
    }

    /// A message chunk whose text is these bytes of JSON.
    fn chunk_of(&mut self, text: &[u8]) -> Result<(), Halt> {
        let (head, tail) = self.chunk_frame();
        self.agent.wire.raw(&head)?;
        self.agent.wire.raw(text)?;
        self.agent.wire.raw(tail)
    }

    fn garbage(&mut self, lines: u64) -> Result<(), Halt> {
        const LINES: [&[u8]; 5] =
            [b"this is no JSON\n", b"{\"jsonrpc\": \"2.0\", \n", b"\n", b"\xff\xfe\x00\n", b"[1, 2\n"];
        for line in LINES.iter().cycle().zip(0..lines) {
            self.agent.wire.raw(line.0)?;
        }
        Ok(())
    }

    fn tiny(&mut self, bytes: usize, member: &str, piece: &str) -> Result<(), Halt> {
        let (session, member) = (Value::from(self.session.as_str()), Value::from(member));
        let begin = format!(
            r#"{{"jsonrpc":"2.0","method":"session/update","params":{{"sessionId":{session},"update":{{"sessionUpdate":"tool_call","toolCallId":"tiny","title":"tiny",{member}:[{piece}"#
        );
        self.agent.wire.raw(begin.as_bytes())?;
        let more = format!(",{piece}").repeat(1000);
        for _ in 0..bytes.saturating_sub(begin.len()) / more.len() {
            self.agent.wire.raw(more.as_bytes())?;
        }
        self.agent.wire.raw(b"]}}}\n")
    }

    fn flood(&mut self, time: Duration) -> Result<(), Halt> {
        let end = Instant::now() + time;
        while Instant::now() < end && !self.cancelled()? {
            for _ in 0..256 {
                self.chunk_of(b"flood flood flood ")?;
            }
        }
        Ok(())
    }

    fn flood_stderr(&mut self, time: Duration) -> Result<(), Halt> {
        let end = Instant::now() + time;
        let line = [b'e'; 999];
        while Instant::now() < end && !self.cancelled()? {
            let _ = writeln!(io::stderr(), "{}", String::from_utf8_lossy(&line));
        }
        Ok(())
    }

    fn fork(&mut self, count: usize, kinds: &[ChildKind]) -> Result<(), Halt> {
        let mut text = String::new();
        for kind in kinds.iter().cycle().take(count) {
            text += &match start_child(*kind) {
                Ok(pid) => format!("{} {pid}\n", kind.name()),
                Err(err) => format!("{} failed: {err}\n", kind.name()),
            };
        }
        self.say(&text)
    }

    /// Dies by a signal; returns only if that signal does not kill.
    fn crash(&mut self, by: Signal) -> Result<Halt, Halt> {
        self.agent.wire.flush()?;
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: a plain system call; it keeps a core file out of the worktree. The default handler
        // takes the place of Rust's own, which would return after a SIGSEGV that is no memory fault.
        unsafe {
            libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
            let _ = signal(by, SigHandler::SigDfl);
        }
        let _ = raise(by);
        Ok(Halt::Exit(1))
    }
}

fn ignore_signals() {
    for name in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT] {
        // SAFETY: to ignore a signal runs no code of ours.
        let _ = unsafe { signal(name, SigHandler::SigIgn) };
    }
}

/// Starts a child that ignores polite signals, holds our pipes open and sleeps; returns its process id.
fn start_child(kind: ChildKind) -> io::Result<i32> {
    let (mut pid, tell) = io::pipe()?;
    let mut command = Command::new("sleep");
    command.arg(CHILD_SECONDS);
    match kind {
        ChildKind::Group => drop(command.process_group(0)),
        ChildKind::Cleared => drop(command.env_clear()),
        ChildKind::Plain | ChildKind::Session | ChildKind::Daemon => {}
    }
    let escape = move || {
        ignore_signals();
        if matches!(kind, ChildKind::Session | ChildKind::Daemon) {
            setsid()?;
        }
        if kind == ChildKind::Daemon {
            // SAFETY: this is the child of a fork, so it has one thread; the parent half ends at once.
            match unsafe { fork()? } {
                ForkResult::Parent { .. } => unsafe { libc::_exit(0) },
                ForkResult::Child => {}
            }
        }
        write(tell.as_fd(), &getpid().as_raw().to_ne_bytes())?;
        Ok(())
    };
    // SAFETY: `escape` makes system calls only; it neither allocates nor takes a lock.
    let mut child = unsafe { command.pre_exec(escape) }.spawn()?;
    if kind == ChildKind::Daemon {
        child.wait()?;
    }
    let mut bytes = [0; 4];
    pid.read_exact(&mut bytes)?;
    Ok(i32::from_ne_bytes(bytes))
}

//! The project's own commands; `cargo xtask help` lists them.
//!
//! A command is a file with a `run` function and a row in [`COMMANDS`]. The standard library is all
//! that is used, here and in `test-postgres`, so that the first command on a bare machine compiles in a
//! second.

mod bench;
mod fix;
mod postgres;
mod process;
mod sim;
mod soak;
mod test;
mod tools;
mod verify;
mod workspace;

use std::process::ExitCode;
use workspace::Workspace;

/// What went wrong, and what to do about it.
#[derive(Debug)]
struct Failure {
    what: String,
    todo: String,
}

impl Failure {
    fn new(what: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { what: what.into(), todo: todo.into() }
    }
}

struct Command {
    name: &'static str,
    about: &'static str,
    run: fn(&Workspace, &[String]) -> Result<(), Failure>,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "verify",
        about: "what CI runs: lints, docs, all tests; changes no file",
        run: verify::run,
    },
    Command {
        name: "test",
        about: "all tests, with what they need; arguments go to nextest",
        run: test::run,
    },
    Command {
        name: "soak",
        about: "every scenario with every real agent; arguments go to nextest",
        run: soak::run,
    },
    Command { name: "sim", about: "replay one seed of the simulation, with its trace", run: sim::run },
    Command { name: "bench", about: "time and memory of the whole path, beside acpx", run: bench::run },
    Command { name: "tools", about: "install the pinned programs into target/tools", run: tools::run },
    Command { name: "fix", about: "format, and apply what clippy can fix", run: fix::run },
];

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let name = args.next().unwrap_or_else(|| "help".to_owned());
    let args: Vec<_> = args.collect();
    if matches!(name.as_str(), "help" | "--help" | "-h") {
        print!("{}", help());
        return ExitCode::SUCCESS;
    }
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        eprint!("xtask: there is no command {name:?}\n\n{}", help());
        return ExitCode::from(2);
    };
    match Workspace::find().and_then(|workspace| (command.run)(&workspace, &args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { what, todo }) => {
            eprintln!("\nxtask {name}: {what}\n  to do: {todo}");
            ExitCode::FAILURE
        }
    }
}

fn help() -> String {
    let rows = COMMANDS.iter().map(|command| format!("  {:8} {}\n", command.name, command.about));
    format!("usage: cargo xtask COMMAND [ARGS]\n\n{}", rows.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_every_command_once() {
        for command in COMMANDS {
            let rows =
                help().lines().filter(|line| line.starts_with(&format!("  {:8} ", command.name))).count();
            assert_eq!(rows, 1, "{}", command.name);
        }
    }
}

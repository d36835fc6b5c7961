//! Running programs, and telling how long it took.

use crate::Failure;
use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Runs a program to its end, its output going where ours goes.
pub fn run_to_end(command: &mut Command, todo: &str) -> Result<(), Failure> {
    let shown = shown(command);
    let status = command.stdin(Stdio::null()).status();
    let status = status.map_err(|err| Failure::new(format!("{shown}: {err}"), todo))?;
    if status.success() { Ok(()) } else { Err(Failure::new(format!("{shown}: {status}"), todo)) }
}

/// What a program prints, without white space around it.
pub fn output(command: &mut Command, todo: &str) -> Result<String, Failure> {
    let shown = shown(command);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.map_err(|err| Failure::new(format!("{shown}: {err}"), todo))?;
    if !output.status.success() {
        return Err(Failure::new(format!("{shown}: {}", output.status), todo));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Steps that run one after another, each with its time.
#[derive(Default)]
pub struct Steps {
    done: Vec<(String, Duration)>,
}

impl Steps {
    /// Runs one step; the first that fails is the last that runs.
    pub fn step(&mut self, name: &str, work: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
        println!("\n== {name}");
        let since = Instant::now();
        let result = work();
        let took = since.elapsed();
        println!(
            "-- {name}: {} in {:.1} s",
            if result.is_ok() { "passed" } else { "FAILED" },
            took.as_secs_f64()
        );
        self.done.push((name.to_owned(), took));
        result
    }

    /// The times once more, all in one place.
    pub fn summary(&self) -> String {
        let row = |name: &str, took: Duration| format!("  {name:12} {:7.1} s\n", took.as_secs_f64());
        let total = self.done.iter().map(|(_, took)| *took).sum();
        let rows: String = self.done.iter().map(|(name, took)| row(name, *took)).collect();
        rows + &row("together", total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_step_that_fails_is_told_with_what_to_do() {
        let mut steps = Steps::default();
        steps.step("good", || run_to_end(&mut Command::new("true"), "nothing")).unwrap();
        let failure =
            steps.step("bad", || run_to_end(Command::new("false").arg("x"), "try again")).unwrap_err();
        assert_eq!((failure.what.as_str(), failure.todo.as_str()), ("false x: exit status: 1", "try again"));
        let missing = run_to_end(&mut Command::new("/no/such/program"), "install it").unwrap_err();
        assert!(missing.what.starts_with("/no/such/program: No such file"), "{}", missing.what);
        assert_eq!(steps.summary().lines().count(), 3);
    }

    #[test]
    fn output_is_what_was_printed() {
        assert_eq!(output(Command::new("echo").arg(" a b "), "nothing").unwrap(), "a b");
    }
}

//! Where the prompt comes from.

use std::{
    fs::File,
    io::{self, IsTerminal, Read},
    path::Path,
};

use crate::{cli::Run, exit::Error};

/// The largest prompt that is taken, in bytes: far more than any model reads.
const LIMIT: u64 = 16 * 1024 * 1024;

/// The prompt: the words of the command line, a file, or stdin.
pub fn read(args: &Run) -> Result<String, Error> {
    let prompt = match (&args.file, args.prompt.as_slice()) {
        (Some(path), _) if path == Path::new("-") => all(io::stdin().lock(), "stdin")?,
        (Some(path), _) => {
            let file = File::open(path).map_err(|error| unreadable(&path.display().to_string(), &error))?;
            all(file, &path.display().to_string())?
        }
        (None, [word]) if word == "-" => all(io::stdin().lock(), "stdin")?,
        (None, []) if !io::stdin().is_terminal() => all(io::stdin().lock(), "stdin")?,
        (None, words) => words.join(" "),
    };
    if prompt.trim().is_empty() {
        let text =
            "the prompt is empty: say what is to be done, as in `boocoder run \"fix the typo in README\"`";
        return Err(Error::usage(text));
    }
    Ok(prompt)
}

fn all(source: impl Read, name: &str) -> Result<String, Error> {
    let mut bytes = Vec::new();
    source.take(LIMIT + 1).read_to_end(&mut bytes).map_err(|error| unreadable(name, &error))?;
    if bytes.len() as u64 > LIMIT {
        return Err(Error::usage(format!("the prompt from {name} is larger than {LIMIT} bytes")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Error::usage(format!("the prompt from {name} is not UTF-8 text: see byte {at}"))
    })
}

fn unreadable(name: &str, error: &io::Error) -> Error {
    Error::usage(format!("the prompt from {name} cannot be read: {error}"))
}

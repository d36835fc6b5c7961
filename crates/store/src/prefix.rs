//! Ids as people type them: by their first few digits.

use std::str::FromStr;

use crate::fault::Fault;

/// The first digits of an id in the table that is called `what`.
#[derive(Debug)]
pub(crate) struct Prefix {
    what: &'static str,
    digits: String,
}

impl Prefix {
    /// What was typed, which need not be an id's beginning.
    ///
    /// # Errors
    ///
    /// [`Fault::Refused`] when it is too short to be meant for one id; [`Fault::NotFound`] when no id begins so.
    pub fn new(what: &'static str, typed: &str) -> Result<Self, Fault> {
        let digits = typed.to_ascii_lowercase();
        if digits.len() < 4 {
            return Err(Fault::Refused(format!("{what} `{digits}`: give at least four digits of its id")));
        }
        let prefix = Self { what, digits };
        if prefix.digits.len() > 32 || !prefix.digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(prefix.not_found());
        }
        Ok(prefix)
    }

    /// Lower case, 4 to 32 of them. Ids that begin with them sort from here to here with a `g` behind, which
    /// sorts behind every digit, so an index finds the range.
    pub fn digits(&self) -> &str {
        &self.digits
    }

    /// The one id among those that begin with the digits; two of them are enough to tell.
    pub fn one_of<T: FromStr>(&self, ids: &[impl AsRef<str>]) -> Result<T, Fault> {
        match ids {
            [] => Err(self.not_found()),
            [id] => id.as_ref().parse().map_err(|_| self.not_found()),
            _ => Err(Fault::Ambiguous { what: self.what, id: self.digits.clone() }),
        }
    }

    fn not_found(&self) -> Fault {
        Fault::NotFound { what: self.what, id: self.digits.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_to_thirty_two_digits_are_looked_up() {
        assert_eq!(Prefix::new("task", "00AF").unwrap().digits(), "00af");
        assert!(Prefix::new("task", &"a".repeat(32)).is_ok());
        assert!(matches!(Prefix::new("task", "00a"), Err(Fault::Refused(_))));
        for nothing in ["00ag", "00a%", &"a".repeat(33)] {
            assert!(matches!(Prefix::new("task", nothing), Err(Fault::NotFound { .. })), "{nothing}");
        }
    }

    #[test]
    fn one_id_is_found_and_two_are_ambiguous() {
        let prefix = Prefix::new("task", "0000").unwrap();
        assert!(matches!(prefix.one_of::<u8>(&[] as &[&str]), Err(Fault::NotFound { .. })));
        assert_eq!(prefix.one_of::<u8>(&["7"]).unwrap(), 7);
        assert!(matches!(prefix.one_of::<u8>(&["7", "8"]), Err(Fault::Ambiguous { .. })));
    }
}

//! Words that are not shown.

use std::{convert::Infallible, fmt, str::FromStr};

use serde::Deserialize;

/// A text that may hold a password: it is shown nowhere by accident, in the debug form of a configuration, say.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text, for whoever needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What may be shown of a database's address: where it is, without user and password. An address that may be
    /// read in two ways is not shown at all.
    pub fn place(&self) -> String {
        const HIDDEN: &str = "an address that is not shown";
        let Some((_, address)) = self.0.split_once("://") else {
            let shown = ["host=", "hostaddr=", "port=", "dbname="];
            let is_shown = |word: &&str| shown.iter().any(|key| word.starts_with(key));
            let is_quoted = self.0.contains(['\'', '\\']);
            let words: Vec<_> = self.0.split_whitespace().filter(is_shown).collect();
            return if is_quoted || words.is_empty() { HIDDEN.to_owned() } else { words.join(" ") };
        };
        let (main, query) = address.split_once('?').unwrap_or((address, ""));
        if query.contains('@') {
            return HIDDEN.to_owned();
        }
        main.rsplit_once('@').map_or(main, |(_, place)| place).to_owned()
    }

    /// Whether a database's address holds a password, as far as can be told.
    pub fn has_password(&self) -> bool {
        let user = self.0.split_once("://").and_then(|(_, address)| address.rsplit_once('@'));
        user.is_some_and(|(user, _)| user.contains(':')) || self.0.contains("password=")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_holds_no_password() {
        for (address, place) in [
            ("postgres://boo:s3cret@db.example:5433/boo", "db.example:5433/boo"),
            ("postgres://boo:s3c@ret@db/boo?application_name=x", "db/boo"),
            ("postgres://boo:s3/ret@db/boo", "db/boo"),
            ("postgresql://db/boo?password=s3cret", "db/boo"),
            ("postgres://boo:s3?cret@db/boo", "an address that is not shown"),
            ("host=db port=5433 user=boo password=s3cret dbname=boo", "host=db port=5433 dbname=boo"),
            ("host=db password='x host=s3cret'", "an address that is not shown"),
            ("s3cret", "an address that is not shown"),
        ] {
            let secret = Secret(address.to_owned());
            assert_eq!(secret.place(), place, "{address}");
            assert_eq!(format!("{secret:?}"), "(secret)");
        }
    }
}

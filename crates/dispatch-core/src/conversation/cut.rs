//! Text that is kept up to a limit.

use crate::task::first_chars;

/// Text joined from pieces and cut at a limit of characters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cut {
    /// At most `limit` characters.
    pub text: String,
    /// Whether there was more.
    pub truncated: bool,
}

impl Cut {
    /// Joins `pieces` until `limit` characters are reached.
    pub fn join<'a>(pieces: impl Iterator<Item = &'a str>, limit: usize) -> Self {
        let mut cut = Self::default();
        let mut left = limit;
        for piece in pieces {
            let kept = first_chars(piece, left);
            cut.text.push_str(kept);
            if kept.len() < piece.len() {
                cut.truncated = true;
                break;
            }
            left -= kept.chars().count();
        }
        cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_counts_characters_across_pieces() {
        let cut = Cut::join(["äö", "ü", "xyz"].into_iter(), 4);
        assert_eq!(cut, Cut { text: "äöüx".into(), truncated: true });
        assert!(!Cut::join(["äö", "ü"].into_iter(), 3).truncated);
    }
}

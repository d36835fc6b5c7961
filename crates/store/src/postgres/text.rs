//! Text that a `text` column can hold.

use std::borrow::Cow;

/// The text with U+0000, which PostgreSQL's text cannot hold, shown as U+2400 (␀).
pub(super) fn shown(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{2400}")) } else { Cow::Borrowed(text) }
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn only_nul_is_replaced() {
        assert_eq!(shown("a\0b\u{1}é\0"), "a␀b\u{1}é␀");
        assert!(matches!(shown("plain"), std::borrow::Cow::Borrowed("plain")));
    }
}

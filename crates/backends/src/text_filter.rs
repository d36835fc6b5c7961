//! Takes opencode's context tags out of streamed text (SPEC T9).
//!
//! opencode's context pruning marks the messages that it shows the model, as in
//! `<dcp-message-id>m0007</dcp-message-id>`, and models repeat the marks in their answers. No recording of a real
//! model doing so exists, so the rule is that of the plugin's own cleaning: an element whose name begins with `dcp`,
//! in any case, goes together with its text, up to the next closing tag of such a name; a tag without a partner goes
//! alone. `<dcp…/>` stands alone.

/// A longer run from `<dcp` without a `>` is text that only looks like a tag, in bytes.
const LONGEST_TAG: usize = 1024;
/// Longer text after an opening tag is the answer itself, and the tag stands alone, in bytes.
const LONGEST_ELEMENT: usize = 8 * 1024;

/// Removes the tags from text that comes in pieces.
#[derive(Debug, Default)]
pub struct TagFilter {
    /// The beginning of what may become a tag or an element.
    held: String,
}

/// What begins at a `<`.
#[derive(Debug, PartialEq, Eq)]
enum Tag {
    /// Something else.
    None,
    /// A tag's beginning, as far as can be seen.
    Partial,
    /// A whole tag of so many bytes.
    Opening(usize),
    /// The same.
    Closing(usize),
    /// The same.
    Empty(usize),
}

impl TagFilter {
    /// Takes the next piece; returns what can be shown now.
    pub fn push(&mut self, text: String) -> String {
        if self.held.is_empty() && !text.contains('<') {
            return text;
        }
        self.held.push_str(&text);
        self.release(false)
    }

    /// Returns what was held back: no more of it will come.
    pub fn flush(&mut self) -> String {
        self.release(true)
    }

    fn release(&mut self, is_last: bool) -> String {
        let text = std::mem::take(&mut self.held);
        let mut shown = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while let Some(at) = rest.find('<') {
            shown.push_str(&rest[..at]);
            rest = &rest[at..];
            let consumed = match tag(rest) {
                Tag::Partial if !is_last => None,
                Tag::None | Tag::Partial => {
                    shown.push('<');
                    Some(1)
                }
                Tag::Closing(length) | Tag::Empty(length) => Some(length),
                Tag::Opening(length) => match element(&rest[length..]) {
                    Some(inner) => Some(length + inner),
                    None if is_last || rest.len() - length > LONGEST_ELEMENT => Some(length),
                    None => None,
                },
            };
            let Some(consumed) = consumed else {
                rest.clone_into(&mut self.held);
                return shown;
            };
            rest = &rest[consumed..];
        }
        shown.push_str(rest);
        shown
    }
}

/// Looks at text that begins with `<`.
fn tag(text: &str) -> Tag {
    let bytes = text.as_bytes();
    let is_closing = bytes.get(1) == Some(&b'/');
    let name = &bytes[1 + usize::from(is_closing)..];
    let seen = name.len().min(3);
    if !name[..seen].eq_ignore_ascii_case(&b"dcp"[..seen]) {
        return Tag::None;
    }
    match text.find('>') {
        Some(end) if end > LONGEST_TAG => Tag::None,
        Some(end) if seen == 3 && is_closing => Tag::Closing(end + 1),
        Some(end) if seen == 3 && text[..end].ends_with('/') => Tag::Empty(end + 1),
        Some(end) if seen == 3 => Tag::Opening(end + 1),
        Some(_) => Tag::None,
        None if text.len() > LONGEST_TAG => Tag::None,
        None => Tag::Partial,
    }
}

/// The length of an element's text with its closing tag; `None` when that has not come.
fn element(text: &str) -> Option<usize> {
    let closing = text.match_indices('<').find_map(|(at, _)| match tag(&text[at..]) {
        Tag::Closing(length) => Some(at + length),
        _ => None,
    });
    closing.filter(|length| *length <= LONGEST_ELEMENT + LONGEST_TAG)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASES: &[(&str, &str)] = &[
        ("plain ä text", "plain ä text"),
        ("a <dcp-message-id>m0007</dcp-message-id>b", "a b"),
        ("a<dcp-x/>b", "ab"),
        ("a<DCP x=\"<1>\">i</Dcp>b", "ab"),
        ("a</dcp-x>b", "ab"),
        ("one <dcp-x>two", "one two"),
        ("1 < 2 <d <dc <b>bold</b>", "1 < 2 <d <dc <b>bold</b>"),
        ("<dcp>ä</dcp><dcp>b</dcp>ü", "ü"),
        ("<dcp-a><dcp-b>x</dcp-b>y</dcp-a>z", "yz"),
        ("cut <dcp-mess", "cut <dcp-mess"),
        ("cut </dc", "cut </dc"),
        ("<", "<"),
        ("<<dcp/>>", "<>"),
        ("a <dc>b", "a <dc>b"),
    ];

    fn filtered<'a>(pieces: impl IntoIterator<Item = &'a str>) -> String {
        let mut filter = TagFilter::default();
        let mut text: String = pieces.into_iter().map(|piece| filter.push(piece.to_owned())).collect();
        text += &filter.flush();
        assert_eq!(filter.flush(), "", "it is flushed once");
        text
    }

    #[test]
    fn tags_go_however_the_text_is_cut() {
        for (text, expected) in CASES {
            assert_eq!(filtered([*text]), *expected, "{text}");
            let bounds: Vec<usize> = (0..=text.len()).filter(|at| text.is_char_boundary(*at)).collect();
            for first in &bounds {
                for second in bounds.iter().filter(|second| *second >= first) {
                    let pieces = [&text[..*first], &text[*first..*second], &text[*second..]];
                    assert_eq!(filtered(pieces), *expected, "{pieces:?}");
                }
            }
            let single = bounds.windows(2).map(|pair| &text[pair[0]..pair[1]]);
            assert_eq!(filtered(single), *expected, "{text}");
        }
    }

    #[test]
    fn text_without_tags_is_not_held_back() {
        let mut filter = TagFilter::default();
        assert_eq!(filter.push("a < b".to_owned()), "a < b");
        assert_eq!(filter.push(" <dc".to_owned()), " ");
        assert_eq!(filter.push("b>".to_owned()), "<dcb>");
    }

    #[test]
    fn what_never_ends_is_shown_at_a_limit() {
        let mut filter = TagFilter::default();
        let endless = format!("<dcp{}", "x".repeat(LONGEST_TAG));
        assert_eq!(filter.push(endless.clone()), endless);
        let mut shown = filter.push("<dcp>".to_owned());
        for _ in 0..=LONGEST_ELEMENT / 10 {
            shown += &filter.push("0123456789".to_owned());
        }
        assert!(shown.len() > LONGEST_ELEMENT && shown.starts_with("0123456789"));
    }
}

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
        let mut closings = Closings { text: &text, searched: 0 };
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
                Tag::Opening(length) => match closings.element(text.len() - rest.len() + length) {
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
    // No further than a tag can reach: the text may be as long as a line, and each `<` in it comes here.
    let seeable = &text[..text.floor_char_boundary(LONGEST_TAG + 1)];
    match seeable.find('>') {
        Some(end) if seen == 3 && is_closing => Tag::Closing(end + 1),
        Some(end) if seen == 3 && text[..end].ends_with('/') => Tag::Empty(end + 1),
        Some(end) if seen == 3 => Tag::Opening(end + 1),
        Some(_) => Tag::None,
        None if text.len() > LONGEST_TAG => Tag::None,
        None => Tag::Partial,
    }
}

/// Finds closing tags from left to right. It remembers how far it has looked, so that many opening tags before one
/// stretch of text do not have it searched many times.
struct Closings<'a> {
    text: &'a str,
    /// No closing tag begins between the place that was asked about last and this one.
    searched: usize,
}

impl Closings<'_> {
    /// The length of an element's text with its closing tag, for text that begins at `from`, which never decreases;
    /// `None` when the tag has not come, or is too far away.
    fn element(&mut self, from: usize) -> Option<usize> {
        let longest = LONGEST_ELEMENT + LONGEST_TAG;
        let end = self.text.floor_char_boundary(from + longest);
        self.searched = self.searched.max(from);
        while let Some(at) = self.text[self.searched..end].find('<') {
            self.searched += at;
            if let Tag::Closing(length) = tag(&self.text[self.searched..]) {
                return Some(self.searched + length - from).filter(|length| *length <= longest);
            }
            self.searched += 1;
        }
        self.searched = end;
        None
    }
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

    /// One delta can be as long as a line; a filter that looks at all the rest at each `<` takes hours over it.
    #[test]
    fn a_long_delta_of_beginnings_takes_linear_time() {
        const DELTA: usize = 16 * 1024 * 1024;
        for (piece, shown) in [("<dcp", "<dcp"), ("<dcp>ä", "ä")] {
            let count = DELTA / piece.len();
            let started = std::time::Instant::now();
            assert!(filtered([piece.repeat(count).as_str()]) == shown.repeat(count), "{piece}");
            assert!(
                started.elapsed() < std::time::Duration::from_secs(20),
                "{piece}: {:?}",
                started.elapsed()
            );
        }
    }

    #[test]
    fn the_limits_count_to_the_byte() {
        let tag = |length: usize| format!("<dcp{}>", "ä".repeat((length - 4) / 2));
        assert_eq!(filtered([format!("a{}b", tag(LONGEST_TAG)).as_str()]), "ab");
        let too_long = format!("a{}b", tag(LONGEST_TAG + 2));
        assert_eq!(filtered([too_long.as_str()]), too_long);
        let element = |inner: usize| format!("<dcp>{}</dcp>b", "x".repeat(inner));
        let longest = LONGEST_ELEMENT + LONGEST_TAG - "</dcp>".len();
        assert_eq!(filtered([element(longest).as_str()]), "b");
        assert_eq!(filtered([element(longest + 1).as_str()]), format!("{}b", "x".repeat(longest + 1)));
    }
}

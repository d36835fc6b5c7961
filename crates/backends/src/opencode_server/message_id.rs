//! Ids of messages in opencode's own form.

use std::time::{SystemTime, UNIX_EPOCH};

/// The digits of opencode's random half.
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// An id for the prompt. opencode lets its clients choose one, and finds a conversation's newest message by the order
/// of the ids: 48 bits of the time in milliseconds, times 4096, as hexadecimal digits, and then 14 random ones.
pub(super) fn new() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let mut random = [0; 14];
    // The time alone would do: within one conversation there is one prompt at a time.
    let _ = getrandom::fill(&mut random);
    let tail: String =
        random.iter().map(|byte| char::from(DIGITS[usize::from(*byte) % DIGITS.len()])).collect();
    format!("msg_{:012x}{tail}", (now << 12) & 0xFFFF_FFFF_FFFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_the_form_of_the_recorded_ones() {
        let (id, recorded) = (new(), "msg_20507d8c1001yyMTQTndoSkgNW");
        assert_eq!(id.len(), recorded.len());
        assert!(
            id[4..16].bytes().all(|c| c.is_ascii_hexdigit())
                && id[16..].bytes().all(|c| c.is_ascii_alphanumeric())
        );
        assert_ne!(id, new());
    }
}

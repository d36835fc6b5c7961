//! What JSON costs in memory once its values are read.

/// What the values of a text may take in memory besides the text, in bytes. Legitimate texts stay far below: what is long
/// in them are strings.
const MOST: usize = 16 * 1024 * 1024;
/// What an object costs: a node of the map that holds its members.
const OBJECT: usize = 700;
/// What a member or an element costs.
const PART: usize = 64;

/// Whether the values of this JSON take little more memory than its text: a list of a million empty ones takes hundreds of
/// times that.
pub fn is_modest(json: &[u8]) -> bool {
    // No byte costs more than one that begins an object.
    json.len() <= MOST / OBJECT || overhead(json) <= MOST
}

/// What the values of this JSON cost in memory besides its text, about, in bytes: from what stands outside of its
/// strings.
pub fn overhead(json: &[u8]) -> usize {
    let (mut cost, mut in_string, mut is_escaped) = (0, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            b'{' if !in_string => cost += OBJECT,
            b',' | b'[' if !in_string => cost += PART,
            _ => {}
        }
    }
    cost
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_grow_in_memory_is_told_from_long_text() {
        for piece in ["{},", "[],", "0,", "{\"a\":1},", "[["] {
            assert!(!is_modest(format!("[{}", piece.repeat(300_000)).as_bytes()), "{piece}");
        }
        let code = "fn f() { [1, 2]; \\\"{\\\" }".repeat(100_000);
        assert!(is_modest(format!("{{\"a\":\"{code}\"}}").as_bytes()));
        assert!(is_modest(&b"{".repeat(20_000)), "it is short");
    }
}

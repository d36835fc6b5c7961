//! Git's C-style quoting of path names (`quote_c_style` with `core.quotePath=true`).

/// `path` in double quotes, with everything escaped that is not printable ASCII.
pub(crate) fn always(path: &[u8]) -> String {
    let mut quoted = String::with_capacity(path.len() + 2);
    quoted.push('"');
    for &byte in path {
        match byte {
            b'"' => quoted.push_str("\\\""),
            b'\\' => quoted.push_str("\\\\"),
            0x07 => quoted.push_str("\\a"),
            0x08 => quoted.push_str("\\b"),
            b'\t' => quoted.push_str("\\t"),
            b'\n' => quoted.push_str("\\n"),
            0x0b => quoted.push_str("\\v"),
            0x0c => quoted.push_str("\\f"),
            b'\r' => quoted.push_str("\\r"),
            b' '..=b'~' => quoted.push(char::from(byte)),
            _ => quoted.push_str(&format!("\\{byte:03o}")),
        }
    }
    quoted.push('"');
    quoted
}

/// `path` as a patch names it: quoted only where that is needed.
pub(crate) fn if_needed(path: &[u8]) -> String {
    match std::str::from_utf8(path) {
        Ok(text) if text.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'"' && b != b'\\') => {
            text.to_owned()
        }
        _ => always(path),
    }
}

//! Git's base 85 (`base85.c`), for binary content in patches.

const DIGITS: &[u8; 85] =
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~";

/// One line: at most 52 bytes, their number as a letter, then five digits for each four bytes.
pub(super) fn line(bytes: &[u8], out: &mut Vec<u8>) {
    let count = bytes.len() as u8;
    out.push(if count <= 26 { b'A' + count - 1 } else { b'a' + count - 27 });
    for chunk in bytes.chunks(4) {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        let mut value = u32::from_be_bytes(word);
        let mut digits = [0; 5];
        for digit in digits.iter_mut().rev() {
            *digit = DIGITS[(value % 85) as usize];
            value /= 85;
        }
        out.extend_from_slice(&digits);
    }
    out.push(b'\n');
}

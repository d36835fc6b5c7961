//! Where ids come from.

/// 16 bytes of the system's randomness.
///
/// # Panics
/// When the kernel has none to give, as then no id would be safe.
#[must_use]
pub fn random_bytes() -> [u8; 16] {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
    bytes
}

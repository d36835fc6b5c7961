//! What marks the processes of one test.

use std::sync::atomic::{AtomicU32, Ordering};

use backends::process::RunTag;

/// A tag that no other test, and no other run of this one, has.
pub fn fresh_tag() -> RunTag {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    RunTag::new(format!("test-{}/{number}", std::process::id())).unwrap()
}

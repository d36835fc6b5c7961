//! This test program is also the supervisor of what it starts.

/// Runs before `main`, which is the test harness's.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = before_main;

extern "C" fn before_main() {
    backends::process::supervise_if_asked();
}

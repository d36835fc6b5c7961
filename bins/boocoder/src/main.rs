//! The dispatcher for coding agents.

fn main() {}

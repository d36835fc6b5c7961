//! The turn machine from outside: what it does with every event in every phase, and how turns end.

mod bench;
mod ends;
mod floods;
mod rules;
mod total;

//! What a person sees.

pub mod log;
pub mod stream;
pub mod table;
pub mod text;

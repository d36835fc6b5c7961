//! A client of OpenAI-compatible Chat Completions, tolerant of the dialects that are about (llama.cpp, llama-swap,
//! ollama, vLLM, hosted services), and bounded whatever they send.

mod answer;
mod api;
mod chunk;
mod fault;
mod incoming;
mod models;
mod pause;

pub(super) use answer::{Answer, AnswerLimits, Finish, Shown, WireCall};
pub(super) use api::{Api, Reading};
pub(super) use fault::Fault;
pub(super) use models::{Models, known_models, loaded_context};
pub(super) use pause::pause;

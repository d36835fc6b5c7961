//! A scripted model server on loopback, so that real agents can be tested without a model.
//!
//! A test says what the model answers ([`Script`], [`Answer`], [`Reply`]) in words that belong to no wire
//! format and to no agent. [`chat_completions`], [`responses`], [`messages`] and [`gemini`] turn that into what
//! OpenAI, Anthropic and Google speak, and back; another format is another module with a
//! [`WireFormat`](wire::WireFormat) and a row in `server.rs`. A [`Call`] becomes a call of the tool that the
//! agent offers for it.
//!
//! Which answer a request gets depends only on the request: on the last prompt in it, which names the
//! script, and on how many answers of the model follow that prompt. So a retried request gets the same answer again,
//! and side requests of the agent (a title for the session, a summary), which offer no tools, get a plain
//! answer, or one that fits the schema they ask for, and use up nothing.
//!
//! ```no_run
//! use boocoder_tests::model_server::{Call, ModelServer, Moment, Reply, Script};
//!
//! let server = ModelServer::start();
//! let script = Script::new().then(Reply::new().call(Call::write("a.txt", "hello\n"))).then(Reply::text("Done."));
//! server.when("make a.txt", script);
//! // … start an agent with server.url(), prompt it with "please make a.txt" …
//! server.wait_for(Moment::Ended, "make a.txt");
//! ```

pub mod chat_completions;
pub mod gemini;
mod log;
pub mod messages;
mod request;
pub mod responses;
mod script;
mod server;
mod side;
mod toolbox;
pub mod wire;

pub use log::Moment;
pub use request::{Message, ModelRequest, Role, Tool, ToolCall};
pub use script::{Answer, Ending, ModelError, Part, Reply, Script, Usage};
pub use server::{ModelServer, NO_SUCH_MODEL};
pub use toolbox::Call;

//! The protocol's method names.

macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident = $wire:literal;)*) => {
        $($(#[$doc])* pub const $name: &str = $wire;)*
        /// All of them; the most frequent first, because a name is looked up from the front.
        pub(crate) const ALL: &[&str] = &[$($name),*];
    };
}

methods! {
    /// Agent to host, notification: what a turn does.
    SESSION_UPDATE = "session/update";
    /// Agent to host: may I?
    REQUEST_PERMISSION = "session/request_permission";
    /// Agent to host: read a file.
    READ_TEXT_FILE = "fs/read_text_file";
    /// Agent to host: write a file.
    WRITE_TEXT_FILE = "fs/write_text_file";
    /// Agent to host: start a command.
    TERMINAL_CREATE = "terminal/create";
    /// Agent to host: what a command has printed.
    TERMINAL_OUTPUT = "terminal/output";
    /// Agent to host: wait for a command's end.
    TERMINAL_WAIT = "terminal/wait_for_exit";
    /// Agent to host: end a command.
    TERMINAL_KILL = "terminal/kill";
    /// Agent to host: forget a command.
    TERMINAL_RELEASE = "terminal/release";
    /// Host to agent: capabilities.
    INITIALIZE = "initialize";
    /// Host to agent: log in.
    AUTHENTICATE = "authenticate";
    /// Host to agent: a new conversation.
    SESSION_NEW = "session/new";
    /// Host to agent: an older conversation, replayed.
    SESSION_LOAD = "session/load";
    /// Host to agent: an older conversation, not replayed.
    SESSION_RESUME = "session/resume";
    /// Host to agent: a turn; answered when it has ended.
    SESSION_PROMPT = "session/prompt";
    /// Host to agent, notification: end the turn.
    SESSION_CANCEL = "session/cancel";
    /// Host to agent: change the mode.
    SESSION_SET_MODE = "session/set_mode";
    /// Host to agent: change the model; older than config options, and not in the schema any more.
    SESSION_SET_MODEL = "session/set_model";
    /// Host to agent: change a config option.
    SESSION_SET_CONFIG_OPTION = "session/set_config_option";
    /// Host to agent: forget a conversation's resources.
    SESSION_CLOSE = "session/close";
}

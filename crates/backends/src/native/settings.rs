//! Where the model is, and the limits of our own loop.

use std::fmt;
use std::time::Duration;

use dispatch_core::task::Name;
use reqwest::Url;
use reqwest::header::HeaderValue;

use super::profile::GRACE;
use crate::launch::Launcher;

/// How native inference works.
#[derive(Debug, Clone)]
pub struct NativeSettings {
    /// The service.
    pub endpoint: Endpoint,
    /// What it wants to see of us, if anything.
    pub api_key: Option<ApiKey>,
    /// The model where a task asks for none; where this names none either, the first that the service lists.
    pub default_model: Option<Name>,
    /// The size of the model's context in tokens, where the service is not to be asked for it.
    pub context_size: Option<u64>,
    /// A proxy's address, for a service that is not reached directly. The environment's are not looked at.
    pub proxy: Option<String>,
    /// How the model's commands are started.
    pub launcher: Launcher,
    /// How long a turn may take to obey a Stop. 10 s; it takes milliseconds.
    pub grace: Duration,
    /// Bounds on a turn.
    pub limits: NativeLimits,
}

impl NativeSettings {
    /// The defaults, with this way to start programs and this service.
    #[must_use]
    pub fn new(launcher: Launcher, endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            api_key: None,
            default_model: None,
            context_size: None,
            proxy: None,
            launcher,
            grace: GRACE,
            limits: NativeLimits::default(),
        }
    }
}

/// Bounds on a turn of our own loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NativeLimits {
    /// The most requests to the model in one turn, those made again not counted. 100.
    pub rounds: u32,
    /// How often a request is made again that the service had no time for. 6, which is half a minute: llama.cpp
    /// refuses while it loads a model.
    pub retries: u32,
    /// The pause before the first of them, doubled for each further one, give or take a quarter. 500 ms.
    pub first_pause: Duration,
    /// The longest that a service may ask us to wait; one that asks for more has refused. 60 s.
    pub longest_pause: Duration,
    /// How long the list of models may take. 10 s.
    pub models: Duration,
    /// How long a command of the model may run, unless the model asks for less. 10 min.
    pub command: Duration,
    /// The most bytes of one answer, its reasoning not counted. 4 MiB.
    pub answer_bytes: usize,
    /// The most bytes of a conversation, whatever the model's context would hold. 8 MiB.
    pub conversation_bytes: usize,
    /// The most bytes of a tool's result that the model is given. 64 KiB.
    pub result_bytes: usize,
}

impl Default for NativeLimits {
    fn default() -> Self {
        Self {
            rounds: 100,
            retries: 6,
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(60),
            models: Duration::from_secs(10),
            command: Duration::from_secs(600),
            answer_bytes: 4 << 20,
            conversation_bytes: 8 << 20,
            result_bytes: 64 << 10,
        }
    }
}

/// The base address of an OpenAI-compatible service, for example `http://127.0.0.1:8080/v1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(Url);

/// The text is not an [`Endpoint`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It cannot be read as an address.
    #[error("the endpoint is not an address such as http://127.0.0.1:8080/v1")]
    NotAnAddress,
    /// It has another scheme.
    #[error("the endpoint's address begins with {scheme}:, not with http: or https:")]
    Scheme {
        /// The scheme.
        scheme: String,
    },
    /// It carries a user, a password, a query or a fragment, which would show up in messages.
    #[error("the endpoint's address holds more than a place; credentials belong into the key")]
    NotAPlace,
}

impl Endpoint {
    /// Reads an address.
    ///
    /// # Errors
    /// See [`EndpointError`].
    pub fn new(text: &str) -> Result<Self, EndpointError> {
        let mut url = Url::parse(text.trim()).map_err(|_| EndpointError::NotAnAddress)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(EndpointError::Scheme { scheme: url.scheme().to_owned() });
        }
        let is_place = url.username().is_empty() && url.password().is_none();
        if !is_place || url.query().is_some() || url.fragment().is_some() {
            return Err(EndpointError::NotAPlace);
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(Self(url))
    }

    /// The address of something below the base.
    pub(super) fn at(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("{}/{path}", self.0.path().trim_end_matches('/')));
        url
    }

    /// The address of something beside the version folder, where servers keep what is not OpenAI's.
    pub(super) fn beside(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        let base = self.0.path().trim_end_matches('/');
        let base = base.strip_suffix("/v1").unwrap_or(base);
        url.set_path(&format!("{base}/{path}"));
        url
    }

    /// Whether it is reached without TLS.
    pub(super) fn is_plain(&self) -> bool {
        self.0.scheme() == "http"
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

/// A key that nobody is shown.
#[derive(Clone)]
pub struct ApiKey {
    key: String,
    header: HeaderValue,
}

/// The key holds characters that HTTP cannot carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key is empty or holds characters that HTTP cannot carry")]
pub struct InvalidKey;

impl ApiKey {
    /// Takes a key, without white space around it.
    ///
    /// # Errors
    /// [`InvalidKey`], which does not tell it.
    pub fn new(key: &str) -> Result<Self, InvalidKey> {
        let key = key.trim();
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidKey);
        }
        let mut header = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| InvalidKey)?;
        header.set_sensitive(true);
        Ok(Self { key: key.to_owned(), header })
    }

    pub(super) fn header(&self) -> HeaderValue {
        self.header.clone()
    }

    /// The text with the key left out.
    pub(super) fn hidden_in(&self, text: &str) -> String {
        text.replace(&self.key, "…")
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_place() {
        let endpoint = Endpoint::new(" http://127.0.0.1:8080/v1/ ").unwrap();
        assert_eq!(endpoint.to_string(), "http://127.0.0.1:8080/v1");
        assert_eq!(endpoint.at("chat/completions").as_str(), "http://127.0.0.1:8080/v1/chat/completions");
        assert_eq!(endpoint.beside("props").as_str(), "http://127.0.0.1:8080/props");
        let bare = Endpoint::new("https://host").unwrap();
        assert_eq!((bare.at("models").as_str(), bare.is_plain()), ("https://host/models", false));
        for bad in ["", "host:80", "ftp://h", "http://u@h", "http://u:p@h", "http://h/?key=x", "http://h/#x"]
        {
            assert!(Endpoint::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_is_never_shown() {
        let key = ApiKey::new(" sk-secret\n").unwrap();
        assert!(!format!("{key:?} {:?}", key.header()).contains("secret"));
        assert_eq!(key.hidden_in("wrong key sk-secret!"), "wrong key …!");
        for bad in ["", " ", "a b", "ä", "a\nb"] {
            assert!(ApiKey::new(bad).is_err(), "{bad:?}");
        }
    }
}

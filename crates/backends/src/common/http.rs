//! HTTP clients, as the routes over HTTP need them.

use std::time::Duration;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How soon a peer that is gone without a word is noticed: asked after that long, five times.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// A client that does what it is told and nothing else: it follows no redirect, repeats no request and takes no
/// proxy from the environment.
pub(crate) fn client() -> reqwest::ClientBuilder {
    // ring, as it builds in a fraction of aws-lc's time. Where the program has chosen one, that one holds.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .connect_timeout(CONNECT)
        .tcp_keepalive(KEEPALIVE)
        .tcp_keepalive_interval(KEEPALIVE)
        .tcp_keepalive_retries(5)
}

/// A client for plain HTTP, which reads no certificates: not every machine has some.
pub(crate) fn plain_client() -> reqwest::ClientBuilder {
    client().tls_certs_only([])
}

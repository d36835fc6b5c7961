//! A small scripted ACP agent: the product's fallback and the tests' fake.

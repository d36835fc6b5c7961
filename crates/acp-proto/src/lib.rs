//! The Agent Client Protocol: a bounded codec, tolerant types and a client connection.

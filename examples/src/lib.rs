//! Short runnable programs that embed the libraries.

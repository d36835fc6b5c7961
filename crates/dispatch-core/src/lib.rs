//! What happens next: the pure dispatch state machine, its vocabulary and its ports.

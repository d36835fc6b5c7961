//! How much of a conversation fits the model's context.

/// Bytes of a token before the service has counted some: English has four, code and other languages less.
const BYTES_PER_TOKEN: f64 = 3.5;
/// What is kept for the answer: a quarter of the context, at most so many tokens.
const ANSWER: u64 = 16_384;

/// What is known of the model's context, and how tokens are counted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    /// In tokens; `None` where nobody knows.
    pub(super) size: Option<u64>,
    /// Bytes, whatever the context would hold.
    most: usize,
    bytes_per_token: f64,
    /// Whether the service has counted.
    pub(super) is_counted: bool,
}

impl Budget {
    pub(super) const fn new(size: Option<u64>, most: usize) -> Self {
        Self { size, most, bytes_per_token: BYTES_PER_TOKEN, is_counted: false }
    }

    /// The service says how many tokens a request of so many bytes has.
    pub(super) fn count(&mut self, bytes: usize, tokens: u64) {
        if tokens > 0 && bytes > 0 {
            // Odd figures must not make the conversation vanish.
            self.bytes_per_token = (bytes as f64 / tokens as f64).clamp(1.0, 8.0);
            self.is_counted = true;
        }
    }

    /// How many tokens so many bytes have, about.
    pub(super) fn tokens(&self, bytes: usize) -> u64 {
        (bytes as f64 / self.bytes_per_token).ceil() as u64
    }

    /// The most bytes of a request.
    pub(super) fn bytes(&self) -> usize {
        let Some(size) = self.size else { return self.most };
        let room = size - (size / 4).min(ANSWER);
        let bytes = room as f64 * self.bytes_per_token;
        self.most.min(bytes as usize)
    }

    /// What a request that is too long is shortened to: less than what would fit, so that it is not shortened again
    /// at once, which would cost the service its cache.
    pub(super) fn target(&self) -> usize {
        self.bytes() / 4 * 3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_counts_better_than_we_do() {
        let mut budget = Budget::new(Some(8192), 1 << 20);
        assert_eq!((budget.tokens(7000), budget.bytes()), (2000, 21504));
        budget.count(8000, 4000);
        assert_eq!((budget.tokens(7000), budget.bytes(), budget.target()), (3500, 12288, 9216));
        budget.count(8000, 0);
        budget.count(8000, 1);
        assert_eq!(budget.tokens(8000), 1000);
        assert_eq!(Budget::new(None, 1 << 20).bytes(), 1 << 20);
        assert_eq!(Budget::new(Some(u64::MAX), 1 << 20).bytes(), 1 << 20);
        assert_eq!(Budget::new(Some(1), 1 << 20).bytes(), 3);
    }
}

//! What a turn has used: sums over its requests.

use dispatch_core::agent::{Cost, Usage};

/// Sums of what the service reported.
#[derive(Debug, Default)]
pub(super) struct Totals(Usage);

impl Totals {
    /// Adds what one request used.
    pub(super) fn add(&mut self, request: &Usage) {
        let add = |sum: &mut Option<u64>, more: Option<u64>| {
            if let Some(more) = more {
                *sum = Some(sum.unwrap_or(0).saturating_add(more));
            }
        };
        add(&mut self.0.input_tokens, request.input_tokens);
        add(&mut self.0.output_tokens, request.output_tokens);
        let both = request
            .input_tokens
            .zip(request.output_tokens)
            .map(|(read, written)| read.saturating_add(written));
        add(&mut self.0.total_tokens, request.total_tokens.or(both));
        add(&mut self.0.cached_tokens, request.cached_tokens);
        if let Some(Cost { amount, currency }) = &request.cost {
            let sum = self.0.cost.get_or_insert_with(|| Cost { amount: 0.0, currency: currency.clone() });
            sum.amount += amount;
        }
    }

    /// The context in use now, of this size.
    pub(super) fn context(&mut self, used: u64, size: Option<u64>) {
        self.0.context_used = Some(used);
        self.0.context_size = size;
    }

    pub(super) fn usage(&self) -> Usage {
        self.0.clone()
    }
}

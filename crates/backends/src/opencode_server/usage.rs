//! Tokens and costs of a turn: the sum over the model's calls, of which opencode reports each as a message.

use std::collections::HashMap;

use dispatch_core::agent::{Cost, Usage};

use super::wire::{Info, Tokens};

/// Messages that are told apart. Each of a turn's model calls is one.
const MOST: usize = 4096;

/// What a turn used so far.
#[derive(Debug, Default)]
pub(super) struct Meter {
    calls: HashMap<String, Call>,
    context_used: Option<u64>,
}

#[derive(Debug, Default, Clone, PartialEq)]
struct Call {
    input: u64,
    output: u64,
    total: u64,
    cached: u64,
    cost: f64,
}

impl Meter {
    /// Takes what a message reports; returns the turn's usage when it changed. `is_turns_own` is false for calls that
    /// do not stand for the conversation's context: compaction, and agents that the turn started.
    pub(super) fn count(&mut self, info: &Info, is_turns_own: bool) -> Option<Usage> {
        let tokens = info.tokens.filter(|tokens| *tokens != Tokens::default())?;
        let call = Call::new(tokens, info.cost);
        let has_room = self.calls.len() < MOST;
        match self.calls.get_mut(&info.id) {
            // A message that was asked for again may be older than what its events told.
            Some(known) if call.total < known.total || *known == call => return None,
            Some(known) => *known = call.clone(),
            None if has_room => drop(self.calls.insert(info.id.clone(), call.clone())),
            None => return None,
        }
        if is_turns_own {
            self.context_used = Some(call.total);
        }
        Some(self.usage())
    }

    /// The turn's usage so far; empty when nothing was reported.
    pub(super) fn usage(&self) -> Usage {
        if self.calls.is_empty() {
            return Usage::default();
        }
        let sum = |of: fn(&Call) -> u64| Some(self.calls.values().map(of).fold(0, u64::saturating_add));
        let amount: f64 = self.calls.values().map(|call| call.cost).sum();
        Usage {
            input_tokens: sum(|call| call.input),
            output_tokens: sum(|call| call.output),
            total_tokens: sum(|call| call.total),
            cached_tokens: sum(|call| call.cached),
            context_used: self.context_used,
            context_size: None,
            cost: amount.is_finite().then(|| Cost { amount, currency: "USD".to_owned() }),
        }
    }
}

impl Call {
    /// opencode's `input` is without what came from a cache or went into one; ours is with it. Its `total`, where it
    /// gives one, is the service's own, so that what was written follows from it.
    fn new(tokens: Tokens, cost: Option<f64>) -> Self {
        let input = tokens.input + tokens.cache.read + tokens.cache.write;
        let output = tokens.output + tokens.reasoning;
        let total = tokens.total.unwrap_or(input + output);
        let output = if tokens.total.is_some() && total >= input { total - input } else { output };
        Self {
            input: whole(input),
            output: whole(output),
            total: whole(total),
            cached: whole(tokens.cache.read),
            cost: cost.filter(|cost| cost.is_finite() && *cost >= 0.0).unwrap_or(0.0),
        }
    }
}

/// JSON has one kind of number. Casting saturates: below zero and no number become 0.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count of tokens is far below 2^53"
)]
fn whole(count: f64) -> u64 {
    count as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn info(id: &str, tokens: serde_json::Value, cost: f64) -> Info {
        serde_json::from_value(json!({"id": id, "role": "assistant", "tokens": tokens, "cost": cost}))
            .unwrap()
    }

    #[test]
    fn a_turn_is_the_sum_of_its_calls_each_counted_once() {
        let mut meter = Meter::default();
        let zero = json!({"input": 0, "output": 0, "reasoning": 0, "cache": {"read": 0, "write": 0}});
        assert_eq!(
            meter.count(&info("a", zero.clone(), 0.0), true),
            None,
            "a call that begins has used nothing"
        );
        let first = json!({"total": 130, "input": 20, "output": 10, "cache": {"read": 100, "write": 0}});
        assert!(meter.count(&info("a", first.clone(), 0.5), true).is_some());
        assert_eq!(meter.count(&info("a", first, 0.5), true), None, "told twice");
        assert_eq!(meter.count(&info("a", zero, 0.0), true), None, "told late");
        let second = json!({"input": 200, "output": 5, "reasoning": 7, "cache": {"read": 0, "write": 0}});
        meter.count(&info("b", second.clone(), 0.25), true);
        meter.count(&info("c", second, 0.25), false);
        let usage = meter.usage();
        assert_eq!((usage.input_tokens, usage.output_tokens), (Some(120 + 200 + 200), Some(10 + 12 + 12)));
        assert_eq!((usage.total_tokens, usage.cached_tokens), (Some(130 + 212 + 212), Some(100)));
        assert_eq!((usage.context_used, usage.cost.unwrap().amount), (Some(212), 1.0));
    }
}

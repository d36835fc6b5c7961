//! Tokens and costs, wherever an agent reports them.

use acp_proto::RawJson;
use acp_proto::schema::UsageUpdate;
use acp_proto::types::{TurnEnd, Usage as WireUsage};
use dispatch_core::agent::{Cost, Usage};
use serde::Deserialize;

/// What a `usage_update` says. Its cost is the turn's: agents add up what a process has cost (claude begins at zero
/// after a load, too), and each turn has a process of its own.
pub(super) fn of_update(update: &UsageUpdate) -> Usage {
    let cost = update.cost.as_ref().filter(|cost| cost.amount.is_finite() && cost.amount >= 0.0);
    Usage {
        context_used: Some(update.used),
        context_size: Some(update.size).filter(|size| *size > 0),
        cost: cost.map(|cost| Cost { amount: cost.amount, currency: cost.currency.clone() }),
        ..Usage::default()
    }
}

/// What the answer to a prompt says: in `usage`, else in gemini's `_meta.quota.token_count`.
pub(super) fn of_end(end: &TurnEnd) -> Usage {
    #[derive(Deserialize)]
    struct Meta {
        quota: Quota,
    }
    #[derive(Deserialize)]
    struct Quota {
        token_count: TokenCount,
    }
    #[derive(Deserialize)]
    struct TokenCount {
        input_tokens: Option<u64>,
        output_tokens: Option<u64>,
    }
    if let Some(usage) = &end.usage {
        return of_wire(usage);
    }
    match end.meta.as_ref().and_then(|meta| meta.decode::<Meta>().ok()) {
        Some(Meta { quota: Quota { token_count } }) => Usage {
            input_tokens: token_count.input_tokens,
            output_tokens: token_count.output_tokens,
            ..Usage::default()
        },
        None => Usage::default(),
    }
}

/// One model call's usage in a chunk's `_meta.usage` (qwen).
pub(super) fn of_chunk(meta: &RawJson) -> Option<Usage> {
    #[derive(Deserialize)]
    struct Meta {
        usage: WireUsage,
    }
    meta.decode::<Meta>().ok().map(|meta| of_wire(&meta.usage)).filter(|usage| !usage.is_empty())
}

/// Adds a model call's tokens to the turn's.
pub(super) fn add(sum: &mut Usage, call: &Usage) {
    let add = |sum: &mut Option<u64>, more: Option<u64>| {
        if let Some(more) = more {
            *sum = Some(sum.unwrap_or(0).saturating_add(more));
        }
    };
    add(&mut sum.input_tokens, call.input_tokens);
    add(&mut sum.output_tokens, call.output_tokens);
    add(&mut sum.total_tokens, call.total_tokens);
    add(&mut sum.cached_tokens, call.cached_tokens);
}

fn of_wire(usage: &WireUsage) -> Usage {
    Usage {
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        total_tokens: usage.total_tokens,
        cached_tokens: usage.cached_read_tokens,
        ..Usage::default()
    }
}

//! Tokens and costs, wherever an agent reports them.

use acp_proto::RawJson;
use acp_proto::schema::UsageUpdate;
use acp_proto::types::{TurnEnd, Usage as WireUsage};
use dispatch_core::agent::{Cost, Usage};
use serde::Deserialize;

/// What a `usage_update` says. Its cost is that of the process so far, of which `before` was there when the turn began:
/// agents add up (claude begins at zero after a load, too).
pub(super) fn of_update(update: &UsageUpdate, before: Option<&Cost>) -> Usage {
    let since = |cost: Cost| match before {
        // A counter that went back has begun anew.
        Some(before) if before.currency == cost.currency && before.amount <= cost.amount => {
            Cost { amount: cost.amount - before.amount, ..cost }
        }
        _ => cost,
    };
    Usage {
        context_used: Some(update.used),
        context_size: Some(update.size).filter(|size| *size > 0),
        cost: cost(update).map(since),
        ..Usage::default()
    }
}

/// The cost in a `usage_update`, as the agent's counter shows it.
pub(super) fn cost(update: &UsageUpdate) -> Option<Cost> {
    let cost = update.cost.as_ref().filter(|cost| cost.amount.is_finite() && cost.amount >= 0.0)?;
    Some(Cost { amount: cost.amount, currency: cost.currency.clone() })
}

/// The tokens since a counter showed `before`; all of them where it went back, as it has begun anew then.
pub(super) fn since(now: &Usage, before: &Usage) -> Usage {
    let since = |now: Option<u64>, before: Option<u64>| {
        now.map(|now| now.checked_sub(before.unwrap_or(0)).unwrap_or(now))
    };
    Usage {
        input_tokens: since(now.input_tokens, before.input_tokens),
        output_tokens: since(now.output_tokens, before.output_tokens),
        total_tokens: since(now.total_tokens, before.total_tokens),
        cached_tokens: since(now.cached_tokens, before.cached_tokens),
        ..now.clone()
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

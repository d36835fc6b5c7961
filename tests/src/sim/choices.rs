//! The picks that make a schedule.

use super::Schedule;

/// Picks numbers, from a generator or from a script, and remembers them. 0 is always the mildest pick.
pub(super) struct Choices {
    source: Source,
    picked: Vec<u32>,
}

enum Source {
    Generator(u64),
    Script(std::vec::IntoIter<u32>),
}

impl Choices {
    pub(super) fn new(schedule: Schedule) -> Self {
        let source = match schedule {
            Schedule::Seed(seed) => Source::Generator(seed),
            Schedule::Script(script) => Source::Script(script.into_iter()),
        };
        Self { source, picked: Vec::with_capacity(1024) }
    }

    /// A number below `n`, which is not 0.
    pub(super) fn below(&mut self, n: usize) -> usize {
        let pick = match &mut self.source {
            Source::Generator(state) => splitmix(state) % n as u64,
            Source::Script(script) => u64::from(script.next().unwrap_or(0)) % n as u64,
        };
        self.picked.push(pick as u32);
        pick as usize
    }

    /// True in `percent` of a hundred picks.
    pub(super) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) >= 100 - percent
    }

    pub(super) fn of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    pub(super) fn into_picked(self) -> Vec<u32> {
        self.picked
    }
}

/// Sebastiano Vigna's splitmix64: well mixed from any seed, so neighbouring seeds are as good as any.
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

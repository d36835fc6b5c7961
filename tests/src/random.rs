//! Moments and orders that a test does not choose, from a seed that it prints.

/// Random numbers that a seed brings back: SplitMix64.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The numbers of this seed.
    #[must_use]
    pub const fn of(seed: u64) -> Self {
        Self(seed)
    }

    /// From 0 on, below 1.
    pub fn fraction(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The seed in this variable of the environment, else one of this process's own; printed, so that a failure
/// can be tried again.
///
/// # Panics
/// When the variable holds no number.
#[must_use]
pub fn seed(variable: &str) -> u64 {
    let given = std::env::var(variable).ok().map(|seed| seed.parse().expect("a number"));
    let seed = given.unwrap_or_else(|| u64::from(std::process::id()) ^ 0x5eed_0000);
    println!("{variable}={seed}");
    seed
}

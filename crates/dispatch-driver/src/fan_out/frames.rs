//! A run of frames that many may hold.

use std::{
    ops::{Deref, Range},
    sync::Arc,
};

use dispatch_core::{frame::Frame, ids::Seq};

/// How many frames are read from the record at once. A frame holds at most 64 KiB of text.
pub(super) const BATCH: usize = 128;

/// At least one frame of a session, in order and without a gap, but for one in the record that a reset told of.
/// Cloning it copies none of them.
#[derive(Clone)]
pub struct Frames {
    all: Arc<[Frame]>,
    here: Range<usize>,
}

impl Frames {
    /// These of `all`, if there are any.
    pub(super) fn of(all: Arc<[Frame]>, here: Range<usize>) -> Option<Self> {
        (!here.is_empty()).then_some(Self { all, here })
    }

    pub(super) fn first(&self) -> Seq {
        self.all[self.here.start].seq
    }

    pub(super) fn last(&self) -> Seq {
        self.all[self.here.end - 1].seq
    }

    /// Whether each is the one after the one before.
    pub(super) fn is_gapless(&self) -> bool {
        self.windows(2).all(|pair| pair[1].seq.0 == pair[0].seq.0 + 1)
    }

    /// Those after a place, if there are any.
    pub(super) fn after(mut self, after: Seq) -> Option<Self> {
        let known = self.partition_point(|frame| frame.seq <= after);
        self.here.start += known;
        (!self.here.is_empty()).then_some(self)
    }

    /// About how many bytes they take.
    pub(super) fn weight(&self) -> usize {
        self.iter().map(|frame| frame.body.weight()).sum()
    }
}

impl Deref for Frames {
    type Target = [Frame];

    fn deref(&self) -> &[Frame] {
        &self.all[self.here.clone()]
    }
}

impl PartialEq for Frames {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl std::fmt::Debug for Frames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&**self).finish()
    }
}

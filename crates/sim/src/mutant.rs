//! Shells that break one rule each. The checkers must find every one of them: a checker that can't fail proves nothing.

/// The rule that is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutant {
    /// The receiver isn't cut when a promise is given; the database says that it was.
    NoFence,
    /// A promise is answered before it is durable, and a crash forgets it.
    PromiseForgotten,
    /// A write to the lease store without an answer is taken for a success.
    AmbiguousIsSuccess,
    /// A released lease is taken with the epoch that it had.
    EpochReused,
    /// Voters say that they have nothing: the candidate doesn't catch up.
    CandidateBehind,
    /// A candidate believes that one promise is enough.
    TooFewPromises,
    /// The lease names only the new quorum, at once.
    QuorumWithoutJoint,
    /// The holder's own quorums are taken for those of primaries before it.
    AllFormer,
    /// Commits don't wait for the quorum when a promotion begins.
    QuorumAfterPromotion,
    /// Nothing ends the database when its agent hangs.
    NoDeadMan,
    /// The register is replaced whatever is in it.
    UnconditionalStore,
    /// The database isn't stopped when the agent says so, and nothing else ends it.
    NeverStops,
}

impl Mutant {
    pub const ALL: [Mutant; 12] = [
        Self::NoFence,
        Self::PromiseForgotten,
        Self::AmbiguousIsSuccess,
        Self::EpochReused,
        Self::CandidateBehind,
        Self::TooFewPromises,
        Self::QuorumWithoutJoint,
        Self::AllFormer,
        Self::QuorumAfterPromotion,
        Self::NoDeadMan,
        Self::UnconditionalStore,
        Self::NeverStops,
    ];

    /// Whether it can only be found where clocks keep primaries apart.
    pub fn needs_asynchronous(self) -> bool {
        matches!(self, Self::NoDeadMan | Self::NeverStops)
    }
}

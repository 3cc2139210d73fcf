//! What can go wrong in a protocol, and whose doing it is. Our own mistakes panic instead.

/// An error of a secure operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection, or a frame of the peer.
    #[error(transparent)]
    Net(#[from] sotto_net::Error),
    /// A message of the oblivious transfers.
    #[error(transparent)]
    Ot(#[from] sotto_ot::Error),
    /// A message of the encrypted linear algebra, or a shape that it cannot serve.
    #[error(transparent)]
    He(#[from] sotto_he::Error),
    /// The peer is no Sotto program, or has another version.
    #[error(
        "the peer speaks protocol version {theirs}, this program version {ours}: install the same release on both sides"
    )]
    Version {
        /// This program's version.
        ours: u32,
        /// The peer's.
        theirs: u32,
    },
    /// Attention on so many positions at once takes messages of more than 4 GiB.
    #[error("a step of {positions} positions is too long for one message of attention: use a shorter prompt")]
    Step {
        /// Positions of the step, those to come included.
        positions: usize,
    },
    /// The position that was revealed is none.
    #[error(
        "the peer's share of a position leads to number {position} of {of}: it does not follow the protocol"
    )]
    Position {
        /// What came out.
        position: u64,
        /// How many there are.
        of: usize,
    },
    /// Of the largest numbers that were revealed there are too few.
    #[error(
        "the peer's shares lead to the {found} largest numbers instead of {k}: it does not follow the protocol"
    )]
    TooFew {
        /// What came out.
        found: usize,
        /// What was to come out.
        k: usize,
    },
    /// The peer was built with other rings, tables or lattice parameters.
    #[error(
        "the peer was built with other protocol parameters: install the same release, with the same features, on both sides"
    )]
    Parameters,
    /// The peer sent this party's own greeting back.
    #[error("the peer repeats this side's nonce: it is a mirror, or replays what it heard")]
    Reflected,
    /// The two parties have seen different frames.
    #[error("the two parties' transcripts disagree at this step: the session ends, nothing is reused")]
    TranscriptDisagreement,
    /// The two parties have drawn different things from their pools.
    #[error(
        "the two parties' pools of correlations disagree at this step: the session ends, nothing is reused"
    )]
    PoolDisagreement,
}

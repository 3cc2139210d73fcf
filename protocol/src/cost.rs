//! The cost model: what each protocol sends and spends, from public shapes.
//!
//! Tests compare it with the meter, the bench prints both, and the planner takes the numbers of
//! one-hots from it.

use std::{collections::BTreeMap, ops::Add};

use sotto_net::HEADER_LEN;
use sotto_ot::{one_hot_bits, one_hot_cots};
use sotto_shares::Ring;

/// Numbers of one-hots, by the bits of their index and its ring.
pub type OneHots = BTreeMap<(u32, Ring), usize>;

/// What a protocol sent online: frames with their headers; and what it spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Bytes of the client's frames.
    pub client: u64,
    /// Bytes of the server's.
    pub server: u64,
    /// Turns.
    pub turns: u64,
    /// COTs whose sender is the client, the server.
    pub cots: [usize; 2],
    /// Bits that the one-hots took which were spent, COTs apart.
    pub one_hots: usize,
}

/// The cost model of a protocol: its steps, each with the client's and the server's frames; COTs
/// and one-hots.
///
/// Models of parts add up. Turns follow from the order of all steps, since a party goes on to the
/// next part without waiting for the other to finish.
#[derive(Clone, Default)]
pub struct CostModel {
    steps: Vec<[Vec<Frame>; 2]>,
    cots: [usize; 2],
    one_hots: OneHots,
}

/// Payload bits of a frame, in two parts of whole bytes.
type Frame = (usize, usize);

impl CostModel {
    /// Both parties send frames of `frames` bits at the same time, one after the other; as many
    /// COTs either way.
    pub fn mutual(frames: &[usize], cots: usize) -> CostModel {
        CostModel::crossed(&frames.iter().map(|&bits| (bits, bits)).collect::<Vec<_>>(), [cots; 2])
    }

    /// Both send at the same time, frames of different lengths.
    pub fn crossed(frames: &[(usize, usize)], cots: [usize; 2]) -> CostModel {
        let step = |&(client, server): &(usize, usize)| [vec![(client, 0)], vec![(server, 0)]];
        CostModel { steps: frames.iter().map(step).collect(), cots, ..CostModel::default() }
    }

    /// Products of bits with numbers both ways: choice bits and bits of numbers of the client's, of
    /// the server's; their COTs.
    pub fn products(client: Frame, server: Frame) -> CostModel {
        let frame = |f: Frame| (f != (0, 0)).then_some(f).into_iter().collect();
        let cots = [server.0, client.0];
        CostModel { steps: vec![[frame(client), frame(server)]], cots, ..CostModel::default() }
    }

    /// Both protocols in parallel, step by step; the shorter one ends earlier.
    pub fn in_parallel(mut self, other: CostModel) -> CostModel {
        let steps = self.steps.len().max(other.steps.len());
        self.steps.resize_with(steps, Default::default);
        for (ours, theirs) in self.steps.iter_mut().zip(other.steps) {
            ours.iter_mut().zip(theirs).for_each(|(ours, theirs)| ours.extend(theirs));
        }
        self.spend(other.cots, other.one_hots);
        self
    }

    /// Nothing sent, but `n` one-hots of `2^k` spent, with their index in a ring of `ring` bits.
    pub fn spending(n: usize, k: u32, ring: u32) -> CostModel {
        CostModel { one_hots: [((k, Ring::new(ring)), n)].into(), ..CostModel::default() }
    }

    /// The one-hots that are spent.
    pub fn one_hots(&self) -> &OneHots {
        &self.one_hots
    }

    fn spend(&mut self, cots: [usize; 2], one_hots: OneHots) {
        self.cots.iter_mut().zip(cots).for_each(|(a, b)| *a += b);
        one_hots.into_iter().for_each(|(kind, n)| *self.one_hots.entry(kind).or_default() += n);
    }

    /// One frame of the client's.
    pub fn to_server(bits: usize) -> CostModel {
        CostModel { steps: vec![[vec![(bits, 0)], vec![]]], ..CostModel::default() }
    }

    /// One frame of the server's.
    pub fn to_client(bits: usize, cots: usize) -> CostModel {
        CostModel { steps: vec![[vec![], vec![(bits, 0)]]], cots: [0, cots], ..CostModel::default() }
    }

    /// Bytes with headers, turns by the parties' clocks.
    pub fn total(&self) -> Cost {
        let frame = |(a, b): &Frame| (a.div_ceil(8) + b.div_ceil(8) + HEADER_LEN) as u64;
        let bytes = |party: usize| self.steps.iter().flat_map(|step| &step[party]).map(frame).sum();
        let mut heard = [0; 2];
        for [client, server] in &self.steps {
            let [by_client, by_server] = heard.map(|h| h + 1);
            heard = [
                if server.is_empty() { heard[0] } else { by_server },
                if client.is_empty() { heard[1] } else { by_client },
            ];
        }
        let turns = heard[0].max(heard[1]);
        let one_hots = self.one_hots.iter().map(|(&(k, ring), n)| n * one_hot_bits(k, ring)).sum();
        Cost { client: bytes(0), server: bytes(1), turns, cots: self.cots, one_hots }
    }

    /// Bytes in both directions that its COTs and one-hots take to make, framing apart, at so many
    /// bits a COT.
    pub fn offline_bytes(&self, bits_a_cot: f64) -> f64 {
        let made =
            self.one_hots.iter().map(|(&(k, ring), &n)| (n * one_hot_bits(k, ring), one_hot_cots(n, k)));
        let (bits, cots) =
            made.fold((0, self.cots[0] + self.cots[1]), |sum, of| (sum.0 + of.0, sum.1 + of.1));
        (bits as f64 + cots as f64 * bits_a_cot) / 8.0
    }

    /// Payload bits in both directions.
    pub fn bits(&self) -> usize {
        self.steps.iter().flatten().flatten().map(|(a, b)| a + b).sum()
    }
}

impl Add for CostModel {
    type Output = CostModel;
    fn add(mut self, other: CostModel) -> CostModel {
        self.steps.extend(other.steps);
        self.spend(other.cots, other.one_hots);
        self
    }
}

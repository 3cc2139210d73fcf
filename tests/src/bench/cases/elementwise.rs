//! Functions of one element, or of two.

use anyhow::{Result, anyhow};
use sotto_net::Half;
use sotto_protocol::{
    Error, Precision, Schedule, Session, compare,
    cost::CostModel,
    exp2, extend, mul,
    planner::{self, Need},
    reciprocal::{self, Form},
    square, truncate,
};
use sotto_shares::{Party, Ring, Shape, Share};

use super::{Case, Run, inputs};
use crate::{
    stage::{Me, Stage},
    tensor::Tensor,
};

/// Elements at a time: comparing this many takes some 300 MB of tables and COTs, so a million go in
/// pieces, whose turns add up.
const PIECE: usize = 65_536;

const WIDE: Ring = Ring::new(64);
const DROPPED: u32 = 18;

/// Which function.
#[derive(Clone, Copy)]
pub enum Op {
    /// The product of two activations, truncated to one.
    Mul,
    /// The square of one, truncated likewise.
    Square,
    /// The sign of a 64-bit number.
    Compare,
    /// 18 bits less of a number of 36 fraction bits, in ring 64 before and after.
    Truncate,
    /// `e^x` for `-16 <= x <= 0`; the factor `log2 e` belongs to what comes before.
    Exp,
    /// `1/x` for `1 <= x < 1024`: a softmax's sum.
    Reciprocal,
    /// `1/sqrt(x)` for `1/16 <= x < 1024`, of 36 fraction bits in ring 64: a norm's sum.
    Rsqrt,
}

/// Ring, fraction bits, least and largest value of an operation's inputs.
struct Input {
    ring: Ring,
    frac: u32,
    low: i64,
    high: i64,
}

impl Op {
    /// By its name.
    pub fn parse(name: &str) -> Option<Op> {
        Some(match name {
            "mul" => Op::Mul,
            "square" => Op::Square,
            "compare" => Op::Compare,
            "truncate" => Op::Truncate,
            "exp" => Op::Exp,
            "reciprocal" => Op::Reciprocal,
            "rsqrt" => Op::Rsqrt,
            _ => return None,
        })
    }

    fn input(self, p: Precision) -> Input {
        let (frac, sum_frac) = (p.frac(), p.power_frac());
        match self {
            Op::Mul | Op::Square => Input { ring: p.product(), frac, low: -8 << frac, high: 8 << frac },
            Op::Compare => Input { ring: WIDE, frac: 0, low: i64::MIN, high: i64::MAX },
            Op::Truncate => Input { ring: WIDE, frac: 2 * DROPPED, low: -1 << 50, high: 1 << 50 },
            Op::Exp => Input {
                ring: p.exponent(),
                frac,
                low: (-16.0 * std::f64::consts::LOG2_E * f64::from(1 << frac)) as i64,
                high: 0,
            },
            Op::Reciprocal => Input {
                ring: Ring::new(sum_frac + 18),
                frac: sum_frac,
                low: 1 << sum_frac,
                high: (1 << (sum_frac + 10)) - 1,
            },
            Op::Rsqrt => Input { ring: WIDE, frac: 36, low: 1 << 32, high: (1 << 46) - 1 },
        }
    }

    fn exact(self, x: f64, y: f64) -> f64 {
        match self {
            Op::Mul => x * y,
            Op::Square => x * x,
            Op::Compare => f64::from(x < 0.0),
            Op::Truncate => x,
            Op::Exp => x.exp2(),
            Op::Reciprocal => 1.0 / x,
            Op::Rsqrt => 1.0 / x.sqrt(),
        }
    }

    /// What `n` evaluations send.
    fn cost(self, p: Precision, schedule: Schedule, n: usize) -> CostModel {
        let (ring, short) = (p.product().bits(), p.product().bits() - p.frac());
        match self {
            Op::Mul => mul::cost(n, ring) + extend::cost(n, &[(short, ring)]),
            Op::Square => square::cost(n, ring) + extend::cost(n, &[(short, ring)]),
            Op::Compare => compare::cost(schedule, n, 63),
            Op::Truncate => extend::cost(n, &[(64 - DROPPED, 64)]),
            Op::Exp => exp2::cost(p, schedule, n, p.sums().bits()),
            Op::Reciprocal => reciprocal::cost(n, &reciprocal_form(p, schedule)),
            Op::Rsqrt => reciprocal::cost(n, &root_form(p, schedule)),
        }
    }

    async fn evaluate(self, s: &mut Session, x: &Share, y: &Share) -> Result<Tensor, Error> {
        let p = s.precision();
        let shorten = |z: Share| (z.frac() - x.frac(), z);
        Ok(Tensor::Sum(match self {
            Op::Mul => {
                let (bits, z) = shorten(mul::mul(s, x, y).await?);
                truncate::truncate(s, &z, bits, x.ring()).await?
            }
            Op::Square => {
                let (bits, z) = shorten(square::square(s, x).await?);
                truncate::truncate(s, &z, bits, x.ring()).await?
            }
            Op::Compare => return Ok(Tensor::Xor(compare::is_negative(s, x).await?)),
            Op::Truncate => truncate::truncate(s, x, DROPPED, WIDE).await?,
            Op::Exp => exp2::exp2(s, x, p.sums()).await?,
            Op::Reciprocal => reciprocal::evaluate(s, x, &reciprocal_form(p, s.schedule())).await?,
            Op::Rsqrt => reciprocal::evaluate(s, x, &root_form(p, s.schedule())).await?,
        }))
    }
}

fn reciprocal_form(p: Precision, schedule: Schedule) -> Form {
    let frac = p.power_frac();
    Form::reciprocal(p, schedule, frac, frac - 1..frac + 15)
}

fn root_form(p: Precision, schedule: Schedule) -> Form {
    // In the ring of norms.
    Form::inverse_root(p, schedule, 0, 36, 19..63, Ring::new(p.frac() + 42))
}

/// `n` evaluations of a function.
pub struct Elementwise {
    /// The function.
    pub op: Op,
    /// How many.
    pub n: usize,
    /// Of activations.
    pub precision: Precision,
}

impl Elementwise {
    fn values(&self, what: &str) -> Vec<i64> {
        let Input { low, high, .. } = self.op.input(self.precision);
        inputs::integers(what, self.n, low, high)
    }

    fn share(&self, party: Party, what: &str) -> Share {
        let Input { ring, frac, .. } = self.op.input(self.precision);
        inputs::share(party, what, ring, frac, Shape::new(self.n, 1), &self.values(what))
    }
}

impl Case for Elementwise {
    fn about(&self) -> &'static str {
        match self.op {
            Op::Mul => "activations, truncated to their fraction bits again; triples under encryption",
            Op::Square => "activations, truncated to their fraction bits again",
            Op::Compare => "sign of 64-bit shares",
            Op::Truncate => "ring 64 by 18 bits to ring 64, one unit too low at most",
            Op::Exp => "inputs from -16 to 0, times log2 e beforehand",
            Op::Reciprocal => "inputs from 1 to 1024, in the ring of a softmax's sums",
            Op::Rsqrt => "inputs from 1/16 to 1024 in ring 64",
        }
    }

    fn elements(&self) -> usize {
        self.n
    }

    fn tolerance(&self) -> f64 {
        let frac = self.precision.frac() as i32;
        match self.op {
            Op::Mul | Op::Square => 2f64.powi(1 - frac),
            Op::Compare => 0.0,
            Op::Truncate => 2f64.powi(1 - DROPPED as i32),
            Op::Exp => 4.01 * 2f64.powi(-2 - frac),
            Op::Reciprocal => 2f64.powi(-2 - frac),
            Op::Rsqrt => 4.0 * 2f64.powi(-2 - frac),
        }
    }

    fn run<'a>(&'a mut self, stage: &'a mut Stage, me: Option<&'a mut Me>) -> Run<'a> {
        Box::pin(async move {
            let me = me.ok_or_else(|| anyhow!("a function needs a session"))?;
            let (x, y) = (self.share(stage.party, "x"), self.share(stage.party, "y"));
            let mut outputs = vec![];
            stage.watch.start(me.ch(), Half::Online).await?;
            if let Op::Mul = self.op {
                let (ring, n) = (self.precision.product(), self.n);
                match me {
                    Me::Client(me) => planner::ensure(&mut **me, vec![Need::triples(ring, n)]).await?,
                    Me::Server(me) => planner::ensure(&mut **me, vec![Need::triples(ring, n)]).await?,
                }
            }
            let s = me.session();
            for start in (0..self.n).step_by(PIECE) {
                let range = start..self.n.min(start + PIECE);
                outputs.push(self.op.evaluate(s, &x.rows(range.clone()), &y.rows(range)).await?);
            }
            stage.watch.stop(&mut s.ch);
            Ok(outputs)
        })
    }

    fn is_encrypted(&self) -> bool {
        matches!(self.op, Op::Mul | Op::Square)
    }

    fn stated(&self, schedule: Schedule) -> Option<CostModel> {
        let pieces = (0..self.n).step_by(PIECE).map(|start| PIECE.min(self.n - start));
        Some(pieces.fold(CostModel::default(), |all, n| all + self.op.cost(self.precision, schedule, n)))
    }

    fn expected(&self) -> Result<Vec<f64>> {
        let real = |what| inputs::reals(&self.values(what), self.op.input(self.precision).frac);
        Ok(real("x").into_iter().zip(real("y")).map(|(x, y)| self.op.exact(x, y)).collect())
    }
}

//! Steps of all sizes against plain products, and what an error leaves.

use sotto_shares::Ring;

use super::*;
use crate::{
    planner::{self, Need},
    testing::{self, CostModel, Holder, Lab, Side, elements},
};

const HEADS: Heads = Heads { key_value: 2, group: 3, width: 48 };

/// One position, and the one after it.
const NEXT: Coming = Coming { n: 1, more: 0, reach: 0, later: false };
const LATER: Coming = Coming { later: true, ..NEXT };

/// Positions that come together, how many more are planned, and how many may come in all.
const STEPS: [(usize, usize, usize); 6] =
    [(5, 2, 9), (1, 1, 8), (1, 0, 7), (1, 8, 0), (130, 3, 4), (1, 2, 2)];

/// The `i`-th step's queries, keys, weights and values, in the clear.
fn inputs(precision: Precision, i: usize, length: usize) -> [Vec<u64>; 4] {
    let (score_ring, sum_ring) = (precision.attention(), precision.sums());
    let (n, _, _) = STEPS[i];
    let Heads { key_value, group, width } = HEADS;
    let rows = key_value * n * group;
    [
        (rows * width, score_ring),
        (n * key_value * width, score_ring),
        (rows * length, sum_ring),
        (n * key_value * width, sum_ring),
    ]
    .map(|(count, ring)| elements(count + i, ring).split_off(i))
}

fn shares<P: Holder>(lab: &mut Lab<P>, precision: Precision, i: usize, length: usize) -> [Share; 4] {
    let (score_ring, sum_ring, frac) = (precision.attention(), precision.sums(), precision.frac());
    let (n, _, _) = STEPS[i];
    let Heads { key_value, group, width } = HEADS;
    let [q, k, p, v] = inputs(precision, i, length);
    let rows = key_value * n * group;
    [
        lab.share(&q, score_ring, frac, Shape::new(rows, width)),
        lab.share(&k, score_ring, frac, Shape::new(n, key_value * width)),
        lab.share(&p, sum_ring, precision.power_frac(), Shape::new(rows, length)),
        lab.share(&v, sum_ring, frac, Shape::new(n, key_value * width)),
    ]
}

/// Both results of one step, whose masks are there, with their costs.
async fn step<P: Holder>(lab: &mut Lab<P>, cache: &mut KvCache, i: usize) -> [(Share, Side); 2] {
    let (n, _, _) = STEPS[i];
    let [q, k, p, v] = shares(lab, cache.precision, i, cache.length + n);
    let first = lab.measure(async |me| scores(me.session(), cache, &q, &k).await).await;
    let sums = async |me: &mut P| {
        let begun = begin_sums(me.session(), cache, &p, &v)?;
        begun.finish(me.session(), cache).await
    };
    let second = lab.measure(sums).await;
    [first, second]
}

#[test]
fn steps_of_all_sizes_are_products_with_all_rows_so_far() {
    Precision::ALL.into_iter().for_each(all_sizes);
}

fn all_sizes(precision: Precision) {
    let got = testing::run_keyed(
        async |lab| {
            let (mut cache, mut all) = (KvCache::new(HEADS, precision), vec![]);
            for (i, (n, lookahead, horizon)) in STEPS.into_iter().enumerate() {
                let need = Need::positions(&mut cache, n).with_more(lookahead).within(horizon);
                planner::ensure(&mut lab.me, vec![need]).await.unwrap();
                all.push(step(lab, &mut cache, i).await);
            }
            // The look ahead of the first step served the next two; chunks were made for the first,
            // for a look ahead beyond what was planned, and for the long one.
            assert_eq!(cache.chunks.0.iter().map(|c| c.positions).collect::<Vec<_>>(), [14, 2, 126]);
            let (made, columns) = (cache.chunks.positions(), HEADS.key_value * HEADS.width);
            assert_eq!(
                cache.bytes(),
                16 * columns * (cache.len() + made),
                "two words for what has come, two for masks"
            );
            all
        },
        async |lab| {
            let (mut cache, mut all) = (KvCache::new(HEADS, precision), vec![]);
            for (i, (n, lookahead, horizon)) in STEPS.into_iter().enumerate() {
                let need = Need::positions(&mut cache, n).with_more(lookahead).within(horizon);
                planner::ensure(&mut lab.me, vec![need]).await.unwrap();
                all.push(step(lab, &mut cache, i).await);
            }
            all
        },
    );
    let Heads { key_value, group, width } = HEADS;
    let mut products = Products::new(precision);
    // Positions that each step's masks can look back on.
    let columns = [7, 7, 7, 16, 141, 141];
    for (i, [(scores, first), (sums, second)]) in got.into_iter().enumerate() {
        let (n, _, _) = STEPS[i];
        let (rows, new) = (key_value * group * n, n * key_value * width);
        let bits = [precision.attention(), precision.sums()].map(|ring| ring.bits() as usize);
        assert_eq!(first.cost, CostModel::mutual(&[bits[0] * (rows * width + new)], 0).total());
        assert_eq!(second.cost, CostModel::mutual(&[bits[1] * (rows * columns[i] + new)], 0).total());
        products.check(i, &scores, &sums);
    }
}

/// Plain products with all rows so far.
struct Products {
    precision: Precision,
    keys: Vec<u64>,
    values: Vec<u64>,
}

impl Products {
    fn new(precision: Precision) -> Products {
        Products { precision, keys: vec![], values: vec![] }
    }

    /// Compares with what the `i`-th step, which comes next, has got.
    fn check(&mut self, i: usize, scores: &[u64], sums: &[u64]) {
        let Heads { key_value, group, width } = HEADS;
        let (n, _, _) = STEPS[i];
        let (score_ring, sum_ring) = (self.precision.attention(), self.precision.sums());
        let tolerances = super::masks::tolerances(self.precision);
        let length = self.keys.len() / (key_value * width) + n;
        let [q, k, p, v] = inputs(self.precision, i, length);
        self.keys.extend(k);
        self.values.extend(v);
        let off =
            |ring: Ring, got: u64, want: u64| ring.signed(ring.reduce(got.wrapping_sub(want))).unsigned_abs();
        for row in 0..key_value * group * n {
            let head = row / (n * group);
            let at = |j: usize| j * key_value * width + head * width;
            for j in 0..length {
                let (q, k) = (&q[row * width..][..width], &self.keys[at(j)..][..width]);
                let want = times_transposed(q, k, width)[0];
                assert!(off(score_ring, scores[row * length + j], want) < 9 << (tolerances[0] + 1));
            }
            for c in 0..width {
                let want = (0..length).fold(0u64, |sum, j| {
                    sum.wrapping_add(p[row * length + j].wrapping_mul(self.values[at(j) + c]))
                });
                assert!(off(sum_ring, sums[row * width + c], want) < 9 << (tolerances[1] + 1));
            }
        }
    }
}

/// Steps of one position, the masks of which are begun one step before, each in a chunk of its own.
const SINGLE: [usize; 3] = [1, 2, 3];

async fn step_made_later<P: Holder>(lab: &mut Lab<P>, cache: &mut KvCache, i: usize) -> [Share; 2] {
    let [q, k, p, v] = shares(lab, cache.precision, i, cache.length + 1);
    let s = lab.me.session();
    let scores = scores(s, cache, &q, &k).await.unwrap();
    let sums = begin_sums(s, cache, &p, &v).unwrap().finish(s, cache).await.unwrap();
    [scores, sums]
}

#[test]
fn masks_for_later_are_for_the_positions_after_those_that_there_are() {
    let precision = Precision::Default;
    let got = testing::run_keyed(
        async |lab| {
            let (mut cache, mut all) = (KvCache::new(HEADS, precision), vec![]);
            planner::ensure(&mut lab.me, vec![Need::positions(&mut cache, 1)]).await.unwrap();
            for i in SINGLE {
                assert!(cache.is_missing(&LATER) && !cache.is_missing(&NEXT));
                ask(&mut lab.me, &mut cache, &LATER).unwrap();
                assert!(!cache.is_missing(&LATER));
                all.push(step_made_later(lab, &mut cache, i).await);
                cache.arrive(&mut lab.me.session, 1).await.unwrap();
            }
            assert_eq!(cache.chunks.positions(), SINGLE.len() + 1);
            all
        },
        async |lab| {
            let (mut cache, mut all) = (KvCache::new(HEADS, precision), vec![]);
            planner::ensure(&mut lab.me, vec![Need::positions(&mut cache, 1)]).await.unwrap();
            for i in SINGLE {
                answer(&mut lab.me, &mut cache, &LATER).unwrap();
                all.push(step_made_later(lab, &mut cache, i).await);
                cache.arrive(&mut lab.me.session, 1).await.unwrap();
            }
            all
        },
    );
    let mut products = Products::new(precision);
    for (i, [scores, sums]) in SINGLE.into_iter().zip(got) {
        products.check(i, &scores, &sums);
    }
}

/// A step that fails has used its masks up, and its cache is of no more use.
#[test]
fn masks_are_spent_even_where_the_peer_is_silent() {
    testing::run_keyed(
        async |lab| {
            let mut cache = KvCache::new(HEADS, Precision::Default);
            let need = Need::positions(&mut cache, 1).with_more(3);
            planner::ensure(&mut lab.me, vec![need]).await.unwrap();
            let [q, k, ..] = shares(lab, Precision::Default, 1, 1);
            let answered = scores(&mut lab.me.session, &mut cache, &q, &k).await;
            assert!(answered.is_err() && cache.length == 1 && cache.queries.positions == 3);
            for coming in [NEXT, LATER] {
                let again = std::panic::AssertUnwindSafe(|| cache.is_missing(&coming));
                assert!(std::panic::catch_unwind(again).is_err(), "not after an error");
            }
        },
        async |lab| {
            let mut cache = KvCache::new(HEADS, Precision::Default);
            let need = Need::positions(&mut cache, 1).with_more(3);
            planner::ensure(&mut lab.me, vec![need]).await.unwrap();
            // Something else comes where the openings should.
            lab.me.session.ch.send("attention/open-values", vec![0; 3]).unwrap();
        },
    );
}

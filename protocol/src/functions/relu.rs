//! `[max(x, 0)] <- [x]`: ReLU, exact.
//!
//! | client | | server |
//! |---|---|---|
//! | is `x` negative? ([`mod@crate::compare`]) || its share of the bit |
//! | `x` or zero, by that bit | `<- mux/cross ->` | the same |
//! | to the ring asked for | `<- extend/cross ->` | the same |
//!
//! Inputs as an activation's ([`crate::activation`]). Two turns more than the comparison; no error,
//! no leakage: the bit stays shared. From stock: what the parts take. Source: CrypTFlow2
//! (2020/1002), section 3.3.

use sotto_shares::{Party, Ring, Share, XorShare};

use crate::{
    Error, Precision, Schedule, Session,
    compare::{self, is_negative},
    cost::CostModel,
    extend::{self, extend_positive},
    mux::{self, mux},
};

/// ReLU of numbers in the ring of an activation's argument, in a larger ring or the same.
pub(crate) async fn relu(s: &mut Session, x: &Share, ring: Ring) -> Result<Share, Error> {
    let negative = is_negative(s, x).await?;
    let flip = u64::from(s.me == Party::Client);
    let kept = XorShare::new(1, negative.words().iter().map(|bit| bit ^ flip).collect());
    let [y] = mux(s, [(&kept, x)]).await?;
    if ring == y.ring() {
        return Ok(y);
    }
    let [y] = extend_positive(s, [(&y, ring)]).await?;
    Ok(y)
}

/// The functionality on one element.
pub fn ideal(x: i64) -> i64 {
    x.max(0)
}

/// What is sent for `n` numbers into a ring of `ring` bits, and which COTs it takes.
pub(crate) fn cost(precision: Precision, schedule: Schedule, n: usize, ring: u32) -> CostModel {
    let bits = precision.argument().bits();
    let kept = compare::cost(schedule, n, bits - 1) + mux::cost(n, &[bits]);
    if ring == bits { kept } else { kept + extend::cost(n, &[(bits, ring)]) }
}

#[cfg(test)]
mod tests {
    use sotto_shares::Shape;

    use super::*;
    use crate::{
        activation::{self, Activation},
        testing,
    };

    #[test]
    fn real_is_ideal_at_the_stated_cost() {
        for (precision, schedule) in testing::modes() {
            let (from, ring, argument) = (precision.linear(), precision.linear(), precision.argument());
            let most = (1i64 << (argument.bits() - 1)) - 1;
            let x: Vec<i64> =
                [0, 1, -1, most, -most - 1].into_iter().chain((-40..40).map(|i| i * 7919)).collect();
            let raw: Vec<u64> = x.iter().map(|&x| from.reduce(x as u64)).collect();
            for to in [ring, argument] {
                let (got, traffic) = testing::run(async |lab| {
                    (lab.me.schedule, lab.me.precision) = (schedule, precision);
                    let x = lab.share(&raw, from, precision.frac(), Shape::new(raw.len(), 1));
                    compare::tests::stock(lab, raw.len(), argument.bits() - 1).await;
                    lab.stock_cots(100 * raw.len()).await;
                    lab.measure(async |s| activation::activate(s, Activation::Relu, &x, to).await).await
                });
                let got: Vec<i64> = got.iter().map(|&y| to.signed(y)).collect();
                assert_eq!(got, x.iter().map(|&x| ideal(x)).collect::<Vec<_>>());
                let stated = activation::cost(Activation::Relu, precision, schedule, raw.len(), to.bits());
                assert_eq!(traffic.cost, stated.total(), "{precision:?}, {schedule:?}");
            }
        }
    }
}

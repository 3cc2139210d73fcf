//! `own + got = choice * x` in both directions at once: the step that most protocols here consist
//! of.
//!
//! | client: bits `c`, numbers `x` | | server: bits `c'`, numbers `x'` |
//! |---|---|---|
//! | COTs as receiver: `b`, `H(t)` | | the same COTs as sender: `K0`, `K1` |
//! | COTs as sender: `K0'`, `K1'` | | the same COTs as receiver: `b'`, `H(t')` |
//! | `d = c xor b` | `<- cross ->` | `d' = c' xor b'` |
//! | `m = x + H(K0') - H(K1')` | `<- cross ->` | `m' = x' + H(K0) - H(K1)` |
//! | returns `own`, `got` | | returns `own'`, `got'` |
//!
//! `own + got' = c' x` and `own' + got = c x'`, each item modulo its own `2^w`; or the same with
//! XOR for sums. One turn; one choice bit and `w` payload bits an item, in one frame with the
//! choices first. Leakage: none; `d` and `m` are uniform to their receiver. From stock: one COT an
//! item and direction. Source: Cheetah (2022/207), appendix on COT; the choices' correction and the
//! masked numbers in one turn: [`sotto_ot::SendCots::cot_send_chosen`].

use sotto_net::compute;
use sotto_ot::{CotPads, RecvCots, SendCots, Uncorrected, XorPads, bits_len, pattern_message_len};
use zeroize::Zeroizing;

use crate::{Error, Session};

/// What one party brings: choices for the other's numbers, numbers for the other's choices. The
/// width of item `i` is entry `i` of the pattern, repeated; the two directions may differ in length
/// and pattern.
pub(crate) struct Cross<'a> {
    /// The tag of the frame.
    pub tag: &'static str,
    /// This party's bits, one byte each.
    pub choices: &'a [u8],
    /// Widths of the items that this party chooses from.
    pub widths_in: &'a [u32],
    /// This party's numbers.
    pub inputs: &'a [u64],
    /// Widths of this party's numbers.
    pub widths_out: &'a [u32],
}

/// This party's shares of the products.
pub(crate) struct Crossed {
    /// For its own numbers, times the other's bits.
    pub own: Zeroizing<Vec<u64>>,
    /// For the other's numbers, times its own bits.
    pub got: Zeroizing<Vec<u64>>,
}

/// Products of which this party has sent its part: others may be begun before they are finished, if
/// the COTs of all are drawn beforehand.
#[must_use]
pub(crate) struct Begun<Pads> {
    tag: &'static str,
    own: Option<Uncorrected>,
    pads: Option<Pads>,
    /// Bytes of the peer's corrections and of its numbers.
    expected: (usize, usize),
}

/// Additive shares of the products.
pub(crate) async fn add(s: &mut Session, c: Cross<'_>) -> Result<Crossed, Error> {
    let cots = s.cots(c.inputs.len(), c.choices.len()).await?;
    begin_add(s, cots, c)?.finish(s).await
}

/// XOR shares of the products of bits with vectors of one width; the two directions may differ in
/// number.
pub(crate) async fn xor(
    s: &mut Session,
    tag: &'static str,
    choices: &[u8],
    inputs: &[u64],
    width: u32,
) -> Result<Crossed, Error> {
    let cots = s.cots(inputs.len(), choices.len()).await?;
    begin_xor(s, cots, tag, choices, inputs, width)?.finish(s).await
}

/// Sends this party's part of [`add`].
pub(crate) fn begin_add(
    s: &mut Session,
    (outgoing, incoming): (SendCots, RecvCots),
    c: Cross<'_>,
) -> Result<Begun<CotPads>, Error> {
    let (mut message, mut own, mut pads) = (vec![], None, None);
    if !c.choices.is_empty() {
        let (corrections, waiting) = compute(|| incoming.cot_choose(&packed(c.choices), c.widths_in));
        (message, pads) = (corrections, Some(waiting));
    }
    if !c.inputs.is_empty() {
        let (both, waiting) = compute(|| outgoing.cot_send_chosen(c.inputs, c.widths_out, &message));
        (message, own) = (both, Some(waiting));
    }
    if !message.is_empty() {
        s.ch.send(c.tag, message)?;
    }
    let expected = (bits_len(c.inputs.len()), items_len(c.choices.len(), c.widths_in));
    Ok(Begun { tag: c.tag, own, pads, expected })
}

/// Sends this party's part of [`xor`].
pub(crate) fn begin_xor(
    s: &mut Session,
    (outgoing, incoming): (SendCots, RecvCots),
    tag: &'static str,
    choices: &[u8],
    inputs: &[u64],
    width: u32,
) -> Result<Begun<XorPads>, Error> {
    let (mut message, mut own, mut pads) = (vec![], None, None);
    if !choices.is_empty() {
        let (corrections, waiting) = compute(|| incoming.xor_choose(&packed(choices), width as usize));
        (message, pads) = (corrections, Some(waiting));
    }
    if !inputs.is_empty() {
        let (both, waiting) = compute(|| outgoing.xor_send_chosen(inputs, width as usize, &message));
        (message, own) = (both, Some(waiting));
    }
    if !message.is_empty() {
        s.ch.send(tag, message)?;
    }
    let expected = (bits_len(inputs.len()), bits_len(choices.len() * width as usize));
    Ok(Begun { tag, own, pads, expected })
}

impl Begun<CotPads> {
    /// Receives the peer's part.
    pub(crate) async fn finish(self, s: &mut Session) -> Result<Crossed, Error> {
        self.settle(s, CotPads::finish).await
    }
}

impl Begun<XorPads> {
    /// Receives the peer's part.
    pub(crate) async fn finish(self, s: &mut Session) -> Result<Crossed, Error> {
        self.settle(s, XorPads::finish).await
    }
}

impl<Pads> Begun<Pads> {
    async fn settle(
        self,
        s: &mut Session,
        finish: impl Fn(Pads, &[u8]) -> Vec<u64>,
    ) -> Result<Crossed, Error> {
        let (corrections, numbers) = self.expected;
        let message = match corrections + numbers {
            0 => Default::default(),
            len => s.ch.recv(self.tag, len).await?,
        };
        let (corrections, numbers) = message.split_at(corrections);
        Ok(compute(|| Crossed {
            own: Zeroizing::new(self.own.map_or(vec![], |own| own.finish(corrections))),
            got: Zeroizing::new(self.pads.map_or(vec![], |pads| finish(pads, numbers))),
        }))
    }
}

/// The offline form, in both directions: the receiver's bits are the COTs' random choices. Returns
/// this party's random bits, one byte each, beside the products. One turn, no choice bits.
pub(crate) async fn add_random(
    s: &mut Session,
    tag: &'static str,
    inputs: &[u64],
    widths: &[u32],
) -> Result<(Vec<u8>, Crossed), Error> {
    let (outgoing, incoming) = s.cots(inputs.len(), inputs.len()).await?;
    let (payload, own) = compute(|| outgoing.cot_send(inputs, widths));
    let payload = s.ch.exchange(tag, payload).await?;
    let pads = compute(|| incoming.cot_random(widths));
    let bits = unpacked(pads.choices(), inputs.len());
    let got = compute(|| pads.finish(&payload));
    Ok((bits, Crossed { own: Zeroizing::new(own), got: Zeroizing::new(got) }))
}

/// The sending half of the offline form in one direction.
pub(crate) async fn add_random_send(
    s: &mut Session,
    tag: &'static str,
    inputs: &[u64],
    widths: &[u32],
) -> Result<Vec<u64>, Error> {
    let (outgoing, _) = s.cots(inputs.len(), 0).await?;
    let (payload, own) = compute(|| outgoing.cot_send(inputs, widths));
    s.ch.send(tag, payload)?;
    Ok(own)
}

/// The receiving half of the offline form in one direction, for `n` items: random bits and
/// products.
pub(crate) async fn add_random_recv(
    s: &mut Session,
    tag: &'static str,
    n: usize,
    widths: &[u32],
) -> Result<(Vec<u8>, Vec<u64>), Error> {
    let (_, incoming) = s.cots(0, n).await?;
    let payload = s.ch.recv(tag, items_len(n, widths)).await?;
    let pads = compute(|| incoming.cot_random(widths));
    let bits = unpacked(pads.choices(), n);
    Ok((bits, compute(|| pads.finish(&payload))))
}

/// Bits of one byte each, eight to a byte.
fn packed(bits: &[u8]) -> Vec<u8> {
    // Times this, bit `i` of byte `i` moves to bit `i` of the highest byte, and nothing else does.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let (eights, rest) = bits.as_chunks::<8>();
    let byte = |eight: &[u8; 8]| (u64::from_le_bytes(*eight).wrapping_mul(GATHER) >> 56) as u8;
    let rest = (!rest.is_empty()).then(|| word(rest) as u8);
    eights.iter().map(byte).chain(rest).collect()
}

/// The inverse of [`packed`], for `n` bits.
fn unpacked(bytes: &[u8], n: usize) -> Vec<u8> {
    (0..n).map(|i| (bytes[i / 8] >> (i % 8)) & 1).collect()
}

/// Bits, lowest first, as a number.
pub(crate) fn word(bits: &[u8]) -> u64 {
    bits.iter().enumerate().fold(0, |word, (j, &b)| word | u64::from(b) << j)
}

fn items_len(items: usize, widths: &[u32]) -> usize {
    debug_assert!(items == 0 || items.is_multiple_of(widths.len()), "whole repetitions of the pattern");
    if items == 0 { 0 } else { pattern_message_len(items, widths) }
}

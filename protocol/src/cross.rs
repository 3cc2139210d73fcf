//! `own + got = choice * x` in both directions at once: the step that most protocols here consist of.
//!
//! | client: bits `c`, numbers `x`          |                     | server: bits `c'`, numbers `x'`        |
//! |----------------------------------------|---------------------|----------------------------------------|
//! | spends COTs as receiver and as sender  |                     | spends COTs as sender and as receiver  |
//! | random choices `b`                     | `<- */choice ->`    | random choices `b'`                    |
//! | `d = c xor b`                          |                     | `d' = c' xor b'`                       |
//! | `m = x + pad'0 - pad'1`                | `<- */payload ->`   | `m' = x' + pad0 - pad1`                |
//! | returns `own`, `got`                   |                     | returns `own'`, `got'`                 |
//!
//! `own + got' = c' x` and `own' + got = c x'`, each item modulo its own `2^w`; or the same with XOR for sums.
//! Two turns; one choice bit and `w` payload bits an item. Leakage: none; `d` and `m` are uniform to their
//! receiver. From the pool: one COT an item and direction. Source: Cheetah (2022/207), appendix on COT.

use sotto_net::{Channel, compute};
use sotto_ot::{bits_len, pattern_message_len};

use crate::{Error, Session};

/// The frame tags of the two messages.
#[derive(Clone, Copy)]
pub(crate) struct Tags(pub &'static str, pub &'static str);

/// What one party brings: choices for the other's numbers, numbers for the other's choices. The width of
/// item `i` is entry `i` of the pattern, repeated; the two directions may differ in length and pattern.
pub(crate) struct Cross<'a> {
    pub tags: Tags,
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
    pub own: Vec<u64>,
    /// For the other's numbers, times its own bits.
    pub got: Vec<u64>,
}

/// Additive shares of the products.
pub(crate) async fn add(s: &mut Session, c: Cross<'_>) -> Result<Crossed, Error> {
    let (outgoing, incoming) = s.cots(c.inputs.len(), c.choices.len()).await?;
    let choices = packed(c.choices);
    let (mine, pads) = match c.choices {
        [] => Default::default(),
        _ => {
            let (derand, pads) = compute(|| incoming.cot_choose(&choices, c.widths_in));
            (derand, Some(pads))
        }
    };
    let theirs = swap(&mut s.ch, c.tags.0, mine, bits_len(c.inputs.len())).await?;
    let (payload, own) = match c.inputs {
        [] => Default::default(),
        _ => compute(|| outgoing.cot_send(Some(&theirs), c.inputs, c.widths_out)),
    };
    let expected = items_len(c.choices.len(), c.widths_in);
    let payload = swap(&mut s.ch, c.tags.1, payload, expected).await?;
    let got = pads.map_or(Vec::new(), |pads| compute(|| pads.finish(&payload)));
    Ok(Crossed { own, got })
}

/// XOR shares of the products of bits with vectors of one width, as many in each direction.
pub(crate) async fn xor(
    s: &mut Session,
    tags: Tags,
    choices: &[u8],
    inputs: &[u64],
    width: u32,
) -> Result<Crossed, Error> {
    let n = inputs.len();
    let (outgoing, incoming) = s.cots(n, n).await?;
    let (derand, pads) = compute(|| incoming.xor_choose(&packed(choices), width as usize));
    let theirs = s.ch.exchange(tags.0, derand).await?;
    let (payload, own) = compute(|| outgoing.xor_send(Some(&theirs), inputs, width as usize));
    let payload = s.ch.exchange(tags.1, payload).await?;
    let got = compute(|| pads.finish(&payload));
    Ok(Crossed { own, got })
}

/// The offline form, in both directions: the receiver's bits are the COTs' random choices. Returns this
/// party's random bits, one byte each, beside the products. One turn, no choice bits.
pub(crate) async fn add_random(
    s: &mut Session,
    tag: &'static str,
    inputs: &[u64],
    widths: &[u32],
) -> Result<(Vec<u8>, Crossed), Error> {
    let (outgoing, incoming) = s.cots(inputs.len(), inputs.len()).await?;
    let (payload, own) = compute(|| outgoing.cot_send(None, inputs, widths));
    let payload = s.ch.exchange(tag, payload).await?;
    let pads = compute(|| incoming.cot_random(widths));
    let bits = unpacked(pads.choices(), inputs.len());
    let got = compute(|| pads.finish(&payload));
    Ok((bits, Crossed { own, got }))
}

/// The sending half of the offline form in one direction.
pub(crate) async fn add_random_send(
    s: &mut Session,
    tag: &'static str,
    inputs: &[u64],
    widths: &[u32],
) -> Result<Vec<u64>, Error> {
    let (outgoing, _) = s.cots(inputs.len(), 0).await?;
    let (payload, own) = compute(|| outgoing.cot_send(None, inputs, widths));
    s.ch.send(tag, payload)?;
    Ok(own)
}

/// The receiving half of the offline form in one direction, for `n` items: random bits and products.
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
    bits.chunks(8).map(|byte| word(byte) as u8).collect()
}

/// The inverse of [`packed`], for `n` bits.
fn unpacked(bytes: &[u8], n: usize) -> Vec<u8> {
    (0..n).map(|i| (bytes[i / 8] >> (i % 8)) & 1).collect()
}

/// Bits, lowest first, as a number.
pub(crate) fn word(bits: &[u8]) -> u64 {
    bits.iter().enumerate().fold(0, |word, (j, &b)| word | u64::from(b) << j)
}

/// Both send, both receive, where either message may be empty and then does not travel.
async fn swap(ch: &mut Channel, tag: &'static str, mine: Vec<u8>, theirs: usize) -> Result<Vec<u8>, Error> {
    if !mine.is_empty() {
        ch.send(tag, mine)?;
    }
    if theirs == 0 { Ok(Vec::new()) } else { Ok(ch.recv(tag, theirs).await?) }
}

fn items_len(items: usize, widths: &[u32]) -> usize {
    debug_assert!(items == 0 || items.is_multiple_of(widths.len()), "whole repetitions of the pattern");
    if items == 0 { 0 } else { pattern_message_len(items, widths) }
}

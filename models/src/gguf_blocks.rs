//! How GGUF stores numbers: plain, or in blocks of quantised values with scales.
//!
//! | type         | values | bytes | a value                                        |
//! |--------------|--------|-------|------------------------------------------------|
//! | F32          | 1      | 4     |                                                |
//! | F16, BF16    | 1      | 2     |                                                |
//! | Q4_0         | 32     | 18    | `d (q - 8)`, `q` of 4 bits                     |
//! | Q4_1         | 32     | 20    | `d q + m`                                      |
//! | Q5_0         | 32     | 22    | `d (q - 16)`, `q` of 5 bits                    |
//! | Q5_1         | 32     | 24    | `d q + m`                                      |
//! | Q8_0         | 32     | 34    | `d q`, `q` of 8 bits with a sign               |
//! | Q4_K         | 256    | 144   | `d s q - e m`, `s`, `m` of 6 bits for each 32  |
//! | Q5_K         | 256    | 176   | the same with `q` of 5 bits                    |
//! | Q6_K         | 256    | 210   | `d s (q - 32)`, `s` of 8 bits for each 16      |
//!
//! `d`, `e`, and the `m` of Q4_1 and Q5_1 are in half precision. Source: `ggml-common.h` and the
//! `dequantize_row` functions of ggml.

use half::{bf16, f16};

/// A way to store numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blocks {
    F32,
    F16,
    Bf16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4K,
    Q5K,
    Q6K,
}

/// The types that are read, for errors.
pub(crate) const READABLE: &str = "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K or Q6_K";

impl Blocks {
    /// By the number of the type; the name of a type that is not read is the error.
    pub(crate) fn of(kind: u32) -> Result<Blocks, String> {
        Ok(match kind {
            0 => Blocks::F32,
            1 => Blocks::F16,
            2 => Blocks::Q4_0,
            3 => Blocks::Q4_1,
            6 => Blocks::Q5_0,
            7 => Blocks::Q5_1,
            8 => Blocks::Q8_0,
            12 => Blocks::Q4K,
            13 => Blocks::Q5K,
            14 => Blocks::Q6K,
            30 => Blocks::Bf16,
            9 => return Err("Q8_1".into()),
            10 => return Err("Q2_K".into()),
            11 => return Err("Q3_K".into()),
            15 => return Err("Q8_K".into()),
            16..=23 | 29 => return Err(format!("IQ (number {kind})")),
            24 => return Err("I8".into()),
            25 => return Err("I16".into()),
            26 => return Err("I32".into()),
            27 => return Err("I64".into()),
            28 => return Err("F64".into()),
            34 | 35 => return Err(format!("TQ (number {kind})")),
            39 => return Err("MXFP4".into()),
            other => return Err(format!("number {other}")),
        })
    }

    /// Values in a block.
    pub(crate) fn values(self) -> usize {
        match self {
            Blocks::F32 | Blocks::F16 | Blocks::Bf16 => 1,
            Blocks::Q4_0 | Blocks::Q4_1 | Blocks::Q5_0 | Blocks::Q5_1 | Blocks::Q8_0 => 32,
            Blocks::Q4K | Blocks::Q5K | Blocks::Q6K => 256,
        }
    }

    /// Bytes of a block.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Blocks::F32 => 4,
            Blocks::F16 | Blocks::Bf16 => 2,
            Blocks::Q4_0 => 18,
            Blocks::Q4_1 => 20,
            Blocks::Q5_0 => 22,
            Blocks::Q5_1 => 24,
            Blocks::Q8_0 => 34,
            Blocks::Q4K => 144,
            Blocks::Q5K => 176,
            Blocks::Q6K => 210,
        }
    }

    /// The values of whole blocks.
    pub(crate) fn read(self, bytes: &[u8]) -> Vec<f32> {
        let mut values = Vec::with_capacity(bytes.len() / self.bytes() * self.values());
        for block in bytes.chunks_exact(self.bytes()) {
            match self {
                Blocks::F32 => values.push(f32::from_le_bytes([block[0], block[1], block[2], block[3]])),
                Blocks::F16 => values.push(half(block)),
                Blocks::Bf16 => values.push(bf16::from_le_bytes([block[0], block[1]]).to_f32()),
                Blocks::Q4_0 => four_bits(&block[2..], |q| half(block) * (q - 8.0), &mut values),
                Blocks::Q4_1 => four_bits(&block[4..], scaled(block), &mut values),
                Blocks::Q5_0 => five_bits(&block[2..], |q| half(block) * (q - 16.0), &mut values),
                Blocks::Q5_1 => five_bits(&block[4..], scaled(block), &mut values),
                Blocks::Q8_0 => {
                    values.extend(block[2..].iter().map(|&q| half(block) * f32::from(q.cast_signed())));
                }
                Blocks::Q4K => super_block(block, &block[16..], |_, _| 0, &mut values),
                Blocks::Q5K => {
                    let high = |half: usize, i: usize| block[16 + i] >> half & 1;
                    super_block(block, &block[48..], high, &mut values);
                }
                Blocks::Q6K => six_bits(block, &mut values),
            }
        }
        values
    }
}

/// The first two bytes, in half precision.
fn half(block: &[u8]) -> f32 {
    f16::from_le_bytes([block[0], block[1]]).to_f32()
}

/// `d q + m`.
fn scaled(block: &[u8]) -> impl Fn(f32) -> f32 {
    let (d, m) = (half(block), half(&block[2..]));
    move |q| d * q + m
}

/// 16 bytes: the low halves are the first 16 values.
fn four_bits(quants: &[u8], value: impl Fn(f32) -> f32, values: &mut Vec<f32>) {
    values.extend(quants.iter().map(|q| value(f32::from(q & 15))));
    values.extend(quants.iter().map(|q| value(f32::from(q >> 4))));
}

/// The same, after 4 bytes with the fifth bit of every value.
fn five_bits(bytes: &[u8], value: impl Fn(f32) -> f32, values: &mut Vec<f32>) {
    let (high, quants) = bytes.split_at(4);
    let fifth = |i: usize| (high[i / 8] >> (i % 8) & 1) << 4;
    values.extend(quants.iter().enumerate().map(|(i, q)| value(f32::from(q & 15 | fifth(i)))));
    values.extend(quants.iter().enumerate().map(|(i, q)| value(f32::from(q >> 4 | fifth(16 + i)))));
}

/// Q4_K and Q5_K: each 32 bytes of `quants` are two groups of 32 values. `high` gives the fifth bit
/// of value `i` of a group.
fn super_block(block: &[u8], quants: &[u8], high: impl Fn(usize, usize) -> u8, values: &mut Vec<f32>) {
    let (d, e) = (half(block), half(&block[2..]));
    for group in 0..8 {
        let (s, m) = scale_and_minimum(&block[4..16], group);
        let (scale, minimum) = (d * f32::from(s), e * f32::from(m));
        let quants = &quants[32 * (group / 2)..][..32];
        values.extend(quants.iter().enumerate().map(|(i, q)| {
            let low = if group % 2 == 0 { q & 15 } else { q >> 4 };
            scale * f32::from(low | high(group, i) << 4) - minimum
        }));
    }
}

/// 8 scales and 8 minima of 6 bits in 12 bytes: of the last four each, the upper two bits lie above
/// those of the first four.
fn scale_and_minimum(packed: &[u8], group: usize) -> (u8, u8) {
    if group < 4 {
        return (packed[group] & 63, packed[group + 4] & 63);
    }
    let (low, s, m) = (packed[group + 4], packed[group - 4] >> 6, packed[group] >> 6);
    (low & 15 | s << 4, low >> 4 | m << 4)
}

/// Q6_K: in each half of the block, 64 bytes of lower four bits, 32 bytes of upper two bits and 8
/// scales for four groups of 32 values.
fn six_bits(block: &[u8], values: &mut Vec<f32>) {
    let (low, high, scales, d) = (&block[..128], &block[128..192], &block[192..208], half(&block[208..]));
    for n in 0..2 {
        let (low, high, scales) = (&low[64 * n..], &high[32 * n..], &scales[8 * n..]);
        for group in 0..4 {
            values.extend((0..32).map(|i| {
                let byte = low[i + 32 * (group % 2)];
                let four = if group < 2 { byte & 15 } else { byte >> 4 };
                let q = f32::from(four | (high[i] >> (2 * group) & 3) << 4) - 32.0;
                d * f32::from(scales[2 * group + i / 16].cast_signed()) * q
            }));
        }
    }
}

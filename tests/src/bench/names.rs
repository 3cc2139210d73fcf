//! Every case's name, and which of them have no protocol yet. A name is kept for ever.

use std::io::{Write, stdout};

use sotto_protocol::Precision;

use crate::cases;

/// All names, in the order of the list.
const NAMES: &[&str] = &[
    "setup/session",
    "setup/ot",
    "cot/silent-fast",
    "cot/silent-lean",
    "cot/softspoken-2",
    "cot/softspoken-4",
    "cot/softspoken-8",
    "cot/silent-fast-checked",
    "cot/softspoken-4-checked",
    "rot/packed",
    "and/triples",
    "linear/1x768x768",
    "linear/128x768x768",
    "linear/128x768x3072",
    "linear/1x4096x4096",
    "linear/128x4096x4096",
    "linear/1x768x50257",
    "matmul/12x128x64x128",
    "matmul/12x128x128x64",
    "mul/16384",
    "mul/65536",
    "mul/1048576",
    "square/16384",
    "square/65536",
    "square/1048576",
    "compare/16384",
    "compare/65536",
    "compare/1048576",
    "truncate/16384",
    "truncate/65536",
    "truncate/1048576",
    "exp/16384",
    "exp/65536",
    "exp/1048576",
    "reciprocal/16384",
    "reciprocal/65536",
    "reciprocal/1048576",
    "rsqrt/16384",
    "rsqrt/65536",
    "rsqrt/1048576",
    "gelu/128x3072",
    "gelu_tanh/128x3072",
    "silu/128x3072",
    "softplus/128x3072",
    "sigmoid/128x3072",
    "tanh/128x3072",
    "softmax/12x128x128",
    "rms_norm/128x768",
    "layer_norm/128x768",
    "embed/32x32000x768",
    "argmax/32000",
    "top_k/32000",
    "block/bert-base/128",
    "block/llama-768/32",
    "block/llama-768/128",
    "layer/llama-7b/1",
    "layer/llama-7b/8",
];

/// What the cases without a protocol lack.
const UNWRITTEN: &[(&str, &str)] =
    &[("layer/llama-7b/1", "a cache cannot be made from shares, and 63 tokens of prefill are no set-up")];

/// Why `case` cannot be run, if it is a case and cannot.
pub fn unwritten(case: &str) -> Option<&'static str> {
    UNWRITTEN.iter().find(|(name, _)| *name == case).map(|(_, reason)| *reason)
}

/// Prints all names, one a line; those without a protocol are marked.
///
/// # Errors
/// Nobody reads.
pub fn print() -> std::io::Result<()> {
    for name in NAMES {
        debug_assert!(
            unwritten(name).is_some() != cases::parse(name, Precision::default()).is_some(),
            "{name}"
        );
        match unwritten(name) {
            Some(_) => writeln!(stdout(), "{name} (not written yet)")?,
            None => writeln!(stdout(), "{name}")?,
        }
    }
    Ok(())
}

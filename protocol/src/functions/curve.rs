//! The activation functions of transformers as functions of real numbers, and the windows on which
//! they are tabulated.

use serde::{Deserialize, Serialize};

/// The largest result of [`Activation::SoftCap`].
pub const CAP: f64 = 4.0;

/// An activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activation {
    /// `x / (1 + exp(-x))`.
    Silu,
    /// `x (1 + erf(x / sqrt(2))) / 2`.
    Gelu,
    /// `x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2`.
    GeluTanh,
    /// `ln(1 + exp(x))`.
    Softplus,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `tanh(x)`.
    Tanh,
    /// `4 tanh(x / 4)`: a soft cap, with as many segments for a unit of the result as the precision
    /// of scores asks for.
    SoftCap,
    /// `max(x, 0)`, which has no table.
    Relu,
}

impl Activation {
    /// Those that have tables, in the order of these.
    pub const ALL: [Activation; 7] = [
        Activation::Silu,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Softplus,
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::SoftCap,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Activation::Silu => "silu",
            Activation::Gelu => "gelu",
            Activation::GeluTanh => "gelu_tanh",
            Activation::Softplus => "softplus",
            Activation::Sigmoid => "sigmoid",
            Activation::Tanh => "tanh",
            Activation::SoftCap => "soft_cap",
            Activation::Relu => "relu",
        }
    }

    /// The real function, and its limit at minus infinity.
    pub fn real(self, x: f64) -> f64 {
        if x == f64::NEG_INFINITY {
            return match self {
                Activation::Tanh => -1.0,
                Activation::SoftCap => -CAP,
                _ => 0.0,
            };
        }
        let cubic = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
        match self {
            Activation::Silu => x / (1.0 + (-x).exp()),
            Activation::Gelu => x * 0.5 * (1.0 + libm::erf(x / std::f64::consts::SQRT_2)),
            Activation::GeluTanh => x * 0.5 * (1.0 + cubic.tanh()),
            Activation::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
            Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Activation::Tanh => x.tanh(),
            Activation::SoftCap => CAP * (x / CAP).tanh(),
            Activation::Relu => x.max(0.0),
        }
    }

    /// Half the window, and log2 of its segments.
    pub(crate) fn window(self) -> (f64, u32) {
        match self {
            Activation::Silu | Activation::Softplus => (8.0, 8),
            Activation::Gelu | Activation::GeluTanh => (4.0, 7),
            Activation::Sigmoid => (8.0, 7),
            Activation::Tanh => (4.0, 8),
            Activation::SoftCap => (16.0, 9),
            Activation::Relu => unreachable!("ReLU has no table"),
        }
    }

    /// The largest magnitude for which the result is right, in real units.
    pub const fn bound(self) -> f64 {
        match self {
            Activation::Gelu | Activation::GeluTanh | Activation::Tanh | Activation::Relu => 507.0,
            Activation::Silu | Activation::Softplus | Activation::Sigmoid => 503.0,
            Activation::SoftCap => 495.0,
        }
    }
}

//! The networks that there are, by the `model_type` of their `config.json`: one line each.

use sotto_protocol::Error;

use crate::{
    Config,
    architectures::llama::Llama,
    error::Error as LoadError,
    evaluator::{Evaluator, Tokens},
    weights::Source,
};

/// A network over a vocabulary that gives logits.
#[allow(async_fn_in_trait)]
pub trait Network {
    /// What this side knows of a weight matrix.
    type Weight;

    /// Logits `[R, V]` after tokens that follow those before; of the last one only, or of all.
    ///
    /// # Errors
    /// What the peer or the network connection does.
    async fn forward<E: Evaluator<Weight = Self::Weight>>(
        &self,
        e: &mut E,
        tokens: Tokens<'_>,
        all: bool,
    ) -> Result<E::Tensor, Error>;
}

macro_rules! networks {
    ($($(#[$doc:meta])* $variant:ident: $model_type:literal => $page:ident),* $(,)?) => {
        /// Any of the networks.
        pub enum AnyNetwork<W> {
            $($(#[$doc])* $variant($page<W>),)*
        }

        /// The `model_type`s that are supported.
        pub const MODEL_TYPES: &[&str] = &[$($model_type),*];

        impl<W> AnyNetwork<W> {
            /// The network of a configuration, from the tensors of a checkpoint.
            ///
            /// # Errors
            /// A tensor is missing or misshapen, or has numbers that cannot be represented.
            pub fn load<S: Source<Weight = W>>(c: &Config, s: &S) -> Result<AnyNetwork<W>, LoadError> {
                match c.model_type() {
                    $($model_type => Ok(AnyNetwork::$variant($page::load(c, s)?)),)*
                    other => unreachable!("a configuration of type {other} was refused before"),
                }
            }
        }

        $(impl<W> Network for $page<W> {
            type Weight = W;

            async fn forward<E: Evaluator<Weight = W>>(
                &self,
                e: &mut E,
                tokens: Tokens<'_>,
                all: bool,
            ) -> Result<E::Tensor, Error> {
                $page::forward(self, e, tokens, all).await
            }
        })*

        impl<W> Network for AnyNetwork<W> {
            type Weight = W;

            async fn forward<E: Evaluator<Weight = W>>(
                &self,
                e: &mut E,
                tokens: Tokens<'_>,
                all: bool,
            ) -> Result<E::Tensor, Error> {
                match self {
                    $(AnyNetwork::$variant(page) => page.forward(e, tokens, all).await,)*
                }
            }
        }
    };
}

networks! {
    /// LLaMA and what has its form.
    Llama: "llama" => Llama,
}

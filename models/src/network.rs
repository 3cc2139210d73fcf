//! The networks that there are, by the `model_type` of their `config.json`: one line each.

use serde::{Deserialize, Serialize};
use sotto_protocol::Error;

use crate::{
    Config, ConfigError, Fields,
    architectures::{
        gemma::Gemma, gpt_neox::GptNeox, gpt2::Gpt2, llama::Llama, phi::Phi, phi3::Phi3, stablelm::StableLm,
        starcoder2::Starcoder2,
    },
    config_json::Reader,
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
    ($($(#[$doc:meta])* $variant:ident: $($model_type:literal $class:literal),* => $page:ident;)*) => {
        /// Any of the networks.
        pub enum AnyNetwork<W> {
            $($(#[$doc])* $variant($page<W>),)*
        }

        /// Which of the networks.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Architecture {
            $($(#[$doc])* $variant,)*
        }

        /// The `model_type`s that are supported, and the class of each that has a language model's
        /// head.
        pub const MODEL_TYPES: &[(&str, &str, Architecture)] =
            &[$($(($model_type, $class, Architecture::$variant),)*)*];

        impl Architecture {
            /// The fields of a `config.json` of this architecture.
            pub(crate) fn fields(self, json: &mut Reader<'_>) -> Result<Fields, ConfigError> {
                match self {
                    $(Architecture::$variant => $page::<()>::fields(json),)*
                }
            }

            /// Tensors that are masks of a causal attention and no weights, by the ends of their names.
            pub(crate) fn buffers(self) -> &'static [&'static str] {
                match self {
                    $(Architecture::$variant => $page::<()>::BUFFERS,)*
                }
            }

            /// The prefix of tensors that files of a network without its head leave out.
            pub(crate) fn prefix(self) -> &'static str {
                match self {
                    $(Architecture::$variant => $page::<()>::PREFIX,)*
                }
            }
        }

        impl<W> AnyNetwork<W> {
            /// The network of a configuration, from the tensors of a checkpoint.
            ///
            /// # Errors
            /// A tensor is missing or misshapen, or has numbers that cannot be represented.
            pub fn load<S: Source<Weight = W>>(c: &Config, s: &S) -> Result<AnyNetwork<W>, LoadError> {
                match c.architecture {
                    $(Architecture::$variant => Ok(AnyNetwork::$variant($page::load(c, s)?)),)*
                }
            }
        }

        impl<W> Network for AnyNetwork<W> {
            type Weight = W;

            async fn forward<E: Evaluator<Weight = W>>(
                &self,
                e: &mut E,
                tokens: Tokens<'_>,
                all: bool,
            ) -> Result<E::Tensor, Error> {
                match self {
                    $(AnyNetwork::$variant(page) => page.0.forward(e, tokens, all).await,)*
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
                self.0.forward(e, tokens, all).await
            }
        })*
    };
}

networks! {
    /// LLaMA and what has its form.
    Llama:
        "llama" "LlamaForCausalLM",
        "mistral" "MistralForCausalLM",
        "qwen2" "Qwen2ForCausalLM",
        "smollm3" "SmolLM3ForCausalLM",
        "granite" "GraniteForCausalLM"
        => Llama;
    /// LLaMA with projections that are stored as one.
    Phi3: "phi3" "Phi3ForCausalLM" => Phi3;
    /// Gemma, the first of its name.
    Gemma: "gemma" "GemmaForCausalLM" => Gemma;
    /// GPT-2.
    Gpt2: "gpt2" "GPT2LMHeadModel" => Gpt2;
    /// GPT-NeoX and Pythia.
    GptNeox: "gpt_neox" "GPTNeoXForCausalLM" => GptNeox;
    /// Phi-1, Phi-1.5 and Phi-2.
    Phi: "phi" "PhiForCausalLM" => Phi;
    /// StableLM.
    StableLm: "stablelm" "StableLmForCausalLM" => StableLm;
    /// StarCoder2.
    Starcoder2: "starcoder2" "Starcoder2ForCausalLM" => Starcoder2;
}

//! The networks that there are, by the `model_type` of their `config.json`: one line each.

use serde::{Deserialize, Serialize};
use sotto_protocol::Error;

use crate::{
    Config, ConfigError, Fields,
    architectures::{
        bert::Bert, distilbert::DistilBert, electra::Electra, gemma::Gemma, gpt_neox::GptNeox, gpt2::Gpt2,
        llama::Llama, phi::Phi, phi3::Phi3, roberta::Roberta, stablelm::StableLm, starcoder2::Starcoder2,
    },
    config_json::Reader,
    error::Error as LoadError,
    evaluator::{Evaluator, Tokens},
    weights::Source,
};

/// A network over a vocabulary that gives logits, or a text's vector.
#[allow(async_fn_in_trait)]
pub trait Network {
    /// What this side knows of a weight matrix.
    type Weight;

    /// Of a decoder, logits `[R, V]` after tokens that follow those before; of the last one only,
    /// or of all. Of an encoder, what its task takes; or the same of all positions.
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

/// The classes of transformers that a `model_type` has, as far as they are supported.
#[derive(Clone, Copy)]
pub enum Classes {
    /// The one that continues texts.
    Decoder(&'static str),
    /// Those of an encoder with any head: how their names begin.
    Encoder(&'static str),
}

macro_rules! networks {
    ($($(#[$doc:meta])* $variant:ident: $($model_type:literal $kind:ident($class:literal)),* => $page:ident;)*) => {
        /// Any of the networks.
        pub enum AnyNetwork<W> {
            $($(#[$doc])* $variant($page<W>),)*
        }

        /// Which of the networks.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Architecture {
            $($(#[$doc])* $variant,)*
        }

        /// The `model_type`s that are supported, and the classes of each.
        pub const MODEL_TYPES: &[(&str, Classes, Architecture)] =
            &[$($(($model_type, Classes::$kind($class), Architecture::$variant),)*)*];

        impl Architecture {
            /// The fields of a `config.json` of this architecture.
            pub(crate) fn fields(self, json: &mut Reader<'_>) -> Result<Fields, ConfigError> {
                match self {
                    $(Architecture::$variant => $page::<()>::fields(json),)*
                }
            }

            /// Whether it is an encoder.
            pub fn is_encoder(self) -> bool {
                let is = |classes: &Classes| matches!(classes, Classes::Encoder(_));
                MODEL_TYPES.iter().any(|(_, classes, architecture)| *architecture == self && is(classes))
            }

            /// Tensors that are no weights, or others once more, by the ends of their names.
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
        "llama" Decoder("LlamaForCausalLM"),
        "mistral" Decoder("MistralForCausalLM"),
        "qwen2" Decoder("Qwen2ForCausalLM"),
        "smollm3" Decoder("SmolLM3ForCausalLM"),
        "granite" Decoder("GraniteForCausalLM")
        => Llama;
    /// LLaMA with projections that are stored as one.
    Phi3: "phi3" Decoder("Phi3ForCausalLM") => Phi3;
    /// Gemma, the first of its name.
    Gemma: "gemma" Decoder("GemmaForCausalLM") => Gemma;
    /// GPT-2.
    Gpt2: "gpt2" Decoder("GPT2LMHeadModel") => Gpt2;
    /// GPT-NeoX and Pythia.
    GptNeox: "gpt_neox" Decoder("GPTNeoXForCausalLM") => GptNeox;
    /// Phi-1, Phi-1.5 and Phi-2.
    Phi: "phi" Decoder("PhiForCausalLM") => Phi;
    /// StableLM.
    StableLm: "stablelm" Decoder("StableLmForCausalLM") => StableLm;
    /// StarCoder2.
    Starcoder2: "starcoder2" Decoder("Starcoder2ForCausalLM") => Starcoder2;
    /// BERT.
    Bert: "bert" Encoder("Bert") => Bert;
    /// RoBERTa and XLM-RoBERTa.
    Roberta: "roberta" Encoder("Roberta"), "xlm-roberta" Encoder("XLMRoberta") => Roberta;
    /// DistilBERT.
    DistilBert: "distilbert" Encoder("DistilBert") => DistilBert;
    /// ELECTRA.
    Electra: "electra" Encoder("Electra") => Electra;
}

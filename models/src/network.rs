//! The networks that there are, by the `model_type` of their `config.json`: one line each.

use serde::{Deserialize, Serialize};
use sotto_protocol::Error;

use crate::{
    Config, ConfigError, Fields,
    architectures::{
        bert::Bert, distilbert::DistilBert, electra::Electra, gemma::Gemma, gemma2::Gemma2, gemma3::Gemma3,
        gpt_neox::GptNeox, gpt2::Gpt2, llama::Llama, olmo2::Olmo2, phi::Phi, phi3::Phi3, qwen3::Qwen3,
        roberta::Roberta, stablelm::StableLm, starcoder2::Starcoder2,
    },
    config_json::Reader,
    error::Error as LoadError,
    evaluator::{Evaluator, Tokens},
    weights::Source,
};

/// Which positions' outputs are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outputs {
    /// None: what the tokens leave in the caches is all. What comes out is not to be read.
    Nothing,
    /// The last one's.
    Last,
    /// All.
    All,
}

impl From<bool> for Outputs {
    fn from(all: bool) -> Outputs {
        if all { Outputs::All } else { Outputs::Last }
    }
}

/// A network over a vocabulary that gives logits, or a text's vector.
#[allow(async_fn_in_trait)]
pub trait Network {
    /// What this side knows of a weight matrix.
    type Weight;

    /// Of a decoder, logits `[R, V]` after tokens that follow those before. Of an encoder, what its
    /// task takes; or the same of all positions.
    ///
    /// # Errors
    /// What the peer or the network connection does.
    async fn forward<E: Evaluator<Weight = Self::Weight>>(
        &self,
        e: &mut E,
        tokens: Tokens<'_>,
        outputs: Outputs,
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

/// A `model_type` that is supported.
pub struct ModelType {
    /// Its name in `config.json`.
    pub name: &'static str,
    /// Its classes.
    pub classes: Classes,
    /// The network that it has.
    pub architecture: Architecture,
    /// Well-known models of it.
    pub models: &'static str,
}

impl ModelType {
    /// What its models are for, in words.
    pub fn purpose(&self) -> &'static str {
        match self.classes {
            Classes::Decoder(_) => "continues texts",
            Classes::Encoder(_) => "vectors, labels, masked words, answers",
        }
    }
}

macro_rules! networks {
    ($(
        $(#[$doc:meta])* $variant:ident:
        $($model_type:literal $kind:ident($class:literal) $models:literal),* => $page:ident;
    )*) => {
        /// Any of the networks.
        pub enum AnyNetwork<W> {
            $($(#[$doc])* $variant($page<W>),)*
        }

        /// Which of the networks.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Architecture {
            $($(#[$doc])* $variant,)*
        }

        /// The `model_type`s that are supported.
        pub const MODEL_TYPES: &[ModelType] = &[$($(ModelType {
            name: $model_type,
            classes: Classes::$kind($class),
            architecture: Architecture::$variant,
            models: $models,
        },)*)*];

        impl Architecture {
            /// The fields of a `config.json` of this architecture.
            pub(crate) fn fields(self, json: &mut Reader<'_>) -> Result<Fields, ConfigError> {
                match self {
                    $(Architecture::$variant => $page::<()>::fields(json),)*
                }
            }

            /// Whether it is an encoder.
            pub fn is_encoder(self) -> bool {
                let is = |kind: &ModelType| matches!(kind.classes, Classes::Encoder(_));
                MODEL_TYPES.iter().any(|kind| kind.architecture == self && is(kind))
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
                outputs: Outputs,
            ) -> Result<E::Tensor, Error> {
                match self {
                    $(AnyNetwork::$variant(page) => page.0.forward(e, tokens, outputs).await,)*
                }
            }
        }

        $(impl<W> Network for $page<W> {
            type Weight = W;

            async fn forward<E: Evaluator<Weight = W>>(
                &self,
                e: &mut E,
                tokens: Tokens<'_>,
                outputs: Outputs,
            ) -> Result<E::Tensor, Error> {
                self.0.forward(e, tokens, outputs).await
            }
        })*
    };
}

networks! {
    /// LLaMA and what has its form.
    Llama:
        "llama" Decoder("LlamaForCausalLM") "LLaMA 1 to 3, SmolLM 1 and 2, TinyLlama",
        "mistral" Decoder("MistralForCausalLM") "Mistral 7B",
        "qwen2" Decoder("Qwen2ForCausalLM") "Qwen2, Qwen2.5",
        "smollm3" Decoder("SmolLM3ForCausalLM") "SmolLM3",
        "granite" Decoder("GraniteForCausalLM") "Granite 3"
        => Llama;
    /// Qwen3.
    Qwen3: "qwen3" Decoder("Qwen3ForCausalLM") "Qwen3 (but not its mixtures of experts)" => Qwen3;
    /// OLMo 2.
    Olmo2: "olmo2" Decoder("Olmo2ForCausalLM") "OLMo 2" => Olmo2;
    /// LLaMA with projections that are stored as one.
    Phi3: "phi3" Decoder("Phi3ForCausalLM") "Phi-3, Phi-3.5, Phi-4-mini (without `longrope`)" => Phi3;
    /// Gemma, the first of its name.
    Gemma: "gemma" Decoder("GemmaForCausalLM") "Gemma 1" => Gemma;
    /// Gemma 2.
    Gemma2: "gemma2" Decoder("Gemma2ForCausalLM") "Gemma 2" => Gemma2;
    /// Gemma 3 for texts.
    Gemma3: "gemma3_text" Decoder("Gemma3ForCausalLM") "Gemma 3 of 270M and 1B" => Gemma3;
    /// GPT-2.
    Gpt2: "gpt2" Decoder("GPT2LMHeadModel") "GPT-2, DistilGPT2" => Gpt2;
    /// GPT-NeoX and Pythia.
    GptNeox: "gpt_neox" Decoder("GPTNeoXForCausalLM") "GPT-NeoX, Pythia" => GptNeox;
    /// Phi-1, Phi-1.5 and Phi-2.
    Phi: "phi" Decoder("PhiForCausalLM") "Phi-1, Phi-1.5, Phi-2" => Phi;
    /// StableLM.
    StableLm: "stablelm" Decoder("StableLmForCausalLM") "StableLM" => StableLm;
    /// StarCoder2.
    Starcoder2: "starcoder2" Decoder("Starcoder2ForCausalLM") "StarCoder2" => Starcoder2;
    /// BERT.
    Bert: "bert" Encoder("Bert") "BERT, MiniLM, BGE, E5" => Bert;
    /// RoBERTa and XLM-RoBERTa.
    Roberta: "roberta" Encoder("Roberta") "RoBERTa", "xlm-roberta" Encoder("XLMRoberta") "XLM-RoBERTa, multilingual E5" => Roberta;
    /// DistilBERT.
    DistilBert: "distilbert" Encoder("DistilBert") "DistilBERT" => DistilBert;
    /// ELECTRA.
    Electra: "electra" Encoder("Electra") "ELECTRA" => Electra;
}

"""Writes the golden folders under `models/tests/data/golden/`: tiny models of the families with
random weights by a fixed seed, and what `transformers` makes of them.

    python models/tests/golden.py [NAME ...]        all of them, or those named

Each folder holds `config.json` and `model.safetensors` as `save_pretrained` writes them (weights in
F16) and `expected.json`, computed in f32 with attn_implementation="eager" from the rounded weights,
on one thread; every number is rounded to 6 significant digits:

    decoders  {"tokens", "logits"}: a row of the vocabulary for each position
    encoders  {"tokens", "hidden"}: a row of the last hidden state for each position; "pooled" where
              the model has a pooler; "logits" where it has a head, in the shape of the head: a row
              for a sequence; a row for each position for tokens, words (the vocabulary) and spans
              (start, end); a number for each position for the discriminator; "pair" for questions:
              the logits if all tokens but the first five are a second text

Dimensions are odd, so that a wrong one shows; every parameter is drawn, also those that are zero or
one in a fresh model, and taking any of them away changes the answer: that is checked here, and that
the folder reads back to the same answer.

Made with transformers 5.24.0, torch 2.15.0.
"""

import json
import os
import re
import shutil
import sys
import zlib

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers as hf

torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)
hf.logging.set_verbosity_error()
hf.logging.disable_progress_bar()

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "golden")
LENGTH = 14
PAIR = 5  # tokens of the first of two texts
SPECIAL = dict(bos_token_id=1, eos_token_id=2, pad_token_id=None)

# Shapes that most decoders share.
SHAPE = dict(
    vocab_size=50,
    hidden_size=24,
    intermediate_size=40,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
    **SPECIAL,
)
# Not hidden / heads, where a family can say so.
HEAD = dict(head_dim=10)
# So large that it shows.
RMS = dict(rms_norm_eps=0.003)
LAYER = dict(layer_norm_eps=0.003)
NEOX = {key: SHAPE[key] for key in SHAPE if key != "num_key_value_heads"} | dict(hidden_size=32)
ALTERNATING = dict(num_hidden_layers=4, intermediate_size=36)


def rope(theta=100.0, kind="default", **fields):
    return dict(rope_parameters=dict(rope_type=kind, rope_theta=theta, **fields))


def decoder(family, **fields):
    """A causal language model of a family, by the prefix of its classes."""
    norm = LAYER if family in ("GPTNeoX", "Phi", "StableLm") else RMS
    return family + "ForCausalLM", fields | norm


# name: (class, fields of the configuration)
MODELS = {
    "gpt2": (
        "GPT2LMHeadModel",
        dict(
            vocab_size=50,
            n_positions=64,
            n_embd=24,
            n_layer=2,
            n_head=4,
            n_inner=40,
            layer_norm_epsilon=0.003,
            **SPECIAL,
        ),
    ),
    "gpt-neox": decoder(
        "GPTNeoX",
        **NEOX | dict(num_attention_heads=2),
        **rope(partial_rotary_factor=0.25),
    ),
    "gpt-neox-sequential": decoder(
        "GPTNeoX",
        **NEOX,
        use_parallel_residual=False,
        **rope(partial_rotary_factor=0.5),
    ),
    "llama-llama3": decoder(
        "Llama",
        **SHAPE,
        **HEAD,
        attention_bias=True,
        mlp_bias=True,
        **rope(
            kind="llama3",
            factor=8.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=32,
        ),
    ),
    "llama-yarn": decoder(
        "Llama",
        **SHAPE,
        **HEAD,
        **rope(
            theta=20.0,
            kind="yarn",
            factor=2.0,
            beta_fast=2.0,
            beta_slow=0.5,
            original_max_position_embeddings=32,
        ),
    ),
    "llama-linear": decoder("Llama", **SHAPE, **HEAD, **rope(kind="linear", factor=2.5)),
    "mistral": decoder("Mistral", **SHAPE, **HEAD, **rope(), sliding_window=None),
    "mistral-sliding": decoder("Mistral", **SHAPE, **HEAD, **rope(), sliding_window=5),
    "qwen2": decoder("Qwen2", **SHAPE, **rope(), tie_word_embeddings=True),
    "qwen2-sliding": decoder(
        "Qwen2", **SHAPE, **rope(), use_sliding_window=True, sliding_window=5, max_window_layers=1
    ),
    "qwen3": decoder("Qwen3", **SHAPE, **HEAD, **rope()),
    "phi3": decoder("Phi3", **SHAPE, **rope(), original_max_position_embeddings=64),
    "phi3-longrope": decoder(
        "Phi3",
        **SHAPE | dict(hidden_size=32),
        **rope(
            kind="longrope",
            partial_rotary_factor=0.75,
            short_factor=[1.0, 1.5, 2.0],
            long_factor=[2.0, 3.0, 5.0],
        ),
        original_max_position_embeddings=16,
        sliding_window=9,
        tie_word_embeddings=True,
    ),
    "phi": decoder("Phi", **SHAPE | dict(hidden_size=32), **rope(partial_rotary_factor=0.5)),
    "gemma": decoder("Gemma", **SHAPE | dict(num_key_value_heads=1), **HEAD, **rope()),
    "gemma2": decoder(
        "Gemma2",
        **SHAPE | ALTERNATING,
        head_dim=8,
        **rope(),
        query_pre_attn_scalar=5,
        attn_logit_softcapping=4.0,
        final_logit_softcapping=3.0,
        sliding_window=5,
    ),
    "gemma3": decoder(
        "Gemma3",
        **SHAPE | ALTERNATING,
        head_dim=8,
        rope_parameters=dict(
            full_attention=dict(rope_type="linear", factor=4.0, rope_theta=1000.0),
            sliding_attention=dict(rope_type="default", rope_theta=50.0),
        ),
        query_pre_attn_scalar=5,
        sliding_window=5,
        sliding_window_pattern=3,
    ),
    "smollm3": decoder("SmolLM3", **SHAPE | ALTERNATING, **rope(), no_rope_layers=[1, 0, 1, 1]),
    "olmo2": decoder("Olmo2", **SHAPE, **rope()),
    "granite": decoder(
        "Granite",
        **SHAPE,
        **rope(),
        embedding_multiplier=3.0,
        attention_multiplier=0.3,
        residual_multiplier=0.6,
        logits_scaling=1.3,
        tie_word_embeddings=True,
    ),
    "stablelm": decoder(
        "StableLm",
        **SHAPE | dict(hidden_size=32),
        **rope(partial_rotary_factor=0.5),
        use_qkv_bias=True,
    ),
    "stablelm-parallel": decoder(
        "StableLm",
        **SHAPE | dict(hidden_size=32),
        **rope(partial_rotary_factor=0.75),
        qk_layernorm=True,
        use_parallel_residual=True,
    ),
}

ENCODER = dict(
    vocab_size=50,
    hidden_size=24,
    intermediate_size=40,
    num_hidden_layers=2,
    num_attention_heads=4,
    max_position_embeddings=32,
    layer_norm_eps=0.003,
    pad_token_id=0,
)
ROBERTA = ENCODER | dict(type_vocab_size=1, pad_token_id=1, bos_token_id=0, eos_token_id=2)
XLM = ROBERTA | dict(pad_token_id=3)
ELECTRA = ENCODER | dict(embedding_size=20)
DISTIL = dict(
    vocab_size=50,
    dim=24,
    hidden_dim=40,
    n_layers=2,
    n_heads=4,
    max_position_embeddings=32,
    pad_token_id=0,
)
MODERN = dict(
    vocab_size=50,
    hidden_size=24,
    intermediate_size=36,
    num_hidden_layers=2,
    num_attention_heads=4,
    max_position_embeddings=64,
    norm_eps=0.003,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
    cls_token_id=1,
    sep_token_id=2,
    local_attention=6,
    global_attn_every_n_layers=2,
    rope_parameters=dict(
        full_attention=dict(rope_type="default", rope_theta=1000.0),
        sliding_attention=dict(rope_type="default", rope_theta=50.0),
    ),
)

MODELS |= {
    "bert": ("BertModel", ENCODER),
    "bert-sequence": ("BertForSequenceClassification", ENCODER | dict(num_labels=3)),
    "bert-token": ("BertForTokenClassification", ENCODER | dict(num_labels=5)),
    "bert-question": ("BertForQuestionAnswering", ENCODER),
    "bert-masked": ("BertForMaskedLM", ENCODER),
    "roberta": ("RobertaModel", ROBERTA),
    "roberta-sequence": ("RobertaForSequenceClassification", ROBERTA | dict(num_labels=3)),
    "roberta-masked": ("RobertaForMaskedLM", ROBERTA),
    "xlm-roberta": ("XLMRobertaModel", XLM),
    "xlm-roberta-sequence": ("XLMRobertaForSequenceClassification", XLM | dict(num_labels=1)),
    "distilbert": ("DistilBertModel", DISTIL),
    "distilbert-sequence": ("DistilBertForSequenceClassification", DISTIL | dict(num_labels=3)),
    "distilbert-masked": ("DistilBertForMaskedLM", DISTIL),
    "electra": ("ElectraModel", ELECTRA),
    "electra-sequence": ("ElectraForSequenceClassification", ELECTRA | dict(num_labels=3)),
    "electra-masked": ("ElectraForMaskedLM", ELECTRA),
    "electra-discriminator": ("ElectraForPreTraining", ELECTRA),
    "modernbert": (
        "ModernBertModel",
        MODERN | dict(num_hidden_layers=4, global_attn_every_n_layers=3),
    ),
    "modernbert-sequence": (
        "ModernBertForSequenceClassification",
        MODERN | dict(num_labels=3, classifier_pooling="mean"),
    ),
    "modernbert-masked": ("ModernBertForMaskedLM", MODERN),
}

# A key's bias that is not turned adds the same to all scores of a query: no influence.
NO_INFLUENCE = r"attention\.self\.key\.bias$|attention\.k_lin\.bias$"


def draw(model, generator):
    """Draws every parameter, rounded to F16, so that all of them matter."""
    around_zero = model.config.model_type.startswith("gemma")  # gains are 1 + weight
    stored_in_out = model.config.model_type == "gpt2"
    tied = model.config.tie_word_embeddings
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            value = torch.randn(parameter.shape, generator=generator)
            own = name.rsplit(".", 2)[-2].lower() if "." in name else name
            norm = re.search(r"norm|\.ln_", name.lower()) and parameter.dim() == 1
            if name.endswith("bias"):
                value *= 0.2
            elif norm:
                one = 0.0 if around_zero else 1.0
                # Scores of normalised queries and keys would be small.
                centre = 0.5 if re.search(r"(q|k)_(layer)?norm", name) else 0.0
                value = one + centre + 0.2 * value
            elif re.search(r"embed|wte|wpe", own):
                # A tied head has the deviation of logits; else that of a residual stream.
                value *= 1.5 / parameter.shape[1] ** 0.5 if tied else 1.0
            else:
                fan_in = parameter.shape[0 if stored_in_out else 1]
                value *= (1.6 if re.search(r"q|k|c_attn", own) else 1.2) / fan_in**0.5
            parameter.copy_(value.half())


def answer(model, tokens):
    """What is expected of a model."""
    with torch.no_grad():
        tokens = torch.tensor([tokens])
        out = model(input_ids=tokens)
        if "ForCausalLM" in type(model).__name__ or "LMHead" in type(model).__name__:
            return {"logits": out.logits[0]}
        base = model.base_model(input_ids=tokens)
        expected = {"hidden": base.last_hidden_state[0]}
        if model is model.base_model and base.get("pooler_output") is not None:
            expected["pooled"] = base.pooler_output[0]
        if "start_logits" in out:
            expected["logits"] = torch.stack([out.start_logits[0], out.end_logits[0]], 1)
        elif "logits" in out:
            expected["logits"] = out.logits[0]
        return expected


def answer_of_pair(model, tokens):
    types = [0] * PAIR + [1] * (len(tokens) - PAIR)
    with torch.no_grad():
        out = model(input_ids=torch.tensor([tokens]), token_type_ids=torch.tensor([types]))
        return {"pair": torch.stack([out.start_logits[0], out.end_logits[0]], 1)}


def digits(value):
    if value.dim() > 0:
        return [digits(v) for v in value]
    return float(f"{value.item():.6g}")


def difference(a, b):
    return max((a[key] - b[key]).abs().max().item() for key in a)


def check_every_tensor(name, model, tokens, expected):
    for parameter_name, parameter in model.named_parameters():
        kept = parameter.detach().clone()
        with torch.no_grad():
            gain = parameter.dim() == 1 and not parameter_name.endswith("bias")
            parameter.fill_(kept.mean() if gain else 0.0)
            change = difference(expected, answer(model, tokens))
            parameter.copy_(kept)
        exempt = re.search(NO_INFLUENCE, parameter_name) is not None
        assert exempt == (change < 1e-2), f"{name}: {parameter_name} changes the answer by {change}"
    assert difference(expected, answer(model, tokens)) == 0


def write(name):
    class_name, fields = MODELS[name]
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    model_class = getattr(hf, class_name)
    config = model_class.config_class(**fields)
    config._attn_implementation = "eager"
    model = model_class(config).float().eval()
    draw(model, generator)
    special = 5  # tokens below
    tokens = torch.randint(special, config.vocab_size, (LENGTH,), generator=generator).tolist()
    expected = answer(model, tokens)
    check_every_tensor(name, model, tokens, expected)
    if name == "bert-question":
        expected |= answer_of_pair(model, tokens)

    folder = os.path.join(FOLDER, name)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    model.to(torch.float16).save_pretrained(folder)
    for file in os.listdir(folder):
        path = os.path.join(folder, file)
        if file not in ("config.json", "model.safetensors"):
            os.remove(path)
        else:
            os.chmod(path, 0o644)
    with open(os.path.join(folder, "expected.json"), "w") as file:
        rows = {"tokens": tokens} | {key: digits(value) for key, value in expected.items()}
        text = json.dumps(rows)
        file.write(text.replace("], [", "],\n[").replace('], "', '],\n"') + "\n")

    read = dict(dtype=torch.float32, attn_implementation="eager")
    again = model_class.from_pretrained(folder, **read).eval()
    assert difference(answer(again, tokens), expected) == 0, f"{name} reads back otherwise"
    size = sum(os.path.getsize(os.path.join(folder, file)) for file in os.listdir(folder))
    spread = ", ".join(f"{key} {value.std(correction=0):.2f}" for key, value in expected.items())
    print(f"{name:24} {size / 1000:5.1f} kB   deviation: {spread}")


if __name__ == "__main__":
    for chosen in sys.argv[1:] or MODELS:
        write(chosen)

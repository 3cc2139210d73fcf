"""Trains the built-in model from nothing and writes it as a Hugging Face folder.

    python train.py                 the whole thing (resumes from its last checkpoint)
    python train.py --steps 40      a short run, to test the script

The order is: write the corpus (stories.py), train a byte-level BPE tokenizer on it, train a small
LLaMA with AdamW, export. Everything is a function of the fixed seeds below.
"""

import argparse
import json
import math
import pathlib
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

import stories

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 1024,
    "hidden_size": 128,
    "intermediate_size": 352,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "rope_scaling": None,
    "hidden_act": "silu",
    "attention_bias": False,
    "attention_dropout": 0.0,
    "mlp_bias": False,
    "tie_word_embeddings": True,
    "initializer_range": 0.05,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "torch_dtype": "float16",
    "use_cache": True,
}
BOS, EOS = "<|bos|>", "<|eos|>"

TRAIN_SEED, HELD_SEED, INIT_SEED = 1, 2, 3
TRAIN_STORIES, HELD_STORIES, TOKENIZER_STORIES = 80_000, 400, 20_000
# A sequence holds nearly every story, so that the end of a story is seen with its beginning.
SEQ, BATCH, STEPS = 160, 16, 2400
PEAK_LR, WARMUP, DECAY, CLIP, BETA1, BETA2 = 3e-3, 100, 0.1, 1.0, 0.9, 0.95


# --- data -----------------------------------------------------------------------------------

def train_tokenizer(texts):
    """Byte-level BPE: all 256 bytes are in the alphabet, so any text has a token sequence."""
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=CONFIG["vocab_size"], special_tokens=[BOS, EOS], show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tok.train_from_iterator(texts, trainer)
    tok.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B:1", special_tokens=[(BOS, CONFIG["bos_token_id"])])
    return tok


def pack(tok, texts):
    """Rows of SEQ + 1 tokens, each starting at the start of a story and cut where it is full."""
    rows, row = [], []
    for enc in tok.encode_batch(texts):
        row += enc.ids + [CONFIG["eos_token_id"]]
        if len(row) > SEQ:
            rows.append(row[:SEQ + 1])
            row = []
    return np.array(rows, np.int16)


def prepare(work):
    """Tokenizer and packed rows; cached, as they take a few minutes."""
    if not (work / "data.npz").exists():
        texts = stories.corpus(TRAIN_SEED, TRAIN_STORIES)
        seen = set(texts)
        held = [t for t in stories.corpus(HELD_SEED, HELD_STORIES) if t not in seen]
        tok = train_tokenizer(texts[:TOKENIZER_STORIES])
        tok.save(str(work / "tokenizer.json"))
        lengths = [len(e.ids) + 1 for e in tok.encode_batch(texts[:TOKENIZER_STORIES])]
        print(f"stories {len(texts)} ({len(seen)} distinct), held out {len(held)}, tokens per story "
              f"{min(lengths)}..{max(lengths)}, mean {np.mean(lengths):.1f}", flush=True)
        np.savez(work / "data.npz", train=pack(tok, texts), held=pack(tok, held))
    data = np.load(work / "data.npz")
    return data["train"], data["held"]


# --- model ----------------------------------------------------------------------------------

def shapes():
    """Tensor names and shapes in the Hugging Face layout, which is also the layout trained on."""
    c = CONFIG
    d, f, kv = c["hidden_size"], c["intermediate_size"], c["num_key_value_heads"] * c["head_dim"]
    out = {"model.embed_tokens.weight": (c["vocab_size"], d), "model.norm.weight": (d,)}
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        out |= {p + "input_layernorm.weight": (d,), p + "post_attention_layernorm.weight": (d,),
                p + "self_attn.q_proj.weight": (d, d), p + "self_attn.k_proj.weight": (kv, d),
                p + "self_attn.v_proj.weight": (kv, d), p + "self_attn.o_proj.weight": (d, d),
                p + "mlp.gate_proj.weight": (f, d), p + "mlp.up_proj.weight": (f, d),
                p + "mlp.down_proj.weight": (d, f)}
    return out


def init():
    rng = np.random.default_rng(INIT_SEED)
    # What is added to the residual stream starts smaller, so that its sum keeps the usual scale.
    residual = 1 / math.sqrt(2 * CONFIG["num_hidden_layers"])
    params = {}
    for name, shape in shapes().items():
        scale = CONFIG["initializer_range"] * (residual if "o_proj" in name or "down_proj" in name else 1)
        w = np.ones(shape) if len(shape) == 1 else rng.normal(0, scale, shape)
        params[name] = jnp.asarray(w, jnp.float32)
    return params


def rms_norm(x, w):
    return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + CONFIG["rms_norm_eps"]) * w


def rope(x, cos, sin):
    half = x.shape[-1] // 2
    return x * cos + jnp.concatenate([-x[..., half:], x[..., :half]], -1) * sin


def loss_fn(params, rows):
    c = CONFIG
    x_ids, y_ids = rows[:, :-1], rows[:, 1:]
    b, t = x_ids.shape
    h, kv, hd = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
    freq = c["rope_theta"] ** (-np.arange(0, hd, 2) / hd)
    angle = np.arange(t)[:, None] * np.concatenate([freq, freq])
    cos, sin = jnp.asarray(np.cos(angle), jnp.float32), jnp.asarray(np.sin(angle), jnp.float32)
    mask = np.where(np.tril(np.ones((t, t), bool)), 0.0, -1e9).astype(np.float32)
    mask = np.concatenate([mask] * (h // kv))  # the query heads of one group lie below one another
    ones = np.ones((t, 1), np.float32)

    # Matrices stay two-dimensional and the softmax is written out (its sum as a product with ones,
    # its division after the product with v): twice as fast on a CPU as the obvious form.
    x = params["model.embed_tokens.weight"][x_ids.reshape(-1)]
    for i in range(c["num_hidden_layers"]):
        w = lambda n: params[f"model.layers.{i}.{n}.weight"].T
        heads = lambda y, n: y.reshape(b, t, n, hd).transpose(0, 2, 1, 3)
        a = rms_norm(x, params[f"model.layers.{i}.input_layernorm.weight"])
        q = rope(heads(a @ w("self_attn.q_proj"), h), cos, sin) * hd ** -0.5
        k = rope(heads(a @ w("self_attn.k_proj"), kv), cos, sin).reshape(b * kv, t, hd)
        v = heads(a @ w("self_attn.v_proj"), kv).reshape(b * kv, t, hd)
        s = q.reshape(b * kv, h // kv * t, hd) @ k.transpose(0, 2, 1) + mask
        e = jnp.exp(s - jax.lax.stop_gradient(s.max(-1, keepdims=True)))
        o = (e @ v / (e @ ones)).reshape(b, h, t, hd).transpose(0, 2, 1, 3)
        x = x + o.reshape(b * t, h * hd) @ w("self_attn.o_proj")
        m = rms_norm(x, params[f"model.layers.{i}.post_attention_layernorm.weight"])
        x = x + (jax.nn.silu(m @ w("mlp.gate_proj")) * (m @ w("mlp.up_proj"))) @ w("mlp.down_proj")
    logits = rms_norm(x, params["model.norm.weight"]) @ params["model.embed_tokens.weight"].T
    picked = jnp.take_along_axis(logits, y_ids.reshape(-1, 1).astype(jnp.int32), 1)[:, 0]
    return jnp.mean(jax.nn.logsumexp(logits, -1) - picked)


# --- training -------------------------------------------------------------------------------

def learning_rate(step, steps):
    """Linear warm-up, then a cosine down to a twentieth of the peak."""
    frac = jnp.clip((step - WARMUP) / max(1, steps - WARMUP), 0, 1)
    return PEAK_LR * jnp.minimum((step + 1) / WARMUP, 0.05 + 0.95 * 0.5 * (1 + jnp.cos(jnp.pi * frac)))


def make_step(steps):
    def step(params, m, v, rows, i):
        loss, grad = jax.value_and_grad(loss_fn)(params, rows)
        norm = jnp.sqrt(sum(jnp.sum(g * g) for g in grad.values()))
        scale = jnp.minimum(1.0, CLIP / (norm + 1e-6))
        lr = learning_rate(i, steps)
        new = {}, {}, {}
        for name, p in params.items():
            g = grad[name] * scale
            new[1][name] = BETA1 * m[name] + (1 - BETA1) * g
            new[2][name] = BETA2 * v[name] + (1 - BETA2) * g * g
            update = new[1][name] / (1 - BETA1 ** (i + 1)) / (jnp.sqrt(new[2][name] / (1 - BETA2 ** (i + 1))) + 1e-8)
            decay = DECAY if p.ndim > 1 else 0.0  # norm gains are not decayed
            new[0][name] = p - lr * (update + decay * p)
        return *new, loss
    return jax.jit(step, donate_argnums=(0, 1, 2))


def save_checkpoint(path, i, spent, state):
    arrays = {f"{k}/{name}": np.asarray(w) for k, tree in zip("pmv", state) for name, w in tree.items()}
    np.savez(path.with_suffix(".tmp.npz"), i=i, spent=spent, **arrays)
    path.with_suffix(".tmp.npz").rename(path)  # never a half-written checkpoint


def load_checkpoint(path):
    z = np.load(path)
    state = [{n[2:]: jnp.asarray(z[n]) for n in z.files if n.startswith(k + "/")} for k in "pmv"]
    return int(z["i"]), float(z["spent"]), state


# --- export ---------------------------------------------------------------------------------

def write_safetensors(path, params):
    """The format is an 8-byte length, a JSON header, then the tensors back to back."""
    header, blobs, at = {"__metadata__": {"format": "pt"}}, [], 0
    for name in sorted(params):
        w = np.asarray(params[name]).astype(np.float16)
        assert np.isfinite(w).all(), name
        blobs.append(w.tobytes())
        header[name] = {"dtype": "F16", "shape": list(w.shape), "data_offsets": [at, at + len(blobs[-1])]}
        at += len(blobs[-1])
    text = json.dumps(header, separators=(",", ":"))
    text += " " * (-len(text) % 8)  # tensors start on an 8-byte boundary
    path.write_bytes(len(text).to_bytes(8, "little") + text.encode() + b"".join(blobs))


def export(out, work, params):
    out.mkdir(parents=True, exist_ok=True)
    ids = {"bos_token_id": CONFIG["bos_token_id"], "eos_token_id": CONFIG["eos_token_id"]}
    dump = lambda name, value: (out / name).write_text(json.dumps(value, indent=2) + "\n")
    dump("config.json", CONFIG)
    dump("generation_config.json", ids)
    dump("tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BOS, "eos_token": EOS,
        "add_bos_token": True, "clean_up_tokenization_spaces": False,
        "model_max_length": CONFIG["max_position_embeddings"]})
    (out / "tokenizer.json").write_text((work / "tokenizer.json").read_text())
    write_safetensors(out / "model.safetensors", params)


def main():
    here = pathlib.Path(__file__).resolve().parent
    ap = argparse.ArgumentParser()
    ap.add_argument("--out", type=pathlib.Path, default=here.parent)
    ap.add_argument("--work", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()) / "sotto-builtin")
    ap.add_argument("--steps", type=int, default=STEPS)
    args = ap.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)

    begin = time.time()
    train, held = prepare(args.work)
    print(f"rows: {len(train)} train, {len(held)} held out; {sum(math.prod(s) for s in shapes().values())} "
          f"parameters; data took {time.time() - begin:.0f} s", flush=True)

    checkpoint = args.work / f"checkpoint-{args.steps}.npz"
    if checkpoint.exists():
        i, spent, state = load_checkpoint(checkpoint)
    else:
        params = init()
        zeros = lambda: {n: jnp.zeros_like(p) for n, p in params.items()}
        i, spent, state = 0, 0.0, [params, zeros(), zeros()]
    step, held_loss = make_step(args.steps), jax.jit(loss_fn)
    evaluate = lambda: float(np.mean([held_loss(state[0], held[j:j + 16]) for j in range(0, len(held) // 16 * 16, 16)]))

    begin, losses = time.time(), []
    while i < args.steps:
        # The order of an epoch depends on its number only, so a resumed run sees the same batches.
        per_epoch = len(train) // BATCH
        order = np.random.default_rng([TRAIN_SEED, i // per_epoch]).permutation(len(train))
        at = i % per_epoch * BATCH
        *state, loss = step(*state, train[order[at:at + BATCH]], i)
        losses.append(float(loss))
        i += 1
        if i % 50 == 0 or i == args.steps:
            print(f"step {i} train {np.mean(losses[-50:]):.4f} {spent + time.time() - begin:.0f} s", flush=True)
        if i % 500 == 0 or i == args.steps:
            save_checkpoint(checkpoint, i, spent + time.time() - begin, state)
            export(args.out, args.work, state[0])
            print(f"step {i} held out {evaluate():.4f}; exported", flush=True)


if __name__ == "__main__":
    main()

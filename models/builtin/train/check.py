"""Reads the exported folder as any other program would and checks it, with numpy only
(and the tokenizers package).

    python check.py                 prints losses, the largest activations and sample stories
    python check.py --golden        also rewrites golden.json, the reference for other code

The forward pass is written from the LLaMA definition and shares nothing with train.py, so that a
mistake in the export (a transposed matrix, another RoPE convention) shows up as a bad loss.
"""

import argparse
import hashlib
import json
import math
import pathlib

import numpy as np
from tokenizers import Tokenizer

import stories

HERE = pathlib.Path(__file__).resolve().parent
# What the fixed-point arithmetic downstream can hold.
LIMITS = {"residual": 30000.0, "gate": 500.0, "logit": 120.0}
GOLDEN_PROMPTS = ["Once upon a time there was a little fox", "Anna went to the market",
                  "One rainy morning, a young rabbit named Pip"]
OTHER_PROMPTS = ["There was once a kind girl named Lily who", "Tom was afraid of the dark.", "It was late at night",
                 "The old owl", "In a small village there lived a", "Two friends", "Hello"]


def read_safetensors(path):
    blob = path.read_bytes()
    n = int.from_bytes(blob[:8], "little")
    header = json.loads(blob[8:8 + n])
    header.pop("__metadata__", None)
    out = {}
    for name, t in header.items():
        a, b = t["data_offsets"]
        assert t["dtype"] == "F16"
        out[name] = np.frombuffer(blob[8 + n + a:8 + n + b], np.float16).reshape(t["shape"]).astype(np.float32)
        assert np.isfinite(out[name]).all(), name
    return out


class Model:
    def __init__(self, folder):
        self.c = json.loads((folder / "config.json").read_text())
        self.w = read_safetensors(folder / "model.safetensors")
        self.tok = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.peak = dict.fromkeys(("residual", "gate", "score_log2", "logit"), 0.0)
        hd = self.c["head_dim"]
        freq = self.c["rope_theta"] ** (-np.arange(0, hd, 2) / hd)
        angle = np.arange(self.c["max_position_embeddings"])[:, None] * freq
        self.cos, self.sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)

    def note(self, what, x):
        self.peak[what] = max(self.peak[what], float(np.abs(x).max()))

    def norm(self, x, name):
        mean_square = (x * x).mean(-1, keepdims=True)
        return x / np.sqrt(mean_square + np.float32(self.c["rms_norm_eps"])) * self.w[name + ".weight"]

    def rope(self, x):
        """x: (heads, positions, head_dim). Coordinate j turns together with j + head_dim / 2."""
        a, b = np.split(x, 2, -1)
        cos, sin = self.cos[:x.shape[1]], self.sin[:x.shape[1]]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

    def logits(self, ids):
        """Logits at every position, (positions, vocabulary)."""
        c, t = self.c, len(ids)
        lin = lambda x, name: x @ self.w[name + ".weight"].T
        split = lambda x: x.reshape(t, -1, c["head_dim"]).transpose(1, 0, 2)
        future = np.triu(np.ones((t, t), bool), 1)
        group = c["num_attention_heads"] // c["num_key_value_heads"]
        x = self.w["model.embed_tokens.weight"][ids]
        for i in range(c["num_hidden_layers"]):
            p = f"model.layers.{i}."
            a = self.norm(x, p + "input_layernorm")
            q = self.rope(split(lin(a, p + "self_attn.q_proj")))
            k = np.repeat(self.rope(split(lin(a, p + "self_attn.k_proj"))), group, 0)
            v = np.repeat(split(lin(a, p + "self_attn.v_proj")), group, 0)
            s = q @ k.transpose(0, 2, 1) / np.float32(math.sqrt(c["head_dim"]))
            self.note("score_log2", np.where(future, 0, s) * math.log2(math.e))
            s = np.where(future, -np.inf, s)
            e = np.exp(s - s.max(-1, keepdims=True))
            o = (e / e.sum(-1, keepdims=True)) @ v
            x = x + lin(o.transpose(1, 0, 2).reshape(t, -1), p + "self_attn.o_proj")
            self.note("residual", x)
            m = self.norm(x, p + "post_attention_layernorm")
            g = lin(m, p + "mlp.gate_proj")
            self.note("gate", g)
            x = x + lin(g / (1 + np.exp(-g)) * lin(m, p + "mlp.up_proj"), p + "mlp.down_proj")
            self.note("residual", x)
        head = "model.embed_tokens" if c["tie_word_embeddings"] else "lm_head"
        z = lin(self.norm(x, "model.norm"), head)
        self.note("logit", z)
        return z

    def greedy(self, ids, count, stop):
        """Up to `count` greedy tokens after `ids`, and the gap between the two best logits at each."""
        ids, gaps, start = list(ids), [], len(ids)
        while len(gaps) < count and len(ids) < self.c["max_position_embeddings"]:
            z = self.logits(ids)[-1]
            second, best = np.argsort(z, kind="stable")[-2:]
            gaps.append(round(float(z[best] - z[second]), 4))
            ids.append(int(best))
            if stop and best == self.c["eos_token_id"]:
                break
        return ids[start:], gaps


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--folder", type=pathlib.Path, default=HERE.parent)
    ap.add_argument("--golden", action="store_true")
    args = ap.parse_args()
    model = Model(args.folder)
    tok, eos = model.tok, model.c["eos_token_id"]

    for text in ["naïve café — 東京 🦊\n\ttab", "".join(map(chr, range(1, 0x250))), "  two  spaces ", ""]:
        ids = tok.encode(text).ids
        assert ids[0] == model.c["bos_token_id"] and tok.decode(ids) == text, text

    loss, count = 0.0, 0
    for text in stories.corpus(2, 40):
        ids = tok.encode(text).ids + [eos]
        z = model.logits(ids)[:-1].astype(np.float64)
        z -= np.log(np.exp(z).sum(-1, keepdims=True))
        loss, count = loss - z[np.arange(len(ids) - 1), ids[1:]].sum(), count + len(ids) - 1
    print(f"held-out loss {loss / count:.4f} nats per token over {count} tokens (whole stories, stored weights)")
    print("largest magnitudes:", {k: round(v, 2) for k, v in model.peak.items()},
          "weight:", round(max(float(np.abs(w).max()) for w in model.w.values()), 3))
    assert all(model.peak[k] < limit for k, limit in LIMITS.items())

    for prompt in GOLDEN_PROMPTS + OTHER_PROMPTS:
        out, _ = model.greedy(tok.encode(prompt).ids, 200, True)
        print(f"\n[{prompt}]{tok.decode(out)}" + (" <eos>" if out[-1] == eos else " ..."))

    if args.golden:
        golden = []
        for prompt in GOLDEN_PROMPTS:
            ids = tok.encode(prompt).ids
            out, gaps = model.greedy(ids, 40, False)
            golden.append({"prompt": prompt, "prompt_ids": ids, "greedy_ids": out, "top2_gap": gaps,
                           "greedy_text": tok.decode(out),
                           "last_prompt_logits_first8": [round(float(v), 4) for v in model.logits(ids)[-1][:8]]})
            print(f"\ngolden {prompt!r}: smallest gap {min(gaps)}, {sum(g < 0.02 for g in gaps)} of 40 below 0.02")
        rows = ",\n".join("  " + json.dumps(g) for g in golden)
        (HERE / "golden.json").write_text(f"[\n{rows}\n]\n")
    print()
    for path in sorted(p for p in args.folder.iterdir() if p.is_file()):
        print(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}  {path.stat().st_size}")


if __name__ == "__main__":
    main()

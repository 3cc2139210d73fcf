"""Asks the endpoint at argv[1] for vectors, with OpenAI's package."""

import sys

import openai

client = openai.OpenAI(base_url=sys.argv[1], api_key="none", timeout=None, max_retries=0)
texts = ["t7 t9 t20", "t5 t6"]
packed = client.embeddings.create(model="sotto", input=texts)
plain = client.embeddings.create(model="sotto", input=texts, encoding_format="float")
assert len(packed.data) == len(plain.data) == 2 and packed.usage.prompt_tokens == 5
for a, b in zip(packed.data, plain.data):
    assert len(a.embedding) == len(b.embedding) > 1
    assert max(abs(x - y) for x, y in zip(a.embedding, b.embedding)) < 0.01
try:
    client.embeddings.create(model="sotto", input=[[1, 2]])
    raise AssertionError("tokens were taken")
except openai.BadRequestError as error:
    assert "send texts" in str(error)

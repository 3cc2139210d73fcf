"""Asks an endpoint as OpenAI's own client does: `python3 openai_client.py http://127.0.0.1:8080/v1`.

The endpoint serves the built-in model, with or without a chat template, and has no key. Ends without a word if all is as it should be.
"""

import sys

import openai

PROMPT = "Once upon a time there was a little fox"

client = openai.OpenAI(base_url=sys.argv[1], api_key="none", timeout=300)

[model] = client.models.list().data
assert client.models.retrieve(model.id).id == model.id

# A whole answer, and the same as a stream.
asked = dict(model=model.id, prompt=PROMPT, max_tokens=6, temperature=0)
whole = client.completions.create(**asked, logprobs=2)
choice = whole.choices[0]
assert choice.finish_reason == "length" and whole.usage.completion_tokens == 6, whole
assert "".join(choice.logprobs.tokens) == choice.text, choice.logprobs
assert len(choice.logprobs.top_logprobs[0]) == 2
pieces = list(client.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
assert "".join(piece.choices[0].text for piece in pieces if piece.choices) == choice.text
assert pieces[-1].usage == whole.usage and not pieces[-1].choices

# Several answers, a seed, penalties, an end of our own.
word = choice.text.split()[-1]
both = client.completions.create(**{**asked, "max_tokens": 20}, n=2, stop=[word])
assert [one.finish_reason for one in both.choices] == ["stop", "stop"]
assert all(one.text == choice.text[: choice.text.index(word)] for one in both.choices)
drawn = dict(asked, max_tokens=3, temperature=1.2, top_p=0.95, seed=7, presence_penalty=0.5, frequency_penalty=0.5)
assert client.completions.create(**drawn).choices[0].text == client.completions.create(**drawn).choices[0].text

# Mistakes are the client's own kinds of error.
def refused(kind, code, **more):
    try:
        client.completions.create(**{**asked, **more})
    except kind as error:
        assert error.code == code and error.message, error
    else:
        raise AssertionError(f"{more} is not refused")


refused(openai.NotFoundError, "model_not_found", model="gpt-4o")
refused(openai.BadRequestError, "context_length_exceeded", max_tokens=10_000)
refused(openai.BadRequestError, "unsupported_parameter", logit_bias={"5": 1})
refused(openai.BadRequestError, "unsupported_parameter", echo=True)

# Turns, where the model knows them.
turns = [{"role": "system", "content": PROMPT[:20]}, {"role": "user", "content": PROMPT[20:]}]
asked_for_turn = dict(model=model.id, messages=turns, max_completion_tokens=6, temperature=0)
if model.model_extra["sotto"]["conversational"]:
    whole = client.chat.completions.create(**asked_for_turn, logprobs=True, top_logprobs=2)
    text = whole.choices[0].message.content
    assert whole.choices[0].message.role == "assistant" and text, whole
    assert "".join(token.token for token in whole.choices[0].logprobs.content) == text
    pieces = client.chat.completions.create(**asked_for_turn, stream=True)
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == text
else:
    try:
        client.chat.completions.create(**asked_for_turn)
    except openai.BadRequestError as error:
        assert error.code == "no_chat_template", error
    else:
        raise AssertionError("a chat without a template is not refused")

# A stream that is left in the middle does not keep others waiting.
with client.completions.create(**{**asked, "max_tokens": 200}, stream=True) as stream:
    next(iter(stream))
assert client.completions.create(**asked).choices[0].text == choice.text

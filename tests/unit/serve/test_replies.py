"""What is asked for is what comes back: to OpenAI's own client, whole and streamed, the same for the same seed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from serving import CHAT, TEXT, a_service, a_writer, ask, live
from simmim.serve.endpoints import Service, create_app
from simmim.serve.writer import Writer

HELLO: list[Any] = [{"role": "system", "content": "s"}, {"role": "user", "content": "a user asks"}]
BODY: dict[str, Any] = {"model": "tiny", "messages": HELLO, "max_tokens": 12}


@pytest.fixture(scope="module")
def client(writer: Writer) -> Iterator[openai.OpenAI]:
    with live(a_service(writer)) as (address, _), openai.OpenAI(base_url=f"{address}/v1", api_key="none") as client:
        yield client.with_options(max_retries=0)


@pytest.mark.contract
def test_the_client_chats_whole_and_streamed(client: openai.OpenAI, tiny_chat_model: Path) -> None:
    from transformers import AutoModelForCausalLM

    from simmim.tasks.checkpoints import load_model
    from simmim.tasks.dialogue.chat import Chat

    asked: dict[str, Any] = {**BODY, "temperature": 0}
    whole = client.chat.completions.create(**asked)
    pieces = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    chat = Chat(*load_model(tiny_chat_model, "cpu", auto_class=AutoModelForCausalLM), system="s")
    said = chat.reply("a user asks", max_new_tokens=12, do_sample=False)

    [choice] = whole.choices
    assert choice.message.content == said.text
    assert (choice.message.role, choice.finish_reason, whole.model) == ("assistant", "length", "tiny")
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens, whole.usage.total_tokens) == (
        *(said.read_tokens, said.new_tokens),
        said.read_tokens + said.new_tokens,
    )
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces[:-1]) == said.text
    assert pieces[0].choices[0].delta.role == "assistant"
    assert pieces[-2].choices[0].finish_reason == "length"
    assert (pieces[-1].choices, pieces[-1].usage) == ([], whole.usage)
    assert len({piece.id for piece in pieces}) == 1
    assert {piece.id for piece in pieces} != {whole.id}
    assert whole.system_fingerprint == "tiny@0"


def test_the_client_sees_models_completions_and_errors(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("runs/tiny").id == "tiny"
    asked: dict[str, Any] = {"model": "runs/tiny", "prompt": "a user asks", "temperature": 0}
    text = client.completions.create(**asked)
    streamed = list(client.completions.create(**asked, stream=True))
    assert text.usage.completion_tokens == 16, "as the reference has it where none is asked for"
    assert "".join(piece.choices[0].text for piece in streamed) == text.choices[0].text
    assert streamed[-1].usage is None
    with pytest.raises(openai.NotFoundError, match="another"):
        client.completions.create(model="another", prompt="x")
    with pytest.raises(openai.BadRequestError, match="messages\\[0\\].role"):
        client.chat.completions.create(model="tiny", messages=[{"role": "tool", "content": "x", "tool_call_id": "1"}])
    with pytest.raises(openai.BadRequestError, match="fewer than 300 tokens"):  # not a stream that ends in an error
        list(client.chat.completions.create(model="tiny", messages=HELLO * 40, stream=True))


def test_a_stream_is_made_of_events_and_ends_with_done(service: Service) -> None:
    answer = ask(create_app(service), CHAT, {**BODY, "stream": True, "n": 2})
    events = answer.body.decode("ascii").split("\n\n")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert events[-2:] == ["data: [DONE]", ""]
    chunks = [json.loads(event.removeprefix("data: ")) for event in events[:-2]]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert not any("usage" in chunk for chunk in chunks)
    ended = [chunk["choices"][0] for chunk in chunks if chunk["choices"][0]["finish_reason"]]
    assert sorted(choice["index"] for choice in ended) == [0, 1]


@pytest.mark.contract
def test_seed_temperature_and_top_p_are_honoured(service: Service) -> None:
    app = create_app(service)

    def texts(**changes: Any) -> list[str]:
        answer = ask(app, CHAT, {**BODY, "max_tokens": 5, **changes})
        assert answer.status == 200, answer.body
        return [choice["message"]["content"] for choice in answer.json["choices"]]

    torch.manual_seed(0)
    drawn = texts(seed=5)
    texts(seed=6)
    torch.manual_seed(1)
    assert texts(seed=5) == drawn, "whatever else was asked or drawn before"
    assert len({*(text for seed in range(3) for text in texts(seed=seed))}) > 1
    assert len({*(text for _ in range(3) for text in texts(temperature=2))}) > 1, "without a seed each is drawn anew"
    greedy = texts(temperature=0)
    assert texts(temperature=0, seed=9, n=2) == greedy * 2
    assert texts(temperature=1e-300) == texts(top_p=1e-9) == texts(seed=3, temperature=1e-4) == greedy
    assert len({*texts(n=6, seed=1)}) > 3
    assert texts(n=3, seed=1)[0] == texts(seed=1)[0]
    token = service.writer._tokenizer("a", add_special_tokens=False)["input_ids"][0]
    assert texts(logit_bias={str(token): 100}, temperature=0) == ["a" * 5]


def test_what_may_be_left_out_may_be_null_and_what_clients_send_along_is_taken(service: Service) -> None:
    app = create_app(service)
    nothing = dict.fromkeys(
        "temperature top_p n seed stop presence_penalty frequency_penalty logit_bias stream stream_options user tools "
        "tool_choice functions function_call logprobs top_logprobs response_format metadata store service_tier "
        "max_completion_tokens parallel_tool_calls modalities reasoning_effort".split()
    )
    along = {
        **{"user": "u", "metadata": {"a": "b"}, "store": False, "service_tier": "auto", "tools": [], "logprobs": False},
        **{
            "response_format": {"type": "text"},
            "tool_choice": "none",
            "parallel_tool_calls": True,
            "modalities": ["text"],
        },
    }
    history = [
        {"role": "developer", "content": [{"type": "text", "text": "s"}, {"type": "text", "text": "t"}]},
        {"role": "user", "content": "", "name": "First Citizen"},
        {"role": "assistant", "content": "樹", "refusal": None, "tool_calls": None, "audio": None, "annotations": []},
        {"role": "user", "content": "\x00 \u2028 \ufffd"},
    ]
    assert ask(app, CHAT, {**BODY, **nothing}).status == 200
    assert ask(app, CHAT, {**BODY, **along, "messages": history}).status == 200
    alike = [{"role": role, "content": "s"} for role in ("developer", "system")]
    first, second = (ask(app, CHAT, {**BODY, "messages": [one], "temperature": 0}).json for one in alike)
    assert first["choices"] == second["choices"]


def test_prompts_are_texts_or_tokens_one_or_several(service: Service) -> None:
    app = create_app(service)
    [ids] = service.writer._tokenizer(["a user"])["input_ids"]
    ids = [token for token in ids if token != service.writer._tokenizer.eos_token_id]

    def texts(prompt: Any, **more: Any) -> list[str]:
        answer = ask(app, TEXT, {"model": "tiny", "prompt": prompt, "max_tokens": 4, "temperature": 0, **more})
        assert answer.status == 200, answer.body
        return [choice["text"] for choice in sorted(answer.json["choices"], key=lambda choice: choice["index"])]

    [one] = texts("a user")
    assert texts(ids) == texts([ids]) == texts(["a user"]) == [one]
    assert texts(["a user", "樹"], n=2) == [one, one, *texts("樹") * 2]
    assert len(texts("")) == 1


def test_a_stop_text_ends_a_reply_and_is_no_part_of_it(service: Service) -> None:
    app = create_app(service)
    body = {**BODY, "temperature": 0, "max_tokens": 14}
    whole = ask(app, CHAT, body).json["choices"][0]["message"]["content"]
    assert len(whole) > 8
    for stop in (whole[5:9], [whole[6:9], "not there"], whole[-2:], "not there"):
        first = min(
            (whole.find(one) for one in ([stop] if isinstance(stop, str) else stop) if one in whole), default=None
        )
        [choice] = ask(app, CHAT, {**body, "stop": stop}).json["choices"]
        assert choice["message"]["content"] == (whole if first is None else whole[:first])
        assert choice["finish_reason"] == ("length" if first is None else "stop")
        answer = ask(app, CHAT, {**body, "stop": stop, "stream": True})
        chunks = [json.loads(line[6:]) for line in answer.body.decode().split("\n\n") if line.startswith("data: {")]
        text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
        assert text == choice["message"]["content"]


def test_models_of_other_kinds_are_served(tiny_chat_model: Path, tmp_path: Path) -> None:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tiny_chat_model)
    tokenizer.chat_template = None
    config = LlamaConfig(
        **{"vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1},
        **{"num_attention_heads": 2, "max_position_embeddings": 40, "bos_token_id": 1, "eos_token_id": 2},
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").write_text('{"num_beams": 3, "do_sample": true, "eos_token_id": 2}')
    service = a_service(a_writer(tmp_path))
    app = create_app(service)
    answer = ask(app, TEXT, {"model": "tiny", "prompt": "a user", "n": 2, "logit_bias": {"2": -100}, "max_tokens": 5})
    assert answer.json["usage"]["completion_tokens"] == 10
    assert "chat template" in ask(app, CHAT, BODY).error["message"]
    long = ask(app, TEXT, {"model": "tiny", "prompt": [5] * 30, "max_tokens": 11})
    assert (long.status, long.error["code"], long.error["param"]) == (400, "context_length_exceeded", "max_tokens")
    service.engine.stop()

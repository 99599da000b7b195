"""OpenAI's own client asks the documents of the app, and gets vectors of texts."""

from __future__ import annotations

import io
from collections.abc import Iterator

import docx
import numpy as np
import openai
import pytest

from app_server import KEY, TOKEN, Made, live_app, upload, wait
from reading_folders import tiny_encoder
from serving import ask

PROSE = "# The bridge\n\n" + "\n\n".join(
    f"Bridge number {n} crosses the river at mile {3 * n}. It was built of stone in {1700 + n}." for n in range(1, 30)
)
ENCODER = "all-MiniLM-L6-v2"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[openai.OpenAI, Made, str]]:
    with live_app(tmp_path_factory.mktemp("library")) as (address, made):
        name = upload(made, "bridges.md", PROSE.encode()).json["id"]
        wait(made)
        with openai.OpenAI(base_url=f"{address}/v1", api_key=TOKEN, max_retries=0) as client:
            yield client, made, name


def test_a_document_is_a_model_that_answers_with_its_passages(served: tuple[openai.OpenAI, Made, str]) -> None:
    client, made, name = served
    assert [model.id for model in client.models.list()] == ["tiny", ENCODER, name]
    assert [client.models.retrieve(one).id for one in ("tiny", ENCODER, name)] == ["tiny", ENCODER, name]
    messages = [
        {"role": "system", "content": "You are brief."},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "When was bridge number 7 built?"},
    ]
    whole = client.chat.completions.create(model=name, messages=messages, max_tokens=8)  # type: ignore[arg-type]
    text = whole.choices[0].message.content
    assert text is not None
    assert "\n\n- bridges.md, line " in text
    assert "crosses the river" in text.partition("\n\n- bridges.md")[2]
    assert whole.model == name
    assert whole.usage is not None
    assert 0 < whole.usage.completion_tokens <= 8 < whole.usage.prompt_tokens
    parts = client.chat.completions.create(model=name, messages=messages, max_tokens=8, stream=True)  # type: ignore
    assert "".join(part.choices[0].delta.content or "" for part in parts) == text
    asked = {"model": name, "messages": messages, "max_tokens": 8, "temperature": 0.9, "seed": 5}
    drawn = [client.chat.completions.create(**asked).choices[0].message.content for _ in range(2)]  # type: ignore
    assert drawn[0] == drawn[1]
    history = ask(made.guarded, f"/api/documents/{name}/history", headers=KEY).json["history"]
    assert {record["question"] for record in history} == {"You are brief.\n\nWhen was bridge number 7 built?"}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"n": 2}, "n: expected it to be left out"),
        ({"stop": ["x"]}, "stop: expected it to be left out"),
        ({"logit_bias": {"5": 1}}, "logit_bias: expected it to be left out"),
        ({"presence_penalty": 1.0}, "presence_penalty: expected it to be left out"),
        ({"max_tokens": 5000}, "max_tokens: expected at most 2048"),
        ({"messages": [{"role": "assistant", "content": "Hello!"}]}, "expected a question of the user at the end"),
        ({"messages": [{"role": "user", "content": " "}]}, "question: expected"),
    ],
)
def test_what_cannot_be_asked_of_a_document_is_refused(
    served: tuple[openai.OpenAI, Made, str], asked: dict[str, object], message: str
) -> None:
    client, _, name = served
    body = {"model": name, "messages": [{"role": "user", "content": "When?"}], **asked}
    with pytest.raises(openai.BadRequestError, match=message):
        client.chat.completions.create(**body)  # type: ignore[call-overload]


def test_vectors_are_those_of_the_encoder_and_nothing_is_left_out(served: tuple[openai.OpenAI, Made, str]) -> None:
    client, _, _ = served
    encoder = tiny_encoder()
    texts = ["a bridge of stone", "the river", "river " * 700]
    found = client.embeddings.create(model=ENCODER, input=texts)  # the client asks for base64
    vectors = np.array([row.embedding for row in found.data], dtype=np.float32)
    np.testing.assert_allclose(vectors[:2], encoder.encode(texts[:2]), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    as_numbers = client.embeddings.create(model=ENCODER, input=texts, encoding_format="float")
    np.testing.assert_allclose(vectors, [row.embedding for row in as_numbers.data], atol=1e-6)
    assert found.usage.prompt_tokens == as_numbers.usage.prompt_tokens > 700
    other = client.embeddings.create(model=ENCODER, input="river " * 699 + "a bridge")
    assert np.abs(np.array(other.data[0].embedding) - vectors[2]).max() > 1e-6, "the end of a long text counts"


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({"input": []}, openai.BadRequestError, "expected a text or a list of texts"),
        ({"input": [1, 2]}, openai.BadRequestError, "sends ids of tokens"),
        ({"input": ["a", " "]}, openai.BadRequestError, "not blank"),
        ({"input": ["a"] * 2049}, openai.BadRequestError, "at most 2048"),
        ({"dimensions": 8}, openai.BadRequestError, "not served here"),
        ({"model": "tiny"}, openai.NotFoundError, "which makes vectors here"),
    ],
)
def test_wrong_requests_for_vectors_are_refused(
    served: tuple[openai.OpenAI, Made, str], asked: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        served[0].embeddings.create(**{"model": ENCODER, "input": "a", **asked})  # type: ignore[arg-type]


def test_the_encoder_does_not_write(served: tuple[openai.OpenAI, Made, str]) -> None:
    with pytest.raises(openai.NotFoundError, match="expected 'tiny', which is served here"):
        served[0].completions.create(model=ENCODER, prompt="a")


def test_answers_are_downloaded_as_docx(served: tuple[openai.OpenAI, Made, str]) -> None:
    client, made, name = served
    question = "Where is bridge \x01number 3?"
    client.chat.completions.create(model=name, messages=[{"role": "user", "content": question}], max_tokens=4)
    answer = ask(made.guarded, f"/api/documents/{name}/download", headers=KEY, query="form=docx")
    texts = [paragraph.text for paragraph in docx.Document(io.BytesIO(answer.body)).paragraphs]
    assert texts[0] == "bridges.md"
    assert "Where is bridge \ufffdnumber 3?" in texts, "what XML cannot hold is replaced"
    assert any(text.startswith("bridges.md, line ") for text in texts)

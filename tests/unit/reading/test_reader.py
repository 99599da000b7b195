"""Readings that are interrupted, repeated, appended or at odds end with the files of one undisturbed reading."""

from __future__ import annotations

import errno
import json
import os
import random
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

from reading_folders import TEXT, files_of, make_reader, make_tokenizer, save_model, tiny_encoder, tiny_llama
from simmim.errors import CheckpointError, ConfigError, DataError
from simmim.reading import indexing, states
from simmim.reading import manifest as manifest_module
from simmim.reading import reader as reader_module
from simmim.reading.folder import locked
from simmim.reading.heads import Head
from simmim.reading.interface import decoder_of
from simmim.reading.manifest import read_manifest
from simmim.reading.opened import OpenFolder
from simmim.reading.quantized import Rows
from simmim.reading.reader import Reader

OTHER = "A second document. It has only two sentences.\n" * 4


@pytest.fixture(scope="module")
def reader() -> Reader:
    return make_reader()


@pytest.fixture(scope="module")
def whole(reader: Reader, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the files of an undisturbed reading."""
    folder = tmp_path_factory.mktemp("whole")
    reader.read(folder, TEXT, "a.txt", [0, 100])
    return files_of(folder)


def test_files(whole: dict[str, bytes]) -> None:
    words = {name for name in whole if name.startswith("words/")}
    assert set(whole) - words == {
        "manifest.json",
        *(f"0000.{ending}" for ending in ("text", "tokens", "index", "keys", "vectors", "sentences", "owners")),
    }
    assert whole["0000.text"].decode() == TEXT


def test_a_reading_tells_its_progress(reader: Reader, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    reader.read(tmp_path, TEXT, progress=lambda done, total: seen.append((done, total)))
    total = read_manifest(tmp_path).documents[0].tokens
    assert seen == [(min(48 * i, total), total) for i in range(1, -(-total // 48) + 1)]


def test_one_chunk_or_many(reader: Reader, whole: dict[str, bytes], tmp_path: Path) -> None:
    once, often = tmp_path / "once", tmp_path / "often"
    make_reader(chunk=2048, precision="bfloat16").read(once, TEXT)
    make_reader(chunk=8, precision="bfloat16").read(often, TEXT)
    one, many = files_of(once), files_of(often)
    assert list(one) == list(many)
    for name in set(one) - {"manifest.json", "0000.index", "0000.keys"}:
        assert one[name] == many[name], name
    rows = Rows(8)
    index = [rows.decode(np.frombuffer(files["0000.index"], rows.dtype)) for files in (one, many)]
    np.testing.assert_allclose(*index, rtol=0, atol=1.01 / 127 * np.abs(index[0]).max())
    for once_read, often_read in zip(
        *(OpenFolder(each, read_manifest(each)).documents for each in (once, often)), strict=True
    ):
        for number in range(once_read.segments):
            record = make_reader(precision="bfloat16").record
            kept = [each.kept(record, number, torch.float32) for each in (once_read, often_read)]
            torch.testing.assert_close(*kept, rtol=2e-2, atol=1e-3)


@pytest.mark.parametrize("heads", [[Head(0, 1)], [Head(1, 0), Head(0, 0)]])
def test_without_keys_on_disk_no_layer_is_read_that_the_index_does_not_need(
    heads: list[Head], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    indexes = {}
    for keep in ("keys", "text"):
        reader = make_reader(heads=heads, keep=keep)
        ran: set[int] = set()
        for number, layer in enumerate(decoder_of(reader.model).layers):
            layer.mlp.register_forward_hook(lambda *_, number=number, ran=ran: ran.add(number))
        reader.read(tmp_path / keep, TEXT)
        indexes[keep] = files_of(tmp_path / keep)["0000.index"]
        assert ran == set(range(max(head.layer for head in heads) if keep == "text" else 2))
    assert indexes["keys"] == indexes["text"]


class _StopError(Exception):
    pass


class Stopper:
    """Counts the writes of a reading and stops the process at one: before it, amid it or after it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int = -1, moment: str = "before") -> None:
        self.at, self.moment, self.count = at, moment, 0
        for module in (manifest_module, reader_module, states, indexing):
            for name in ("append", "write_manifest", "replaced_path", "replaced_folder"):
                if hasattr(module, name):
                    monkeypatch.setattr(module, name, self._wrapped(getattr(module, name), name))

    def _wrapped(self, function, name):
        def call(*arguments):
            self.count += 1
            if self.count - 1 != self.at:
                return function(*arguments)
            if self.moment == "amid" and name == "append":
                path, content, position = arguments
                function(path, content[: len(content) // 2], position)
            elif self.moment == "after" and name in ("append", "write_manifest"):
                function(*arguments)
            raise _StopError

        return call


@pytest.mark.contract
@pytest.mark.parametrize(
    ("moment", "step"),
    [("amid", 3), *(pytest.param(moment, 1, marks=pytest.mark.slow) for moment in ("amid", "before", "after"))],
)
def test_resumed_after_an_interruption_at_every_write(
    reader: Reader, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str, step: int
) -> None:
    """At each third one, if the test is not to be slow."""
    with monkeypatch.context() as patch:
        counter = Stopper(patch)
        reader.read(tmp_path / "counted", TEXT, "a.txt", [0, 100])
    assert counter.count > 25
    for at in range(0, counter.count, step):
        folder = tmp_path / str(at)
        with monkeypatch.context() as patch:
            Stopper(patch, at, moment)
            with pytest.raises(_StopError):
                reader.read(folder, TEXT, "a.txt", [0, 100])
        reader.read(folder, TEXT, "a.txt", [0, 100])
        assert files_of(folder) == whole, at


@pytest.mark.parametrize("keep", ["keys", "text"])
def test_resumed_after_interruptions_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: str
) -> None:
    reader = make_reader(keep=keep)
    reader.read(tmp_path / "whole", TEXT, "a.txt", [0, 100])
    for _ in range(200):
        with monkeypatch.context() as patch:
            Stopper(patch, at=8)
            try:
                reader.read(tmp_path / "stopped", TEXT, "a.txt", [0, 100])
            except _StopError:
                continue
        break
    assert files_of(tmp_path / "stopped") == files_of(tmp_path / "whole")


def test_an_incomplete_document_is_not_opened(reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        Stopper(patch, at=12)
        with pytest.raises(_StopError):
            reader.read(tmp_path, TEXT, "a.txt")
    with pytest.raises(CheckpointError, match=r"a.txt was read to token 96 of \d+; run simmim read again to go on"):
        OpenFolder(tmp_path, read_manifest(tmp_path))


def test_resumed_in_another_precision(reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_llama(len(make_tokenizer())).to(torch.bfloat16)
    model.set_attn_implementation("simmim")
    with monkeypatch.context() as patch:
        Stopper(patch, at=12)
        with pytest.raises(_StopError):
            make_reader(model).read(tmp_path, TEXT)
    reader.read(tmp_path, TEXT)
    assert read_manifest(tmp_path).documents[0].indexed


def test_a_document_that_changed_amid_its_reading_is_begun_anew(
    reader: Reader, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        Stopper(patch, at=20)
        with pytest.raises(_StopError):
            reader.read(tmp_path, TEXT + OTHER, "a.txt")
    assert reader.read(tmp_path, TEXT, "a.txt", [0, 100]) == 0
    assert files_of(tmp_path) == whole


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:40]),
        lambda path: path.write_bytes(random.Random(1).randbytes(path.stat().st_size)),
    ],
    ids=["missing", "empty", "truncated", "garbage"],
)
@pytest.mark.parametrize("ending", ["index", "keys", "state-96"])
def test_a_damaged_file_of_an_incomplete_reading(
    reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, damage
) -> None:
    with monkeypatch.context() as patch:
        Stopper(patch, at=12)
        with pytest.raises(_StopError):
            reader.read(tmp_path, TEXT)
    before = files_of(tmp_path)
    assert {f"0000.{end}" for end in ("text", "tokens", "index", "keys", "state-96")} <= set(before)
    damage(tmp_path / f"0000.{ending}")
    if ending in ("index", "keys") and (tmp_path / f"0000.{ending}").exists():
        content = (tmp_path / f"0000.{ending}").read_bytes()
        if len(content) == len(before[f"0000.{ending}"]):
            return  # seen when it is asked
    if ending == "state-96" and not (tmp_path / "0000.state-96").exists():
        reader.read(tmp_path, TEXT)  # made again from the tokens
        reader.read(tmp_path / "whole", TEXT)
        assert {**files_of(tmp_path / "whole")}.items() <= files_of(tmp_path).items()
        return
    with pytest.raises(CheckpointError, match=rf"0000\.{ending}: .*read the documents again into a new folder"):
        reader.read(tmp_path, TEXT)


@pytest.mark.parametrize("ending", ["text", "tokens"])
def test_what_is_at_hand_is_written_again(
    reader: Reader, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    with monkeypatch.context() as patch:
        Stopper(patch, at=12)
        with pytest.raises(_StopError):
            reader.read(tmp_path, TEXT, "a.txt", [0, 100])
    (tmp_path / f"0000.{ending}").write_bytes(b"other")
    reader.read(tmp_path, TEXT, "a.txt", [0, 100])
    assert files_of(tmp_path) == whole


def test_words_are_indexed_once(reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[int] = []
    build = indexing.LexicalIndex.build
    monkeypatch.setattr(indexing.LexicalIndex, "build", lambda texts: built.append(len(texts)) or build(texts))
    for number in range(3):
        reader.read(tmp_path / "once", f"Document {number}. {OTHER}", f"{number}.txt", words=False)
        with pytest.raises(CheckpointError, match="run simmim read again to go on"):
            OpenFolder(tmp_path / "once", read_manifest(tmp_path / "once"))
    assert built == []
    for _ in range(2):
        reader.index_words(tmp_path / "once")
    assert len(built) == 1
    for number in range(3):
        reader.read(tmp_path / "each", f"Document {number}. {OTHER}", f"{number}.txt")
    assert files_of(tmp_path / "once") == files_of(tmp_path / "each")


def test_the_same_document_twice(
    reader: Reader, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader.read(tmp_path, TEXT, "a.txt", [0, 100])
    counter = Stopper(monkeypatch)
    assert reader.read(tmp_path, TEXT, "copy.txt") == 0
    assert counter.count == 0
    assert files_of(tmp_path) == whole


def test_a_document_is_appended_later(reader: Reader, whole: dict[str, bytes], tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    reader.read(alone, OTHER, "b.txt")
    folder = tmp_path / "both"
    assert reader.read(folder, TEXT, "a.txt", [0, 100]) == 0
    assert reader.read(folder, OTHER, "b.txt") == 1
    found = files_of(folder)
    for name, content in whole.items():
        if name.startswith("0000."):
            assert found[name] == content
    for name, content in files_of(alone).items():
        if name.startswith("0000."):
            assert found[name.replace("0000", "0001")] == content
    assert {name for name in found if "/" in name} == {name for name in whole if "/" in name}
    opened = OpenFolder(folder, read_manifest(folder))
    assert opened.segments == sum(document.segments for document in opened.documents)
    first = opened.documents[0].segments
    assert [(opened.locate(i).document, opened.locate(i).number) for i in (0, first - 1, first)] == [
        (0, 0),
        (0, first - 1),
        (1, 0),
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("", "text: expected a document with at least one token"), ("a\ud800", "text: expected valid")],
)
def test_a_text_that_cannot_be_read(reader: Reader, tmp_path: Path, text: str, complaint: str) -> None:
    reader.read(tmp_path, OTHER)
    before = files_of(tmp_path)
    with pytest.raises(DataError, match=complaint):
        reader.read(tmp_path, text)
    assert files_of(tmp_path) == before


def test_control_tokens_in_a_document_are_text(reader: Reader, tmp_path: Path) -> None:
    reader.read(tmp_path, "He wrote <|end|> and </s> there. " * 9)
    ids = np.fromfile(tmp_path / "0000.tokens", np.int32)
    about = read_manifest(tmp_path).documents[0]
    tokenizer = reader.tokenizer
    special = tokenizer.convert_tokens_to_ids(["<|end|>", "</s>"])
    assert not np.isin(ids[about.prompt : about.tokens], special).any()


def test_two_processes_at_once(reader: Reader, tmp_path: Path) -> None:
    with (
        locked(tmp_path),
        pytest.raises(CheckpointError, match="another process reads into it; wait for it or name another folder"),
    ):
        reader.read(tmp_path, TEXT)
    assert reader.read(tmp_path, OTHER) == 0


@pytest.mark.parametrize(
    ("other", "complaint"),
    [
        ({"fingerprint": "huge"}, "expected a document read by huge, got one read by tiny; name that model"),
        ({"near": 4}, r"other settings \(near\); read into another folder"),
        ({"segment": 16}, r"other settings \(segment\)"),
        ({"chunk": 96}, r"other settings \(chunk\)"),
        ({"keep": "text", "precision": "bfloat16"}, r"other settings \(keep, precision\)"),
        ({"heads": [Head(0, 0)]}, r"other settings \(heads\)"),
        ({"encoder": False}, r"other settings \(encoder\)"),
        ({"encoder": tiny_encoder("another")}, r"other settings \(encoder\)"),
    ],
    ids=["model", "near", "segment", "chunk", "keep and precision", "heads", "no encoder", "encoder"],
)
def test_another_reader(reader: Reader, tmp_path: Path, other, complaint: str) -> None:
    reader.read(tmp_path, OTHER)
    before = files_of(tmp_path)
    with pytest.raises(CheckpointError, match=complaint):
        make_reader(**other).read(tmp_path, TEXT)
    assert files_of(tmp_path) == before


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"segment": 4}, "segment: expected a whole number of at least 8, got 4"),
        ({"segment": 8.0}, "segment: expected a whole number of at least 8, got 8.0"),
        ({"near": 0}, "near: expected a whole number of at least 1, got 0"),
        ({"chunk": 20}, r"chunk: expected a multiple of segment \(8\), got 20"),
        ({"keep": "all"}, "keep: expected one of keys, text, got 'all'"),
        ({"precision": "int4"}, "precision: expected one of bfloat16, int8, got 'int4'"),
        ({"heads": []}, "heads: expected some of 4 heads of 2 layers"),
        ({"heads": [Head(2, 0)]}, "heads: expected some of 4 heads of 2 layers"),
        ({"heads": [Head(0, -1)]}, "heads: expected some of 4 heads of 2 layers"),
    ],
    ids=str,
)
def test_settings(settings, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        make_reader(**settings)


def test_a_slow_tokenizer(tmp_path: Path) -> None:
    from transformers import ByT5Tokenizer

    reader = make_reader()
    reader.tokenizer = ByT5Tokenizer()
    with pytest.raises(ConfigError, match="tokenizer: expected a fast one"):
        reader.read(tmp_path, TEXT)


@pytest.mark.parametrize("room", [100, 1000, 3000, 6000])
def test_a_full_disk(reader: Reader, whole: dict[str, bytes], tmp_path: Path, full_disk, room: int) -> None:
    with full_disk(room), pytest.raises(OSError) as caught:
        reader.read(tmp_path, TEXT, "a.txt", [0, 100])
    assert not isinstance(caught.value, CheckpointError)
    assert caught.value.errno == errno.EFBIG
    assert str(caught.value.filename).startswith(str(tmp_path))
    reader.read(tmp_path, TEXT, "a.txt", [0, 100])
    assert files_of(tmp_path) == whole


@pytest.mark.parametrize("writer", ["append", "write_manifest", "save_file"])
def test_no_space_left(
    reader: Reader, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str
) -> None:
    def refuse(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path))

    for at in (1, 3, 5):
        with monkeypatch.context() as patch:
            module = {"append": manifest_module, "write_manifest": reader_module, "save_file": states}[writer]
            function, calls = getattr(module, writer), []

            def failing(*arguments, _function=function, _calls=calls, _at=at):
                _calls.append(0)
                return refuse() if len(_calls) == _at else _function(*arguments)

            patch.setattr(module, writer, failing)
            with pytest.raises(OSError, match="No space left") as caught:
                reader.read(tmp_path / str(at), TEXT, "a.txt", [0, 100])
            assert caught.value.filename
        reader.read(tmp_path / str(at), TEXT, "a.txt", [0, 100])
        assert files_of(tmp_path / str(at)) == whole


_KILLED = """
import os, shutil, sys, signal, time, random
from simmim.cli.main import app
from typer.testing import CliRunner
from simmim.tasks import reading
model, document, folder = sys.argv[1:4]
arguments = ["read", document, "-o", folder, "--model", model, "--keep", "keys", "--quiet", "--dtype", "float32"]
reading.default_encoder = lambda: None
def child():
    process = os.fork()
    if process == 0:
        result = CliRunner().invoke(app, arguments)
        sys.stderr.write(result.output)
        os._exit(result.exit_code)
    return process
warm = list(arguments); warm[3] = folder + "-warm"
assert CliRunner().invoke(app, warm).exit_code == 0
began = time.monotonic()
arguments[3], real = folder + "-timed", folder
assert os.waitpid(child(), 0)[1] == 0
lasts = time.monotonic() - began
arguments[3] = real
rng = random.Random(7)
killed = 0
while killed < 20:
    process = child()
    time.sleep(rng.random() * lasts)
    os.kill(process, signal.SIGKILL)
    if os.WIFSIGNALED(os.waitpid(process, 0)[1]):
        killed += 1
    else:  # it was faster than the one that was timed: begin again, and kill sooner
        shutil.rmtree(real)
        lasts *= 0.8
assert os.waitpid(child(), 0)[1] == 0
"""


@pytest.mark.slow
@pytest.mark.contract
@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot fork")
def test_killed_at_any_moment(tmp_path: Path) -> None:
    model, document = save_model(tmp_path / "model"), tmp_path / "long.txt"
    document.write_text("".join(f"Part {i}. {TEXT}" for i in range(40)), encoding="utf-8")
    folder = tmp_path / "killed"
    script = textwrap.dedent(_KILLED)
    found = subprocess.run(
        [sys.executable, "-c", script, str(model), str(document), str(folder)],
        env=os.environ | {"TOKENIZERS_PARALLELISM": "false"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    killed, undisturbed = files_of(folder), files_of(tmp_path / "killed-warm")
    assert killed.keys() == undisturbed.keys()
    assert killed == undisturbed


def test_killed_while_it_holds_the_lock(reader: Reader, tmp_path: Path) -> None:
    script = (
        "import filelock, sys, time; lock = filelock.FileLock(sys.argv[1] + '/.lock').acquire()\n"
        "print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(CheckpointError, match="another process reads into it"):
            reader.read(tmp_path, OTHER)
        process.kill()
    assert reader.read(tmp_path, OTHER) == 0


def test_leftovers_of_a_killed_process_are_removed(reader: Reader, whole: dict[str, bytes], tmp_path: Path) -> None:
    for name in (".manifest.json-x.draft", ".words-y.draft"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "part").write_bytes(b"half")
    reader.read(tmp_path, TEXT, "a.txt", [0, 100])
    assert files_of(tmp_path) == whole


def test_the_manifest_is_json_that_people_read(reader: Reader, tmp_path: Path) -> None:
    reader.read(tmp_path, OTHER, "Bücher/河.txt", [0, 46])
    text = (tmp_path / "manifest.json").read_text(encoding="utf-8")
    assert "Bücher/河.txt" in text
    content = json.loads(text)
    assert content["format"] == "simmim-reading-3"
    assert content["documents"][0]["pages"] == [0, 46]

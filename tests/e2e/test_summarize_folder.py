"""Tests that a folder with bad files is summarised whole, whatever interrupts it: nothing twice, nothing lost."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time

import pytest
from pypdf import PdfWriter
from typer.testing import CliRunner

from simmim import pretrained_path
from simmim.cli import batches
from simmim.cli.main import app
from simmim.tasks.summarization import generation

PATIENCE = 600
"""Seconds after which a process hangs, on the slowest machine."""
WORDS = """library editor server client network image sound tool for the Python package compiler files text small fast
graphical development documentation system data format converts reads writes desktop game plugin interface to from
with support and terminal manager common module web language""".split()

BAD = {
    "empty.txt": b"",
    "blank.md": b" \n\t\n",
    "binary.txt": b"\x7fELF\x02\x01\x01\0\0\0",
    "nul.txt": b"some text\0and more",
    "latin.txt": b"caf\xe9 au lait",
    "utf16.txt": "text".encode("utf-16")[:-1],
    "cut.txt": "漢字".encode()[:-1],
    "nonsense.pdf": b"%PDF-1.7\nnonsense",
    "nothing.html": b"<html><head><title>t</title></head><body></body></html>",
    "scanned.pdf": None,
}


def make_folder(folder, count):
    """Write so many good documents, of 4 to 90 words each, and the bad ones among them."""
    drawn = random.Random(0)
    for number in range(count):
        path = folder / f"{number // 100:02}" / f"{number:04}.{drawn.choice(['txt', 'md'])}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(" ".join(drawn.choices(WORDS, k=drawn.randint(4, 90))) + ".", encoding="utf-8")
    for name, content in BAD.items():
        (folder / "00" / name).write_bytes(content or b"")
    writer = PdfWriter()
    writer.add_blank_page(200, 200)
    with (folder / "00" / "scanned.pdf").open("wb") as stream:
        writer.write(stream)


def read(path):
    """Return what the results say of each document, after a check that each is there once."""
    found = [json.loads(line) for line in path.read_bytes().splitlines()]
    by_name = {record["name"]: record for record in found}
    assert len(by_name) == len(found)
    kept = ("sha256", "summary", "complete", "source_tokens", "error")
    return {name: {key: record.get(key) for key in kept} for name, record in by_name.items()}


def check(results, count, stderr):
    """Check that every good document has a summary, and every bad one an error that is said once."""
    failed = {name: record["error"] for name, record in results.items() if record["error"] is not None}
    assert len(results) == count + len(BAD)
    assert sorted(name.rsplit("/", 1)[1] for name in failed) == sorted(BAD)
    assert all(record["summary"] is not None for name, record in results.items() if name not in failed)
    for message in failed.values():
        assert stderr.count(f"error: {message}\n") == 1
    assert f"10 of {count + 10:,} inputs failed" in stderr


def tear(path):
    """Cut the last line in its middle, as a broken write does; return its document."""
    last = path.read_bytes().splitlines(keepends=True)[-1]
    os.truncate(path, path.stat().st_size - len(last) // 2)
    return json.loads(last)["name"]


def test_a_broken_run_is_resumed_as_if_nothing_had_happened(tmp_path, tiny_model, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(batches, "_BATCH", 4)
    make_folder(tmp_path / "docs", 20)

    def run(output):
        settings = ["--model", str(tiny_model), "--max-new-tokens", "4", "--num-beams", "1"]
        return CliRunner().invoke(app, ["summarize", "docs", "--output", output, *settings])

    whole = run("whole.jsonl")
    assert whole.exit_code == 1
    real, calls, seen = generation.write_summaries, [], []

    def breaking(model, tokenizer, ids, **settings):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        seen.extend(ids)
        return real(model, tokenizer, ids, **settings)

    monkeypatch.setattr(generation, "write_summaries", breaking)
    assert run("broken.jsonl").exit_code == 130
    before = (tmp_path / "broken.jsonl").read_bytes()
    assert before.count(b'"summary"') == 12
    torn = tear(tmp_path / "broken.jsonl")
    resumed = run("broken.jsonl")
    assert len(seen) == 12 + 8 + 1  # the torn one again, no other
    assert (tmp_path / "broken.jsonl").read_bytes().startswith(b"".join(before.splitlines(keepends=True)[:-1]))
    assert torn in read(tmp_path / "broken.jsonl")
    check(read(tmp_path / "broken.jsonl"), 20, resumed.stderr)
    assert read(tmp_path / "broken.jsonl") == read(tmp_path / "whole.jsonl")


def command(output):
    arguments = ["docs", "--output", output, "--max-new-tokens", "6", "--num-beams", "1"]
    return [sys.executable, "-m", "simmim", "summarize", *arguments, "--model", str(pretrained_path())]


def new_lines(path, kept):
    """Return the lines that were written after those that were kept."""
    return path.read_bytes()[len(kept) :].splitlines()


def lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.slow
@pytest.mark.contract
def test_a_thousand_documents_survive_two_kills(tmp_path):
    make_folder(tmp_path / "docs", 990)
    options = {"cwd": tmp_path, "text": True, "timeout": PATIENCE}
    whole = subprocess.run(command("whole.jsonl"), capture_output=True, **options)
    assert whole.returncode == 1
    check(read(tmp_path / "whole.jsonl"), 990, whole.stderr)
    path, kept = tmp_path / "killed.jsonl", b""
    drawn = random.Random()
    for at_least in sorted(drawn.sample(range(1, 850), 2)):  # another moment every time
        with subprocess.Popen(command("killed.jsonl"), cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
            ends = time.monotonic() + PATIENCE
            while lines(path) < at_least and time.monotonic() < ends:
                time.sleep(0.001)
            time.sleep(drawn.random() * 0.05)
            assert process.poll() is None  # it is still at work
            process.send_signal(signal.SIGKILL)
        assert at_least <= lines(path) < 1000
        assert path.read_bytes().startswith(kept)
        tear(path)
        kept = b"".join(path.read_bytes().splitlines(keepends=True)[: lines(path)])
    done = subprocess.run(command("killed.jsonl"), capture_output=True, **options)
    assert done.returncode == 1
    assert path.read_bytes().startswith(kept)  # nothing that was done is done again
    before = kept.count(b"\n")
    written = 1000 - before - sum(json.loads(line).get("error") is not None for line in new_lines(path, kept))
    assert f"summaries written: {written:,}; documents done before: {before:,}" in done.stderr
    check(read(path), 990, done.stderr)
    assert read(path) == read(tmp_path / "whole.jsonl")
    again = subprocess.run(command("killed.jsonl"), capture_output=True, **options)
    assert "summaries written: 0; documents done before: 1,000" in again.stderr
    check(read(path), 990, again.stderr)


@pytest.mark.slow
@pytest.mark.contract
def test_a_full_disk_is_said_once_and_the_run_can_go_on(tmp_path):
    make_folder(tmp_path / "docs", 90)
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    options = {"cwd": tmp_path, "text": True, "timeout": PATIENCE, "env": environment, "capture_output": True}

    def little_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))

    full = subprocess.run(command("r.jsonl"), preexec_fn=little_room, **options)
    assert full.returncode == 1
    assert full.stderr.startswith("error: r.jsonl: cannot write: File too large; what was finished is saved")
    assert full.stderr.count("\n") == 1
    before = read(tmp_path / "r.jsonl")
    assert 10 < len(before) < 100
    done = subprocess.run(command("r.jsonl"), **options)
    results = read(tmp_path / "r.jsonl")
    assert {name: results[name] for name in before} == before
    check(results, 90, done.stderr)


@pytest.mark.slow
@pytest.mark.contract
def test_a_hundred_thousand_tokens_fit_into_two_gigabytes(tmp_path):
    drawn = random.Random(0)
    (tmp_path / "long.txt").write_text(" ".join(drawn.choices(WORDS, k=100_000)))
    begun = [
        sys.executable,
        "-m",
        "simmim",
        "summarize",
        "long.txt",
        "--json",
        "--method",
        "write",
    ]  # as a user would: four beams
    done = subprocess.run(begun, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["source_tokens"] >= 100_000  # read whole
    assert record["peak_memory_mib"] < 2_048, record

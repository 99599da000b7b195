"""A user's own data: every format gives the same rows, every kind of broken row is named, nothing is lost unseen."""

import csv
import gzip
import hashlib
import io
import json
import logging
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from simmim.data import table
from simmim.data.columns import ConversationColumn
from simmim.data.examples import load_examples, read_examples
from simmim.data.report import RowReport
from simmim.data.row_files import FORMATS, read_file
from simmim.data.table import check_rows, source_record
from simmim.errors import ConfigError, DataError

ROWS = [
    {"document": '二\u2028三 <s>, "quoted"', "summary": "x"},
    {"document": " a\nb\tc ", "summary": "y"},
    {"document": "שלום עולם", "summary": "السلام عليكم"},
]

Write = Callable[..., Path]


def write_json(path: Path, rows: list[dict[str, object]], newline: str = "\n", start: str = "") -> None:
    content = start + newline.join(json.dumps(row, ensure_ascii=False) for row in rows) + newline
    path.write_bytes(content.encode("utf-8"))


def write_csv(path: Path, rows: list[dict[str, object]], delimiter: str = ",") -> None:
    with path.open("w", encoding="utf-8-sig", newline="") as stream:
        table = csv.DictWriter(stream, list(rows[0]), delimiter=delimiter)  # ends lines with CR LF
        table.writeheader()
        table.writerows(rows)


def source(folder: Path, kind: str, rows: list[dict[str, object]]) -> str:
    """Write rows as a source of some kind and return its name."""
    path = folder / f"own{kind}"
    plain = path.with_name(path.name.removesuffix(".gz"))
    if ".csv" in kind or ".tsv" in kind:
        write_csv(plain, rows, "," if ".csv" in kind else "\t")
    elif kind == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "folder":
        path.mkdir()
        for place, row in enumerate(rows):
            (path / f"{place}.txt").write_text(str(row["document"]), encoding="utf-8-sig", newline="\r\n")
            (path / f"{place}.summary.txt").write_text(str(row["summary"]), encoding="utf-8")
    elif kind == "hf:":
        path = folder / "hub"
        path.mkdir()
        write_json(path / "train.jsonl", [dict.fromkeys(rows[0], "not this")])
        write_json(path / "test.jsonl", rows)
        return f"hf:{path}:test"
    else:
        write_json(plain, rows, newline="\r\n\r\n", start="\ufeff")
    if kind.endswith(".gz"):
        path.write_bytes(gzip.compress(plain.read_bytes()))
    return str(path)


@pytest.fixture(autouse=True)
def _quiet() -> None:
    datasets.disable_progress_bars()


@pytest.mark.parametrize("kind", [*FORMATS, "folder", "hf:"])
def test_every_kind_of_source_gives_the_same_rows(kind: str, tmp_path: Path) -> None:
    loaded = load_examples(source(tmp_path, kind, ROWS), cache_dir=tmp_path / "cache")

    assert loaded.column_names == ["document", "summary"]
    assert list(loaded) == ROWS


@pytest.mark.parametrize("kind", [".jsonl", ".csv", ".parquet", "hf:"])
def test_columns_can_be_chosen(kind: str, tmp_path: Path) -> None:
    rows = [
        {"summary": "not this", "document": "nor this", "body": row["document"], "title": row["summary"]}
        for row in ROWS
    ]
    name = source(tmp_path, kind, rows)

    assert list(load_examples(name, document="body", summary="title", cache_dir=tmp_path / "cache")) == ROWS
    swapped = load_examples(name, document="summary", summary="document", cache_dir=tmp_path / "cache")
    assert swapped[0] == {"document": "not this", "summary": "nor this"}


def test_a_line_of_ten_megabytes_is_read_whole(tmp_path: Path) -> None:
    row = {"document": "long " * 2_000_000, "summary": "x"}
    for kind in (".jsonl", ".csv"):
        assert load_examples(source(tmp_path, kind, [row]), cache_dir=tmp_path / "cache")[0] == row


GOOD = b'{"document": "a", "summary": "b"}\n'


@pytest.mark.parametrize(
    ("line", "reason", "got"),
    [
        (b"{'document': 'x'}", "not JSON", "got no valid JSON"),
        (b'["x", "y"]', "no object", "got list"),
        (b'{"document": "x", "sumary": "y"}', "missing field", r"no such field \(fields: \['document', 'sumary'\]"),
        (b'{"document": 3, "summary": "y"}', "not a text", "`document` must be a text that is not blank, got 3"),
        (b'{"document": "x", "summary": " \\n"}', "blank text", "`summary` must be a text that is not blank"),
        (b'{"document": "x", "summary": null}', "not a text", "got None"),
        (
            b'{"document": "\\ud800", "summary": "y"}',
            "not UTF-8",
            "`document` is no valid Unicode: got half a character",
        ),
        (b'{"document": "\xff\xfe", "summary": "y"}', "not UTF-8", "got byte 0xff, which is no UTF-8, at offset 14"),
        (b'{"document": "\0", "summary": "y"}', "NUL character", "got a NUL byte at offset 14"),
        (b'{"document": "a\\u0000", "summary": "y"}', "NUL character", "NUL character at offset 1"),
        (b"[" * 100_000, "not JSON", "got no valid JSON"),
    ],
)
def test_broken_lines_are_refused_or_counted(tmp_path: Path, line: bytes, reason: str, got: str) -> None:
    path = tmp_path / "own.jsonl"
    path.write_bytes(GOOD + b"\n" + line + b"\n" + GOOD + line + b"\n")

    expected = (
        rf"own.jsonl, line 3: expected an object with the texts document, summary; .*{got}.*2 of 4 rows are broken"
    )
    with pytest.raises(DataError, match=expected) as caught:
        load_examples(path, cache_dir=tmp_path / "cache")
    assert len(str(caught.value)) < 600
    assert not list(tmp_path.glob("cache/examples/*"))

    rows, report = read_examples(path, bad_rows="skip", cache_dir=tmp_path / "cache")
    assert list(rows) == [json.loads(GOOD)] * 2
    assert (report.rows, report.broken, report.positions) == (2, {reason: 2}, {reason: ["line 3", "line 5"]})


def test_skipped_rows_are_logged_and_the_report_is_saved(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "own.jsonl"
    path.write_bytes(GOOD + b"{}\n" * 12)

    with caplog.at_level(logging.WARNING):
        load_examples(path, bad_rows="skip", cache_dir=tmp_path / "cache")

    assert "12 of 13 rows are broken: missing field: 12 (line 2, line 3" in caplog.text
    [saved] = tmp_path.glob("cache/examples/*/report.json")
    assert json.loads(saved.read_text())["broken"] == {"missing field": 12}
    assert json.loads(saved.read_text())["positions"]["missing field"] == [f"line {n}" for n in range(2, 12)]
    with pytest.raises(DataError, match="line 2: expected .*12 of 13 rows"):  # what is in the cache is not let through
        load_examples(path, cache_dir=tmp_path / "cache")


@pytest.mark.parametrize(
    ("name", "content", "reason", "place"),
    [
        ("a.csv", b'document,summary\r\n"a\nb",c\r\nx,y,z\r\n', "wrong number of fields", "line 4"),
        ("a.csv", b'document,summary\na,b\n"c"d,e\nf,g\n', "wrong quoting", "line 3"),
        ("a.csv", b'document,summary\na,b\nc,"d\ne,f\n', "wrong quoting", "line 3"),
        ("a.csv", b"document,summary\na,b\nc,\xe4\n", "not UTF-8", "line 3"),
        ("a.csv", b"document,summary\na,b\n\nc,d\0\n", "NUL character", "line 4"),
        ("a.tsv", b"document\tsummary\na\tb\nc\t \n", "blank text", "line 3"),
    ],
)
def test_broken_rows_of_a_table_are_named(tmp_path: Path, name: str, content: bytes, reason: str, place: str) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(DataError, match=rf"{name}, {place}: expected.*1 of \d rows"):
        load_examples(tmp_path / name, cache_dir=tmp_path / "cache")
    report = read_examples(tmp_path / name, bad_rows="skip", cache_dir=tmp_path / "cache")[1]
    assert report.positions == {reason: [place]}


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip"])
def test_every_damage_to_a_parquet_file_is_said_to_be_one(tmp_path: Path, compression: str) -> None:
    path = tmp_path / "a.parquet"
    rows = [f"text {number}" * 9 for number in range(50)]
    pq.write_table(pa.table({"document": rows, "summary": rows}), path, compression=compression)
    whole = path.read_bytes()
    damaged = [whole[:size] for size in range(0, len(whole), max(1, len(whole) // 25))]
    damaged += [whole[:place] + b"\xff" * 8 + whole[place + 8 :] for place in range(0, len(whole), len(whole) // 25)]
    said = []
    for content in [*damaged, b"PAR1" + b"x" * 99 + b"PAR1", b"\xff" * 99]:
        path.write_bytes(content)
        try:
            list(read_file(path, ["document", "summary"]))
        except DataError as error:
            said.append(str(error))
    assert len(said) > len(damaged) // 2
    assert not [message for message in said if "expected a Parquet file, got a damaged one" not in message]
    with pytest.raises(DataError, match="No such file.*Check the path"):
        list(read_file(tmp_path / "absent.parquet", ["document"]))


def test_broken_rows_of_parquet_are_named(tmp_path: Path) -> None:
    lie = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"]).buffers())
    documents = pa.chunked_array([pa.array(["a"]), lie, pa.array([None], pa.string())])
    pq.write_table(pa.table({"document": documents, "summary": ["x", "y", "z"]}), tmp_path / "a.parquet")

    rows, report = read_examples(tmp_path / "a.parquet", bad_rows="skip", cache_dir=tmp_path / "cache")

    assert list(rows) == [{"document": "a", "summary": "x"}]
    assert report.positions == {"not UTF-8": ["row 2"], "not a text": ["row 3"]}


def test_texts_without_fellows_are_named(tmp_path: Path) -> None:
    folder = Path(source(tmp_path, "folder", ROWS))
    (folder / "below").mkdir()
    (folder / "below" / "alone.txt").write_text("x")
    (folder / "lost.summary.txt").write_text("x")

    rows, report = read_examples(folder, bad_rows="skip", cache_dir=tmp_path / "cache")

    assert list(rows) == ROWS
    assert report.positions == {"no summary beside": ["below/alone.txt"], "no document beside": ["lost.summary.txt"]}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", None, "a.jsonl: expected a file to read, cannot read it"),
        ("a.jsonl", b"", "a.jsonl: expected at least one row, the file is empty"),
        ("a.jsonl", b"\n \n", "the file is empty"),
        ("a.csv", b"", "the file is empty"),
        ("a.csv", b"document,summary\n", "the file is empty"),
        ("a.json", b'[\n{"document": "a", "summary": "b"}]', r"got a JSON array. Rewrite it.*jq -c '.\[\]' a.json"),
        ("a.csv", b"text,summary\na,b\n", "expected the columns document, summary, each once, got 'text', 'summary'"),
        ("a.csv", b"document,document,summary\na,b,c\n", "each once"),
        ("a.jsonl.gz", GOOD, "expected a whole gzip file"),
        ("a.jsonl.gz", gzip.compress(GOOD * 99, mtime=0)[:-9], "expected a whole gzip file"),
        ("a.parquet", b"PAR1", "expected a Parquet file, got a damaged one"),
        ("a.docx", b"PK", r"expected a folder, or a file that ends with one of .jsonl, .*parquet"),
    ],
)
def test_a_source_that_is_wrong_as_a_whole_is_one_error(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_examples(tmp_path / name, bad_rows="skip", cache_dir=tmp_path / "cache")


def test_a_cache_without_room_is_one_error_and_keeps_nothing(
    tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    name, cache = source(tmp_path, ".jsonl", ROWS), tmp_path / "cache"
    message = "cannot write to the cache: File too large; free some space, or set SIMMIM_CACHE to a folder"
    with pytest.raises(OSError, match=message) as caught, full_disk(30):
        load_examples(name, cache_dir=cache)
    assert Path(caught.value.filename).parent == cache / "examples"
    assert list((cache / "examples").iterdir()) == []
    assert list(load_examples(name, cache_dir=cache)) == ROWS


def test_a_dataset_that_cannot_be_loaded_is_one_error(tmp_path: Path) -> None:
    name = source(tmp_path, "hf:", ROWS)
    with pytest.raises(DataError, match=r"hf:.*/hub:nonsense: expected a Hugging Face dataset .*Check the name"):
        load_examples(name.replace(":test", ":nonsense"), cache_dir=tmp_path / "cache")
    with pytest.raises(DataError, match=r"expected the columns body, summary, each once, got 'document', 'summary'"):
        load_examples(name, document="body", cache_dir=tmp_path / "cache")
    with pytest.raises(DataError, match="hf:nobody/nothing: expected a Hugging Face dataset"):  # tests are offline
        load_examples("hf:nobody/nothing", cache_dir=tmp_path / "cache")


def test_a_file_is_read_again_only_when_it_or_the_columns_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "own.jsonl"
    write_json(path, ROWS)
    load_examples(path, cache_dir=tmp_path / "cache")
    with monkeypatch.context() as patch:
        patch.setattr(table, "_write", None)
        assert list(load_examples(path, cache_dir=tmp_path / "cache")) == ROWS

    write_json(path, ROWS[:1])
    assert list(load_examples(path, cache_dir=tmp_path / "cache")) == ROWS[:1]
    swapped = load_examples(path, document="summary", summary="document", cache_dir=tmp_path / "cache")
    assert swapped["document"][:] == ["x"]


def test_many_batches_keep_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"document": f"d{n} " * (n % 50), "summary": f"s{n}"} for n in range(1, 2_500) if n % 50]
    write_json(tmp_path / "own.jsonl", rows)
    monkeypatch.setattr(table, "_BATCH_CHARACTERS", 5_000)

    loaded = load_examples(tmp_path / "own.jsonl", cache_dir=tmp_path / "cache")

    assert list(loaded) == rows
    assert loaded.data.table.column("document").num_chunks > 10
    assert loaded.cache_files


def test_arguments_are_checked(tmp_path: Path) -> None:
    write_json(tmp_path / "own.jsonl", ROWS)
    with pytest.raises(ConfigError, match="bad_rows: expected 'refuse' or 'skip', got 'drop'"):
        load_examples(tmp_path / "own.jsonl", bad_rows="drop")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="expected two columns, got 'document' for both"):
        load_examples(tmp_path / "own.jsonl", summary="document", cache_dir=tmp_path / "cache")


def _touch(path: Path, content: bytes) -> None:
    """Replace the content of a file, which keeps its size and its times."""
    before = path.stat()
    assert len(content) == before.st_size
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "folder", "hub"])
def test_a_file_that_keeps_its_size_and_time_is_read_again(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "source"
    if kind in ("folder", "hub"):
        place.mkdir()
    file = {"folder": place / "a.txt", "hub": place / "train.jsonl"}.get(kind, place.with_suffix(f".{kind}"))

    def content(document: str) -> bytes:
        if kind == "folder":
            return document.encode()
        if kind == "csv":
            return f"document,summary\n{document},s\n".encode()
        if kind == "parquet":
            sink = io.BytesIO()
            pq.write_table(pa.table({"document": [document], "summary": ["s"]}), sink)
            return sink.getvalue()
        return json.dumps({"document": document, "summary": "s"}).encode() + b"\n"

    if kind == "folder":
        (place / "a.summary.txt").write_text("s")
    file.write_bytes(content("one"))
    name = f"hf:{place}" if kind == "hub" else str(place if kind == "folder" else file)
    first = load_examples(name, cache_dir=tmp_path / "cache")
    _touch(file, content("two"))
    second = load_examples(name, cache_dir=tmp_path / "cache")
    assert (first["document"][:], second["document"][:]) == (["one"], ["two"])
    assert source_record(first) != source_record(second)
    if kind in ("jsonl", "csv", "parquet"):
        assert source_record(second) == {
            **{"bytes": file.stat().st_size, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        }
    _touch(file, content("one"))
    assert source_record(load_examples(name, cache_dir=tmp_path / "cache")) == source_record(first)


def test_other_names_in_a_folder_are_another_source(tmp_path: Path) -> None:
    folder = Path(source(tmp_path, "folder", ROWS))
    first = source_record(load_examples(folder, cache_dir=tmp_path / "cache"))
    for path in folder.glob("*.txt"):
        path.rename(path.with_name(f"z{path.name}"))
    assert source_record(load_examples(folder, cache_dir=tmp_path / "cache")) != first


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(GOOD)
    read = table._write

    def change_after(*arguments: Any) -> None:
        read(*arguments)
        _touch(file, GOOD.replace(b"e", b"f"))

    monkeypatch.setattr(table, "_write", change_after)
    with pytest.raises(DataError, match=r"a.jsonl: the source was changed while it was read. Start again"):
        load_examples(file, cache_dir=tmp_path / "cache")
    assert not list((tmp_path / "cache" / "examples").iterdir())


@pytest.mark.parametrize("name", ["rows.arrow", "report.json"])
@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", None])
def test_damaged_cached_rows_are_read_again(tmp_path: Path, name: str, content: bytes | None) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(GOOD)
    rows = list(load_examples(file, cache_dir=tmp_path / "cache"))
    (folder,) = (tmp_path / "cache" / "examples").iterdir()
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    assert list(load_examples(file, cache_dir=tmp_path / "cache")) == rows


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jsonl")
    folder = tmp_path / "folder"
    folder.mkdir()
    os.mkfifo(folder / "a.txt")
    (tmp_path / "null.jsonl").symlink_to("/dev/null")
    (tmp_path / "link.jsonl").symlink_to("nothing")
    (tmp_path / "loop.jsonl").symlink_to("loop.jsonl")
    for name in ("a.jsonl", "folder", "null.jsonl", "link.jsonl", "loop.jsonl", "x" * 300 + ".jsonl", "a\0b.jsonl"):
        for read in (load_examples, lambda path: list(check_rows(path, report=RowReport("a")))):
            with pytest.raises(DataError, match="expected a file to read, cannot read it"):
                read(tmp_path / name)


@pytest.mark.parametrize("kind", ["hub", "parquet"])
@pytest.mark.parametrize("column", ["document", "messages"])
def test_bytes_that_are_no_utf8_are_a_broken_row_wherever_they_are(tmp_path: Path, kind: str, column: str) -> None:
    lie = pa.Array.from_buffers(pa.string(), 1, pa.array([b"a\xffb"]).buffers())
    if column == "messages":
        message = pa.StructArray.from_arrays([pa.array(["assistant"]), lie], ["role", "content"])
        lie = pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), message)
    (tmp_path / "source").mkdir()
    file = tmp_path / "source" / "train.parquet"
    pq.write_table(pa.table({column: lie, "summary": ["x"]}), file)
    report = RowReport("a")
    wanted = ["document", "summary"] if column == "document" else [ConversationColumn("messages")]
    name = f"hf:{file.parent}" if kind == "hub" else str(file)
    assert list(check_rows(name, columns=wanted, report=report)) == []
    assert report.broken == {"not UTF-8" if column == "document" else "no conversation": 1}

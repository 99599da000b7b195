"""The app reads, shows, summarizes, answers, stops, and knows its documents again after a restart."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docx
import pytest

import translation_models
from app_server import KEY, Made, make_app, upload, wait
from reading_folders import TEXT, make_reader
from serving import Answer, ask
from simmim.serve.app.board import Task

PROSE = "# The bridge\n\n" + "\n\n".join(
    f"Bridge number {n} crosses the river 😀 at mile {3 * n}. It was built of stone in {1700 + n} by the town."
    for n in range(1, 30)
)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    found = make_app(tmp_path / "library")
    yield found
    found.close()


def get(made: Made, path: str, query: str = "", **options: Any) -> Answer:
    return ask(made.guarded, path, headers=KEY, query=query, **options)


def post(made: Made, path: str, body: Any) -> Answer:
    return ask(made.guarded, path, body, headers={**KEY, "content-type": "application/json"}, method="POST")


def events(answer: Answer) -> list[tuple[str, Any]]:
    """Return the events of a stream."""
    found = []
    for block in answer.body.decode().strip().split("\n\n"):
        name, data = block.split("\n", 1)
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def read(made: Made, name: str = "bridges.md", text: str = PROSE) -> str:
    answer = upload(made, name, text.encode())
    assert answer.status == 202, answer.body
    wait(made)
    return str(answer.json["id"])


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def test_a_document_is_read_shown_summarized_asked_kept_and_removed(made: Made, tmp_path: Path) -> None:
    name = read(made)
    [listed] = get(made, "/api/documents").json["documents"]
    assert (listed["id"], listed["name"], listed["status"]) == (name, "bridges.md", "ready")
    assert listed["tokens"] == listed["read"] > 500
    assert listed["index_bytes"] > 0
    text = get(made, f"/api/documents/{name}/text").body.decode()
    assert text.startswith("The bridge\n\nBridge number 1")

    about = get(made, f"/api/documents/{name}").json
    assert about["headings"][0]["text"] == "The bridge"
    assert about["units"] == units(text)
    chart = get(made, f"/api/documents/{name}/map").json
    begins = get(made, f"/api/documents/{name}/segments").json["begins"]
    assert chart["levels"][-1]["begins"] == begins, "a cell of the lowest level is a segment"
    assert chart["levels"][0]["begins"] == [0]
    assert chart["segments"] == len(begins) == -(-listed["tokens"] // 16)

    line = get(made, f"/api/documents/{name}/line", f"begin=0&end={about['units']}").json["sentences"]
    assert line
    assert line[0]["text"].startswith("Bridge number")
    for length, words in (("line", 35), ("paragraph", 120), ("page", 400)):
        [(kind, done)] = events(post(made, f"/api/documents/{name}/summary", {"length": length}))
        assert (kind, done["words"]) == ("done", words)
        wide = text.encode("utf-16-le")
        for one in done["sentences"]:
            shown = wide[2 * one["begin"] : 2 * one["end"]].decode("utf-16-le")
            assert " ".join(shown.split()) == one["text"], (
                "each sentence is linked to its position, as a browser counts"
            )

    found = events(
        post(made, f"/api/documents/{name}/ask", {"question": "When was bridge 7 built?", "max_new_tokens": 8})
    )
    assert [*[kind for kind, _ in found][:1], found[-1][0]] == ["started", "done"]
    done = found[-1][1]
    for passage in done["passages"]:
        shown = text.encode("utf-16-le")[2 * passage["begin"] : 2 * passage["end"]].decode("utf-16-le")
        assert shown == passage["text"]
        assert passage["id"] == name
    assert "".join(piece["text"] for kind, piece in found if kind == "piece").strip() == done["text"]

    made.close()
    again = make_app(tmp_path / "library")
    try:
        [listed] = get(again, "/api/documents").json["documents"]
        assert (listed["id"], listed["status"]) == (name, "ready")
        [record] = get(again, f"/api/documents/{name}/history").json["history"]
        assert (record["question"], record["text"]) == ("When was bridge 7 built?", done["text"])
        assert get(again, f"/api/documents/{name}/line", "begin=0&end=99").json["sentences"], "its digest was kept"
        markdown = get(again, f"/api/documents/{name}/download", "form=md")
        assert "attachment" in markdown.headers["content-disposition"]
        assert "When was bridge 7 built?" in markdown.body.decode()
        assert len(get(again, f"/api/documents/{name}/download", "form=json").json["summaries"]) == 3
        assert ask(again.guarded, f"/api/documents/{name}", headers=KEY, method="DELETE").json["deleted"]
        assert get(again, "/api/documents").json["documents"] == []
        assert not [path for path in (tmp_path / "library").iterdir() if not path.name.startswith(".")]
    finally:
        again.close()


def test_the_same_file_is_kept_once_and_a_part_can_be_summarized(made: Made) -> None:
    name = read(made)
    again = upload(made, "bridges.md", PROSE.encode())
    assert again.json == {"id": name, "job": None}
    text = get(made, f"/api/documents/{name}/text").body.decode()
    begin = units(text[: text.index("Bridge number 9")])
    answer = events(post(made, f"/api/documents/{name}/summary", {"length": "line", "begin": begin, "end": begin + 75}))
    [sentence, *_] = answer[-1][1]["sentences"]
    assert sentence["text"].startswith("Bridge number 9")
    assert begin <= sentence["begin"] < begin + 75
    blank = post(made, f"/api/documents/{name}/summary", {"begin": 3, "end": 3})
    assert (blank.status, blank.error["param"]) == (400, "begin")


def test_reading_stops_within_a_second_and_goes_on(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    reached = threading.Event()

    def slow(task: Task, stage: str, done: int = 0, total: int = 0) -> None:
        advance(task, stage, done, total)
        if stage == "reading":
            reached.set()
            for _ in range(3000):  # a chunk that would take a minute, with the checks that layers make
                task.check()
                time.sleep(0.02)

    advance = Task.advance
    monkeypatch.setattr(Task, "advance", slow)
    answer = upload(made, "bridges.md", PROSE.encode())
    waiting = upload(made, "other.txt", TEXT.encode())
    assert reached.wait(60)
    jobs = get(made, "/api/state").json["jobs"]
    assert [(job["kind"], job["stage"]) for job in jobs] == [("read", "reading"), ("read", "waiting")]
    for job in (waiting.json["job"], answer.json["job"]):
        assert ask(made.guarded, f"/api/jobs/{job}/stop", b"", headers=KEY, method="POST").json["stopped"]
    wait(made)
    statuses = {one["id"]: one["status"] for one in get(made, "/api/documents").json["documents"]}
    assert set(statuses.values()) == {"stopped"}
    monkeypatch.setattr(Task, "advance", advance)
    name = answer.json["id"]
    assert post(made, f"/api/documents/{name}/ask", {"question": "What?"}).error["code"] == "not_ready"
    assert ask(made.guarded, f"/api/documents/{name}/read", b"", headers=KEY, method="POST").status == 202
    wait(made)
    [one] = [one for one in get(made, "/api/documents").json["documents"] if one["id"] == name]
    assert one["status"] == "ready"
    assert not ask(made.guarded, "/api/jobs/999/stop", b"", headers=KEY, method="POST").json["stopped"]


def test_folders_of_simmim_read_are_shown_with_all_their_documents(tmp_path: Path) -> None:
    folder = tmp_path / "library" / "two"
    reader = make_reader(keep="keys", segment=16, chunk=64)
    reader.read(folder, TEXT, "houses.txt")
    reader.read(folder, PROSE, "bridges.txt")
    foreign = tmp_path / "foreign"
    make_reader(fingerprint="another").read(foreign, TEXT, "foreign.txt")
    made = make_app(tmp_path / "library", [foreign])
    try:
        found = {one["name"]: one for one in get(made, "/api/documents").json["documents"]}
        assert {name: one["status"] for name, one in found.items()} == {
            **{"houses.txt": "ready", "bridges.txt": "ready", "foreign.txt": "foreign"},
        }
        second = found["bridges.txt"]["id"]
        answer = events(post(made, f"/api/documents/{second}/ask", {"question": "Which bridge?", "max_new_tokens": 4}))
        names = {passage["document"]: passage["id"] for passage in answer[-1][1]["passages"]}
        assert names.items() <= {name: one["id"] for name, one in found.items()}.items()
        other = found["foreign.txt"]["id"]
        kind, error = events(post(made, f"/api/documents/{other}/ask", {"question": "Which?"}))[-1]
        assert kind == "error"
        assert "expected a document read by tiny" in error["message"]
        assert events(post(made, f"/api/documents/{other}/summary", {}))[-1][0] == "done"
        refused = ask(made.guarded, f"/api/documents/{second}", headers=KEY, method="DELETE")
        assert (refused.status, refused.error["code"]) == (409, "not_owned")
        assert ask(made.guarded, f"/api/documents/{other}", headers=KEY, method="DELETE").status == 200
        assert foreign.exists(), "what simmim read has made stays"
        assert other not in [one["id"] for one in get(made, "/api/documents").json["documents"]]
    finally:
        made.close()


def test_openai_clients_are_served_by_the_same_process(made: Made) -> None:
    assert get(made, "/v1/models").json["data"][0]["id"] == "tiny"
    asked = {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 3}
    assert post(made, "/v1/chat/completions", asked).json["usage"]["completion_tokens"] <= 3
    described = get(made, "/api/openapi.json").json["paths"]
    assert {"/api/documents", "/api/documents/{name}/ask", "/api/documents/{name}/map"} <= {*described}


def test_damage_is_named_and_stops_no_other_document(made: Made, tmp_path: Path) -> None:
    good, bad = read(made), read(made, "houses.txt", TEXT)
    text = tmp_path / "library" / bad / "0000.text"
    text.write_text("changed")
    answer = get(made, f"/api/documents/{bad}/text")
    if answer.status == 200:  # it was open
        made.app.desk.pages.forget(made.documents.entry(bad))
        answer = get(made, f"/api/documents/{bad}/text")
    assert (answer.status, answer.error["code"]) == (409, "damaged")
    (tmp_path / "library" / bad / "manifest.json").write_text("{")
    (tmp_path / "library" / good / "app" / "digest.json").write_text('{"format": "simmim-digest-1"')
    (tmp_path / "library" / good / "app" / "history.jsonl").write_text("{}\nno json\n[1]\n")
    found = {one["id"]: one["status"] for one in get(made, "/api/documents").json["documents"]}
    assert found == {good: "ready", bad: "failed"}
    made.app.desk.pages.forget(made.documents.entry(good))
    assert get(made, f"/api/documents/{good}/history").json["history"] == []
    assert events(post(made, f"/api/documents/{good}/summary", {}))[-1][0] == "done", "its digest is made again"


def test_a_translation_comes_block_by_block_and_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    translation_models.simmim(folder)
    made = make_app(tmp_path / "library", translation_model=folder)
    try:
        text = "\n\n".join(f"The house {n} is red 😀 and the cat is old." for n in range(20))
        name = read(made, "cats.txt", text)
        assert get(made, "/api/about").json["translates"]
        found = events(post(made, f"/api/documents/{name}/translate", {"to": "fr", "source": "en"}))
        blocks = [block for kind, content in found if kind == "piece" for block in content["blocks"]]
        assert [kind for kind, _ in found] == ["started", "piece", "piece", "piece", "done"]
        assert len(blocks) == found[1][1]["of"] == 20
        wide = text.encode("utf-16-le")
        for block in blocks:
            assert wide[2 * block["begin"] : 2 * block["end"]].decode("utf-16-le") == block["source"]
        kept = get(made, f"/api/documents/{name}/translation", "to=fr").json
        assert (kept["blocks"], kept["from"], kept["to"]) == (blocks, "en", "fr")
        assert get(made, f"/api/documents/{name}").json["translations"] == ["fr"]
        tmx = get(made, f"/api/documents/{name}/download", "form=tmx&to=fr")
        assert tmx.body.count(b"<tu>") == 20
        written = docx.Document(io.BytesIO(get(made, f"/api/documents/{name}/download", "form=docx&to=fr").body))
        assert [paragraph.text for paragraph in written.paragraphs] == [block["text"] for block in blocks]
        part = {"to": "fr", "source": "en", "begin": blocks[3]["begin"], "end": blocks[3]["end"]}
        [piece] = [
            content for kind, content in events(post(made, f"/api/documents/{name}/translate", part)) if kind == "piece"
        ]
        assert [one["source"] for one in piece["blocks"]] == [blocks[3]["source"]]
        kind, error = events(post(made, f"/api/documents/{name}/translate", {"to": "xx", "source": "en"}))[-1]
        assert kind == "error"
        assert "expected a language that the model writes" in error["message"]
    finally:
        made.close()

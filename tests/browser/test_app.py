"""The app in a real browser: from an uploaded file to an answer, by mouse and by keys, in both languages and themes."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app_server import Made
from simmim.reading.manifest import Document
from simmim.serve.app.board import Task

ROOT = Path(__file__).parents[2]
DOCUMENTS = ROOT / "examples" / "documents"
PROSE = "# The bridges\n\n" + "\n\n".join(
    f"Bridge number {n} crosses the river 😀 at mile {3 * n}. It was built of stone in {1700 + n} by the town."
    for n in range(1, 40)
)
Serve = Callable[..., tuple[str, Made]]
Visit = Callable[..., Any]


def add(page: Any, name: str, text: str) -> None:
    """Upload a text and wait until it is read."""
    page.set_input_files("#file", {"name": name, "mimeType": "text/plain", "buffer": text.encode()})
    page.locator("#documents li", has_text=name).and_(page.locator("[data-status=ready]")).wait_for()
    page.locator("#documents .open", has_text=name).click()
    page.locator("#summary .sentence").first.wait_for()


def busy(session: Any) -> float:
    """Return the seconds that the page's main thread has computed."""
    found = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
    return float(found["TaskDuration"])


def test_from_a_file_to_an_answer(serve: Serve, visit: Visit) -> None:
    url, made = serve()
    page = visit(url)
    page.get_by_text("A long document, seen whole").wait_for()
    add(page, "bridges.md", PROSE)
    segments = made.documents.map(made.documents.documents()["documents"][0]["id"])["segments"]
    lowest = page.locator("#cells rect").evaluate_all(
        "cells => { const y = Math.max(...cells.map(c => +c.getAttribute('y')));"
        " return cells.filter(c => +c.getAttribute('y') === y).length }"
    )
    assert lowest == segments, "a cell of the lowest row is a segment"

    assert page.locator("#cells rect.read").count() > 0, "the map shows where the summary comes from"
    cell = page.locator("#cells rect").nth(-4)
    cell.hover(force=True)
    page.locator("#cell-line", has_text="Bridge number").wait_for()
    cell.click(force=True)
    page.locator(".block", has_text="Bridge number 38").wait_for()
    assert page.evaluate("CSS.highlights.get('target').size") > 0, "the text of the cell is marked"

    sentence = page.locator("#summary .sentence .link").first
    sentence.click()
    shown = sentence.text_content()
    block = page.locator(".block", has_text=shown)
    block.wait_for()
    frame, box = page.locator("#text").bounding_box(), block.bounding_box()
    assert frame["y"] - 5 <= box["y"] < frame["y"] + frame["height"], "a sentence of the summary leads to its passage"

    page.locator("#tab-ask").click()
    page.fill("#question", "When was bridge 7 built?")
    page.keyboard.press("Enter")
    page.locator(".passage").first.wait_for()
    assert page.locator(".answer h3").first.text_content() == "When was bridge 7 built?"
    assert page.locator("#cells rect.read").count() > 0, "the map shows what was read for the answer"
    page.locator(".passage .link").first.click()
    assert page.evaluate("CSS.highlights.get('passage').size") > 0

    page.locator("#tab-history").click()
    page.locator("#past .link", has_text="When was bridge 7 built?").click()
    page.locator("#past .passage").first.wait_for()
    with page.expect_download() as download:
        page.locator("#as-markdown").click()
    assert "When was bridge 7 built?" in Path(download.value.path()).read_text(encoding="utf-8")

    page.fill("#query", "mile 60")
    page.keyboard.press("Enter")
    page.locator("#matches", has_text="1 of 1").wait_for()
    page.locator("#segments").check()
    page.locator(".block").first.wait_for()
    page.on("dialog", lambda dialog: dialog.accept())
    page.locator("#documents .remove").click()
    page.locator("#documents li").wait_for(state="detached")
    page.get_by_text("A long document, seen whole").wait_for()


def test_reading_stops_and_goes_on_and_a_restart_keeps_the_library(
    serve: Serve, visit: Visit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(task: Task, stage: str, done: int = 0, total: int = 0) -> None:
        advance(task, stage, done, total)
        for _ in range(3000 if stage == "reading" else 0):  # a chunk of a minute, with the checks that layers make
            task.check()
            time.sleep(0.02)

    advance = Task.advance
    monkeypatch.setattr(Task, "advance", slow)
    url, _ = serve()
    page = visit(url)
    page.set_input_files("#file", {"name": "bridges.md", "mimeType": "text/plain", "buffer": PROSE.encode()})
    page.locator("#queue .stage", has_text="reading").wait_for()
    page.locator(".block", has_text="Bridge number 1 ").first.wait_for()  # what is read can be seen already
    began = time.monotonic()
    page.locator("#queue .stop").click()
    page.locator("#queue", has_text="Nothing is running").wait_for()
    print(f"stopped after {time.monotonic() - began:.2f} s")
    monkeypatch.setattr(Task, "advance", advance)
    page.get_by_role("button", name="Go on").click()
    page.locator("[data-status=ready]").wait_for()
    page.context.close()

    again, _ = serve(tmp_path / "library")
    page = visit(again)
    page.locator("[data-status=ready]", has_text="bridges.md").wait_for()
    page.locator("#summary .sentence").first.wait_for()


def test_what_a_document_holds_stays_text(serve: Serve, visit: Visit) -> None:
    evil = '<img src=x onerror="window.owned=1"><script>window.owned=1</script>'
    url, _ = serve()
    page = visit(url)
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    text = f"{evil} 1. A HEADING {evil}\n\n" + "\n\n".join(
        f"Sentence {n} of this text says {evil} and [goes](javascript:alert(1)) on about the river." for n in range(9)
    )
    add(page, '<img src=x onerror="window.owned=1">.txt', text)
    page.locator(".block", has_text="<script>window.owned=1</script>").first.wait_for()
    page.locator("#tab-ask").click()
    page.fill("#question", f"What is {evil}?")
    page.keyboard.press("Enter")
    page.locator(".passage").first.wait_for()
    page.locator("#tab-history").click()
    page.locator("#past .answer").first.wait_for()
    page.locator("#cells rect").first.hover(force=True)
    assert page.evaluate("typeof window.owned") == "undefined"
    assert page.locator("img, main script, footer script").count() == 0
    assert dialogs == []


def test_a_million_tokens_scroll(serve: Serve, visit: Visit, tmp_path: Path) -> None:
    """Only what is in view is in the page, wherever it is scrolled to; the figures are printed."""
    words = "bridge river stone town mile built crosses under every spring water carries timber from the hills".split()
    text = "\n\n".join(
        (f"CHAPTER {n // 100}\n\n" if n % 100 == 0 else "")
        + f"{n}. "
        + " ".join(words[(n * 7 + i * i) % len(words)] for i in range(60 + n % 50))
        + "."
        for n in range(4_500)
    )
    url, made = serve()
    reader, folder = made.app.desk.reader, tmp_path / "library" / "long"
    folder.mkdir(parents=True)
    new = Document("long.txt", hashlib.sha256(text.encode()).hexdigest(), len(text), 0)
    reader._begin(folder, reader.open_manifest(folder), text, None, new)  # its tokens; it is not read by a model
    assert new.tokens > 1_000_000
    page = visit(url)
    began = time.monotonic()
    page.locator(".block", has_text="0. bridge").first.wait_for()
    print(f"{len(text):,} characters, {new.tokens:,} tokens: text shown after {time.monotonic() - began:.2f} s")
    page.locator("#cells rect").nth(1000).wait_for(state="attached")
    assert page.locator("#cells rect").count() <= 2000
    page.locator("#headings option").nth(1).wait_for(state="attached")
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})  # the processor's time: others use it as well
    before = busy(session)
    figures = page.evaluate(
        """async () => {
          const box = document.getElementById("text");
          let frames = 0, most = 0, began = performance.now();
          const look = async () => {
            await new Promise(requestAnimationFrame);
            frames += 1;
            most = Math.max(most, document.querySelectorAll(".block").length);
          };
          while (frames < 60) { box.scrollTop += 120; await look(); }
          const seconds = (performance.now() - began) / 1000;
          for (const share of [0.5, 0.5, 0.1, 0.1, 0.9, 0.9, 1, 1]) {
            box.scrollTop = share * box.scrollHeight;
            await look();
          }
          return {frames, frames_per_second: 60 / seconds, most_blocks: most};
        }"""
    )
    figures["milliseconds_per_frame"] = 1000 * (busy(session) - before) / figures["frames"]
    print(json.dumps(figures))
    assert figures["most_blocks"] < 60
    assert figures["milliseconds_per_frame"] < 50, "a task of more is a long one"
    page.locator(".block", has_text="4499. ").wait_for()
    page.fill("#query", "2500. ")
    page.keyboard.press("Enter")
    page.locator(".block", has_text="2500. ").first.wait_for()
    print("heap", page.evaluate("performance.memory.usedJSHeapSize / 2**20"), "MiB")


def test_keys_reach_everything(serve: Serve, visit: Visit) -> None:
    url, _ = serve()
    page = visit(url)
    add(page, "bridges.md", PROSE)
    page.locator("#text").focus()
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "query"
    page.locator("#tab-summary").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "tab-ask"
    page.locator("#panel-ask").wait_for()
    page.locator("#cells svg").focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
    line = page.locator("#cell-line").text_content()
    assert line.startswith("Segments "), line
    page.keyboard.press("Enter")
    assert page.evaluate("CSS.highlights.get('target').size") > 0
    page.evaluate(
        "() => { const node = document.querySelector('.block:nth-child(3)').firstChild, range = document.createRange();"
        " range.setStart(node, 0); range.setEnd(node, 40);"
        " getSelection().removeAllRanges(); getSelection().addRange(range) }"
    )
    page.locator("#selection [data-do=summary]").click()
    page.locator("#part", has_text="40 characters").wait_for()


STATES = [("en-GB", "light", 1400), ("zh-CN", "dark", 1400), ("en-GB", "dark", 360), ("zh-CN", "light", 360)]


@pytest.mark.parametrize(("locale", "scheme", "width"), STATES)
def test_both_languages_and_themes_have_no_violations(
    serve: Serve, visit: Visit, locale: str, scheme: str, width: int
) -> None:
    axe = Path(os.environ.get("AXE", ROOT / ".venv" / "axe-core" / "package" / "axe.min.js"))
    url, _ = serve()
    page = visit(url, locale=locale, color_scheme=scheme, viewport={"width": width, "height": 740}, bypass_csp=True)
    assert page.locator("html").get_attribute("lang") == locale.replace("en-GB", "en")
    narrow = width < 900
    found: list[str] = []

    def look(pane: str) -> None:
        if narrow:
            page.locator(f".panes [data-pane={pane}]").click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width, pane
        if axe.exists():
            page.evaluate(axe.read_text(encoding="utf-8"))
            result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
            found.extend(f"{pane}: {one['id']}: {one['nodes'][0]['html'][:200]}" for one in result["violations"])

    look("document")
    if narrow:
        page.locator(".panes [data-pane=library]").click()
    page.set_input_files("#file", {"name": "bridges.md", "mimeType": "text/plain", "buffer": PROSE.encode()})
    page.locator("[data-status=ready]").wait_for(state="attached")
    page.locator("#summary .sentence").first.wait_for(state="attached")
    for pane in ("library", "map", "document", "work"):
        look(pane)
    page.locator("#tab-ask").click()
    page.fill("#question", "When was bridge 7 built?")
    page.keyboard.press("Enter")
    page.locator(".passage").first.wait_for()
    look("work")
    page.locator("#tab-history").click()
    page.locator("#past .answer").first.wait_for()
    look("work")
    page.locator("#tab-translate").click()
    look("work")
    assert not found, "\n".join(sorted(set(found)))
    if not axe.exists():
        pytest.skip("make test-browser gets axe-core, if npm is there; all else was tested")

"""Records reading and asking with the default model as a moving picture for the guide: PICTURES says where it goes."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from app_server import Made
from simmim.reading.reader import ReadingSettings
from simmim.tasks.reading import load_reader

DOCUMENT = Path(__file__).parents[2] / "examples" / "documents" / "contract.md"
QUESTION = "Which law governs the agreement?"
LONGEST = 3.0  # seconds that a frame is shown: nothing moves in between


class Recorder:
    """Takes pictures of a page; a picture that is as the last one prolongs that."""

    def __init__(self, page: Any) -> None:
        self._page, self.frames, self.times = page, list[Image.Image](), list[float]()
        self._last = b""

    def take(self) -> None:
        """Take a picture."""
        shot = self._page.screenshot()
        if shot != self._last:
            picture = Image.open(io.BytesIO(shot)).convert("RGB").resize((960, 600), Image.Resampling.LANCZOS)
            self.frames.append(picture.quantize(64, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE))
            self.times.append(time.monotonic())
            self._last = shot

    def until(self, done: Callable[[], bool]) -> None:
        """Take pictures until something is done."""
        while not done():
            self.take()
            self._page.wait_for_timeout(400)
        self.take()

    def rest(self, seconds: float) -> None:
        """Take pictures for a while."""
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() > end)

    def save(self, path: Path) -> None:
        """Write an animated GIF of at most a minute: what takes longer, as on a busy machine, is shown faster."""
        ends = [*self.times[1:], time.monotonic()]
        seconds = [min(end - begin, LONGEST) for begin, end in zip(self.times, ends, strict=True)]
        spans = [round(1000 * each * min(1.0, 60 / sum(seconds))) for each in seconds]
        first, *others = self.frames
        first.save(path, save_all=True, append_images=others, duration=spans, loop=0, optimize=True)


@pytest.mark.skipif("PICTURES" not in os.environ, reason="PICTURES says where the recording goes")
def test_recording_of_the_guide(
    default_model: Path, serve: Callable[..., tuple[str, Made]], visit: Callable[..., Any]
) -> None:
    path = Path(os.environ["PICTURES"]) / "app.gif"
    url, _ = serve(reader=load_reader(str(default_model), ReadingSettings(keep="text"), device="cpu"))
    page = visit(url, viewport={"width": 1280, "height": 800}, color_scheme="light")
    page.set_default_timeout(1_200_000)
    recorder = Recorder(page)
    recorder.rest(1.5)
    page.set_input_files("#file", str(DOCUMENT))
    recorder.until(lambda: page.locator("#summary .sentence").count() > 0)
    recorder.rest(3)
    page.locator("#summary .sentence").last.click()
    recorder.rest(3)
    page.locator("#tab-ask").click()
    for end in range(4, len(QUESTION) + 4, 4):
        page.fill("#question", QUESTION[:end])
        recorder.take()
    page.keyboard.press("Enter")
    recorder.until(lambda: page.locator(".passage").count() > 0)
    recorder.rest(2)
    assert "Danish" in page.locator(".reply").first.text_content()
    page.locator(".passage .link").first.click()
    recorder.rest(4)
    recorder.save(path)
    assert path.stat().st_size < 8_000_000
    assert len(recorder.frames) > 10

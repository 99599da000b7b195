"""Makes the pictures of the guide with the default model, and sees that it answers; PICTURES says where they go."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app_server import Made
from simmim.reading.reader import ReadingSettings
from simmim.tasks.reading import load_reader

DOCUMENTS = Path(__file__).parents[2] / "examples" / "documents"


def test_pictures_of_the_guide(
    default_model: Path, serve: Callable[..., tuple[str, Made]], visit: Callable[..., Any], tmp_path: Path
) -> None:
    pictures = Path(os.environ.get("PICTURES", tmp_path))
    url, _ = serve(reader=load_reader(str(default_model), ReadingSettings(keep="text"), device="cpu"))
    page = visit(url, viewport={"width": 1280, "height": 800}, color_scheme="light")
    page.set_default_timeout(1_200_000)
    page.set_input_files("#file", str(DOCUMENTS / "ticket.md"))
    page.locator("[data-status=ready]").wait_for()
    page.locator("#summary .sentence").first.wait_for()
    page.locator("#tab-ask").click()
    page.fill("#question", "What is the table tariff_zones called in 7.4?")
    page.keyboard.press("Enter")
    page.locator(".passage").first.wait_for()
    assert "pricing_zones" in page.locator(".reply").first.text_content()
    page.locator(".passage .link").first.click()
    page.mouse.move(5, 5)
    page.wait_for_timeout(500)
    page.screenshot(path=pictures / "app-light.png")
    page.emulate_media(color_scheme="dark")
    page.locator("#language").click()
    page.set_viewport_size({"width": 360, "height": 740})
    page.locator(".panes [data-pane=work]").click()
    page.wait_for_timeout(500)
    page.screenshot(path=pictures / "app-narrow-dark.png")
    assert all(path.stat().st_size < 300_000 for path in pictures.glob("app-*.png"))

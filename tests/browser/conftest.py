"""Opens the app in Debian's chromium; what is missing skips the tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app_server import TOKEN, Made, live_app

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser for the tests of a file; its event loop ends with it, so that other tests can have theirs."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="make test-browser installs playwright")
    if CHROMIUM is None:
        pytest.skip("make test-browser installs chromium")
    with sync_api.sync_playwright() as playwright:
        # pages of the tests alone are opened; chromium's sandbox does not run as root
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., tuple[str, Made]]]:
    """Give a function that starts an app over a library."""
    running = []

    def start(library: Path = tmp_path / "library", **settings: Any) -> tuple[str, Made]:
        context = live_app(library, **settings)
        running.append(context)
        return context.__enter__()

    yield start
    for context in running:
        context.__exit__(None, None, None)


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """Give a function that opens the page; errors on the page fail the test at its end."""
    contexts, errors = [], []

    def start(url: str, **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1400, "height": 880}, "locale": "en-GB", **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(120_000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.goto(f"{url}/?token={TOKEN}")
        page.locator("html[data-ready]").wait_for()
        return page

    yield start
    for context in contexts:
        context.close()
    assert [error for error in errors if "ERR_" not in error] == []

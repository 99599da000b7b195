"""Builds the corpus 'manual page -> the description in its NAME section' from Debian packages."""

import gzip
import logging
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from lab.corpora.apt_packages import AptPackage, fetched_packages, read_files
from lab.corpora.cleaning import fit_pairs, split_cleanly, without_summary
from lab.corpora.sources import MAN_PAGES
from simmim.data.splits import Pair
from simmim.errors import DataError

__all__ = ["build", "read_page", "render"]

logger = logging.getLogger(__name__)

LICENCE = "The pages are from Debian main; each is under the free licence of its own package, see `packages`."
PAGES = r"usr/share/man/man[1-8]/[^/]+"  # the English ones: others are in a folder for their language
_WIDTH = 1000  # columns, the most that mandoc writes: nearly every paragraph is one line
_INDENT = 7  # of the text below a heading
_NAME = re.compile(r"^NAME\n(?P<name>(?:[ \t].*\n|\n)*)", flags=re.MULTILINE)
_DASH = re.compile(r"\s+(?:-{1,2}|[–—])\s+")


def build() -> tuple[dict[str, list[Pair]], dict[str, object]]:
    """Fetch the packages and make the corpus.

    Returns:
        The pairs of each split, and what the manifest says about their origin.

    Raises:
        DataError: There is no mandoc or no apt here, or the packages cannot be fetched.
    """
    version = _renderer()
    dropped: Counter[str] = Counter()
    with fetched_packages(MAN_PAGES) as packages:
        raw = list(_read_pairs(packages, dropped))
        entries = [package.entry() for package in packages]
    pages = len(raw) + dropped.total()
    splits = split_cleanly(fit_pairs(raw, dropped, summary_words=2, document_words=50), dropped)
    found = {entry["name"] for entry in entries}
    return splits, {
        "fetched_by": f"apt-get download with a private state; rendered by {version}",
        "licence": LICENCE,
        "pages_read": pages,
        "dropped": dict(dropped),
        "packages_missing": [name for name in MAN_PAGES if name not in found],
        "packages": entries,
    }


def read_page(text: str) -> tuple[str, str] | None:
    """Cut a rendered page into its document and the description in its NAME section.

    Args:
        text: The page, as `render` gives it.

    Returns:
        The page without its NAME section and without the sentences that hold the description elsewhere, and the
        description; None where the page has no such section.
    """
    section = _NAME.search(text)
    if section is None:
        return None
    _, dash, description = _DASH.sub("\0", " ".join(section["name"].split()), count=1).partition("\0")
    if not dash:
        return None
    document = text[: section.start()] + text[section.end() :]
    return without_summary(document, description).strip("\n"), description


def render(page: bytes) -> str | None:
    """Render the source of a manual page as plain text.

    Args:
        page: The roff source.

    Returns:
        The text, a paragraph a line, without the page's header and footer; None where mandoc refuses it.
    """
    done = subprocess.run(
        ["mandoc", "-T", "utf8", "-O", f"width={_WIDTH},indent=0"], input=page, capture_output=True, check=False
    )
    if done.returncode != 0:
        return None
    text = re.sub(".\x08", "", done.stdout.decode("utf-8", errors="replace")).replace("\xa0", " ")
    lines = text.strip("\n").split("\n")[1:-1]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(_unwrap(lines))).strip("\n") + "\n"


def _unwrap(lines: Iterable[str]) -> Iterator[str]:
    """Join what was broken at the right margin, and cut the left one."""
    held = ""
    for line in lines:
        if held:
            line = held + ("" if held.endswith("-") else " ") + line.strip()
            held = ""
        if len(line) > 0.9 * _WIDTH and len(line) <= _WIDTH:
            held = line
            continue
        yield _dedent(line)
    if held:
        yield _dedent(held)


def _dedent(line: str) -> str:
    """Leave two columns of the margin: a heading of a section has none, one inside a section has one."""
    margin = len(line) - len(line.lstrip(" "))
    return line[5 if margin >= _INDENT else margin - 1 if margin else 0 :].rstrip()


def _read_pairs(packages: Iterable[AptPackage], dropped: Counter[str]) -> Iterator[Pair]:
    """Render the pages of packages; what gives no pair is counted."""
    packages = list(packages)
    for number, package in enumerate(packages, start=1):
        logger.info("package %d of %d: %s", number, len(packages), package.name)
        for path, content in read_files(package, PAGES):
            page = gzip.decompress(content) if content is not None and path.endswith(".gz") else content
            if page is None or re.match(rb"\s*\.so ", re.sub(rb"^[.']\\\".*\n", b"", page, flags=re.MULTILINE)):
                dropped["another name of a page"] += 1
                continue
            text = render(page)
            parts = read_page(text) if text is not None else None
            if parts is None:
                dropped["cannot be rendered" if text is None else "no description in a NAME section"] += 1
                continue
            name = PurePosixPath(path).name.removesuffix(".gz")
            yield Pair(*parts, group=package.source, name=f"{package.name}/{name}")


def _renderer() -> str:
    """Return what renders pages, with its version."""
    if shutil.which("mandoc") is None:
        raise DataError(
            "mandoc: expected on the PATH, found none. It renders manual pages: install it (apt-get install mandoc)."
        )
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", "mandoc"], capture_output=True, text=True)
    return f"mandoc {done.stdout or 'of an unknown version'}"

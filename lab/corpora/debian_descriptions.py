"""Build the corpus 'Debian package description -> synopsis' from the package lists that apt fetches."""

import io
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby

from debian.deb822 import Deb822

from lab.corpora.apt import AptIndex, fetch_indexes
from simmim.data.splits import Pair, split_pairs
from simmim.errors import DataError

__all__ = ["build", "clean_description", "read_pairs"]

FETCHED_BY = "apt-get update with a private state; the indexes Packages and Translation-en of Debian main"
LICENCE = (
    "The texts are from the debian/control files of the packages in Debian main; each is under the free licence of "
    "its own package."
)


def build() -> tuple[dict[str, list[Pair]], dict[str, object]]:
    """Fetch the package lists and make the corpus.

    Returns:
        The pairs of each split, and what the manifest says about their origin.

    Raises:
        DataError: The lists cannot be fetched, or hold no description.
    """
    indexes = fetch_indexes("en", origin="Debian", component="main")
    dropped: Counter[str] = Counter()
    pairs = list(read_pairs(indexes, dropped))
    if not pairs:
        raise DataError(
            f"package lists: expected packages with a description, found none in "
            f"{[index.path for index in indexes]} (dropped: {dict(dropped)}). Check /etc/apt/sources.list."
        )
    packages_read = len(pairs) + dropped.total()
    splits = split_pairs(pairs, dropped)
    releases = dict.fromkeys((index.origin, index.codename, index.version, index.date) for index in indexes)
    origin = {
        "fetched_by": FETCHED_BY,
        "licence": LICENCE,
        "releases": [
            dict(zip(("origin", "codename", "version", "date"), release, strict=True)) for release in releases
        ],
        "indexes": [{"codename": index.codename, "path": index.path, "sha256": index.sha256} for index in indexes],
        "packages_read": packages_read,
        "dropped": dict(dropped),
    }
    return splits, origin


def read_pairs(indexes: Iterable[AptIndex], dropped: Counter[str]) -> Iterator[Pair]:
    """Join packages with their long descriptions.

    Args:
        indexes: Packages and Translation files; they are joined on the package's name and the description's MD5.
        dropped: Gains the number of packages dropped, by reason.

    Yields:
        A pair for each package that has a synopsis and a long description, grouped by source package.
    """
    indexes = list(indexes)
    texts = {
        (entry["Package"], entry["Description-md5"]): entry["Description-en"]
        for index in indexes
        if index.kind == "Translations"
        for entry in _entries(index)
    }
    seen: set[tuple[str, str]] = set()
    for index in indexes:
        if index.kind != "Packages":
            continue
        for entry in _entries(index):
            name = entry["Package"]
            key = (name, entry.get("Description-md5", ""))
            if key in seen:  # a package that a second architecture or release lists again
                dropped["package listed again"] += 1
                continue
            seen.add(key)
            if key not in texts:
                dropped["no English long description"] += 1
                continue
            summary, document = clean_description(texts[key])
            if not document:
                dropped["empty document"] += 1
            elif not summary:
                dropped["empty summary"] += 1
            else:
                yield Pair(document, summary, group=entry.get("Source", name).split()[0], name=name)


def clean_description(text: str) -> tuple[str, str]:
    """Turn a control file's description into its synopsis and its long description as plain text.

    Wrapped lines of a paragraph are joined, a line of ` .` ends the paragraph, and lines indented by two or more
    spaces (lists, code) stay lines and keep the indentation beyond the first space.

    Args:
        text: The field as it stands in the file: the synopsis, then one line of text per line, each indented.

    Returns:
        The synopsis and the long description; paragraphs are divided by an empty line.
    """
    synopsis, *lines = text.split("\n")
    paragraphs = []
    for is_break, group in groupby(lines, key=lambda line: line.strip() in ("", ".")):
        if is_break:
            continue
        blocks: list[str] = []
        for is_verbatim, block in groupby(group, key=lambda line: line[1:2].isspace()):
            if is_verbatim:
                blocks += [line[1:].rstrip() for line in block]
            else:
                blocks.append(" ".join(" ".join(block).split()))
        paragraphs.append("\n".join(blocks))
    return " ".join(synopsis.split()), "\n\n".join(paragraphs)


def _entries(index: AptIndex) -> Iterator[Deb822]:
    """Parse an index file."""
    return Deb822.iter_paragraphs(io.BytesIO(index.content), use_apt_pkg=False)

"""Builds the corpus 'RFC -> its abstract' from Debian's doc-rfc packages; the texts are taken as they are."""

import gzip
import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from lab.corpora.apt_packages import AptPackage, fetched_packages, read_files
from lab.corpora.cleaning import fit_pairs, split_cleanly
from lab.corpora.sources import RFC_PACKAGES
from simmim.data.splits import Pair

__all__ = ["build", "cut_abstract"]

logger = logging.getLogger(__name__)

LICENCE = (
    "Non-free (Debian's component non-free): the IETF Trust's terms allow copying whole RFCs, but few changes. For "
    "your own machine: the pairs must not be passed on, as each text lacks its abstract."
)
_FILES = r"usr/share/doc/RFC/(?!links/)[^/]+/rfc\d+\.txt(\.gz)?"
_HEADING = re.compile(r" {0,3}(\d+\.? +)?abstract:?", flags=re.IGNORECASE)
_FOOTER = re.compile(r"\S.*\[page [\divxlc]+\]\s*", flags=re.IGNORECASE)
_LONGEST = 400  # words; a longer "abstract" is one whose end was not found


def build() -> tuple[dict[str, list[Pair]], dict[str, object]]:
    """Fetch the packages and make the corpus.

    Returns:
        The pairs of each split, and what the manifest says about their origin.

    Raises:
        DataError: There is no apt here, or the packages cannot be fetched.
    """
    dropped: Counter[str] = Counter()
    with fetched_packages(RFC_PACKAGES, component="non-free") as packages:
        raw = list(_read_pairs(packages, dropped))
        entries = [package.entry() for package in packages]
    read = len(raw) + dropped.total()
    splits = split_cleanly(fit_pairs(raw, dropped, summary_words=5, document_words=200), dropped)
    return splits, {
        "fetched_by": "apt-get download with a private state, from the component non-free",
        "licence": LICENCE,
        "documents_read": read,
        "dropped": dict(dropped),
        "packages": entries,
    }


def cut_abstract(text: str) -> tuple[str, str] | None:
    """Cut the section 'Abstract' out of an RFC.

    Args:
        text: The whole RFC.

    Returns:
        The RFC without that section but otherwise as it was (page breaks inside the section stay), and the abstract,
        a paragraph a line; None where it has no such section.
    """
    lines = text.splitlines(keepends=True)
    start = next((place for place, line in enumerate(lines) if _HEADING.fullmatch(line.rstrip())), None)
    if start is None:
        return None
    rest, abstract = lines[:start], []
    furniture = False
    end = len(lines)
    for place in range(start + 1, len(lines)):
        line = lines[place]
        if line.startswith("\f") or _FOOTER.fullmatch(line):
            furniture = True  # from the footer to the text of the next page
        elif furniture and re.match(r"RFC \d+ ", line):
            furniture = False
        elif line.strip() and not line[0].isspace():
            end = place
            break
        elif not furniture:
            abstract.append(line)
            continue
        rest.append(line)
    paragraphs = re.split(r"\n\s*\n", "".join(abstract).strip("\n"))
    summary = "\n".join(" ".join(paragraph.split()) for paragraph in paragraphs if paragraph.strip())
    return "".join([*rest, *lines[end:]]), summary


def _read_pairs(packages: Iterable[AptPackage], dropped: Counter[str]) -> Iterator[Pair]:
    """Read the RFCs of packages; what gives no pair is counted."""
    seen: set[str] = set()
    for package in packages:
        logger.info("reading %s", package.name)
        for path, content in read_files(package, _FILES):
            name = PurePosixPath(path).name.split(".")[0]
            if content is None or name in seen:
                dropped["another name of a document"] += 1
                continue
            seen.add(name)
            try:
                text = (gzip.decompress(content) if path.endswith(".gz") else content).decode("utf-8-sig")
            except UnicodeDecodeError:
                dropped["not UTF-8"] += 1
                continue
            parts = cut_abstract(text)
            if parts is None:
                dropped["no section called Abstract"] += 1
            elif len(parts[1].split()) > _LONGEST:
                dropped[f"abstract of over {_LONGEST} words"] += 1
            else:
                yield Pair(*parts, group=name, name=name)

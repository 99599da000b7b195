"""Keeps the digest of a document in a file, and says what a part of the document is about in a line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from simmim.atomic import replaced_file
from simmim.files import read_regular_text
from simmim.tasks.summarization.extracts.candidates import Candidate
from simmim.tasks.summarization.extracts.extract import LENGTHS, Digest
from simmim.tasks.summarization.extracts.pyramid import Node

__all__ = ["line_of", "load_digest", "save_digest"]

_FORMAT = "simmim-digest-1"


def save_digest(path: Path, digest: Digest, sha256: str) -> None:
    """Write the digest of a text.

    Raises:
        OSError: the file cannot be written.
    """
    sentences = [[one.begin, one.end, one.text, one.headings, one.words, one.fitness] for one in digest.sentences]
    about = {"language": digest.language, "words": digest.words, "encoded": digest.encoded}
    content = {"format": _FORMAT, "sha256": sha256, **about, "sentences": sentences, "root": _packed(digest.root)}
    with replaced_file(path) as stream:
        json.dump(content, stream, ensure_ascii=False, separators=(",", ":"))


def load_digest(path: Path, sha256: str, characters: int) -> Digest | None:
    """Read the digest of a text; None if there is none, or it is damaged or of another text: it is made again then."""
    try:
        content = json.loads(read_regular_text(path))
        if content["format"] != _FORMAT or content["sha256"] != sha256:
            return None
        sentences = tuple(_sentence(one, characters) for one in content["sentences"])
        root = _unpacked(content["root"], len(sentences))
        return Digest(str(content["language"]), int(content["words"]), sentences, root, bool(content["encoded"]))
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError):
        return None


def _sentence(values: Any, characters: int) -> Candidate:
    begin, end, text, headings, words, fitness = values
    if not 0 <= int(begin) <= int(end) <= characters:
        raise ValueError("a sentence outside the text")
    return Candidate(int(begin), int(end), str(text), tuple(map(str, headings)), int(words), float(fitness))


def _packed(node: Node) -> list[Any]:
    return [node.level, node.first, node.last, node.headings, node.kept, [_packed(child) for child in node.children]]


def _unpacked(values: Any, count: int) -> Node:
    level, first, last, headings, kept, children = values
    if not all(0 <= int(index) < count for index in (first, last, *kept)):
        raise ValueError("a sentence that does not exist")
    parts = tuple(_unpacked(child, count) for child in children)
    return Node(int(level), int(first), int(last), tuple(map(str, headings)), tuple(map(int, kept)), parts)


def line_of(digest: Digest, begin: int, end: int) -> list[Candidate]:
    """Return the sentences that say what characters `begin` to `end` are about, in a line; none where none is there.

    They are those that the lowest part around the characters keeps first; where it keeps none of them, the sentence
    there that stands alone best.
    """
    node = digest.root
    while inner := next((child for child in node.children if _covers(digest, child, begin, end)), None):
        node = inner
    sentences = digest.sentences
    inside = [i for i in node.kept if begin <= sentences[i].begin < end]
    if not inside:
        inside = _best([i for i in range(node.first, node.last + 1) if begin <= sentences[i].begin < end], sentences)
    if not inside:
        inside = [i for i in range(node.first, node.last + 1) if sentences[i].begin < end and begin < sentences[i].end]
    taken: list[int] = []
    space = LENGTHS["line"]
    for index in inside:
        if not taken or sentences[index].words <= space:
            taken.append(index)
            space -= sentences[index].words
        if 3 * space < LENGTHS["line"]:
            break
    return [sentences[i] for i in sorted(taken)]


def _best(found: list[int], sentences: Sequence[Candidate]) -> list[int]:
    return [max(found, key=lambda i: sentences[i].fitness)] if found else []


def _covers(digest: Digest, node: Node, begin: int, end: int) -> bool:
    return digest.sentences[node.first].begin <= begin and end <= digest.sentences[node.last].end

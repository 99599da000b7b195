"""Translates the blocks of documents and mends or reports what a model gets wrong in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from simmim.tasks.translation.faults import mark_faults, missing_numbers
from simmim.tasks.translation.glossary import Glossary
from simmim.tasks.translation.marks import MARK, Block, Mark, split_marks
from simmim.tasks.translation.translator import Translator, Written

__all__ = ["Translated", "translate_blocks"]

_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？；])\s*")
_WORD_END = re.compile(r"\s+")


@dataclass(frozen=True)
class Translated:
    """A block and what became of it.

    Attributes:
        source: the block's text, with marks.
        text: its translation, with the same marks.
        score: the mean log-probability of the tokens that the model wrote, in nats; None where it wrote none.
        origin: `model`, `memory`, or `kept`: nothing to translate, or nothing that could be.
        repairs: what the model got wrong and was mended.
        faults: what it got wrong and still is: numbers that are missing, and the like.
        raw: what the model wrote, where that was mended.
    """

    source: str
    text: str
    score: float | None = None
    origin: str = "model"
    repairs: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    raw: str | None = None


@dataclass
class _Job:
    """A block under way: `text` and `marks` are what the model sees, terms of the glossary replaced."""

    block: Block
    text: str
    marks: list[Mark]
    terms: list[str]
    written: str = ""
    raw: str | None = None
    score: float | None = None
    repairs: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def translate_blocks(
    blocks: Sequence[Block],
    translator: Translator,
    *,
    glossary: Glossary | None = None,
    memory: Mapping[str, str] | None = None,
    group_size: int = 1,
    batch_size: int = 16,
    advance: Callable[[int], None] = lambda count: None,
) -> list[Translated]:
    """Translate blocks; as many come out as go in.

    Args:
        blocks: the blocks of a document, in order.
        translator: the model.
        glossary: terms with a fixed translation.
        memory: translations of whole blocks, which are taken as they are.
        group_size: blocks that the model reads at once, where it can. If it loses count, they are read one by one.
        batch_size: groups at a time.
        advance: called with the number of blocks that were done since the last call.
    """
    memory = memory or {}
    known = {
        index: memory[block.text]
        for index, block in enumerate(blocks)
        if block.text in memory and not mark_faults(block.marks, memory[block.text])
    }
    advance(len(known))
    jobs = {index: _job(block, glossary) for index, block in enumerate(blocks) if index not in known}
    for portion in _portions(list(jobs.values()), batch_size * max(1, group_size)):
        _write(portion, translator, group_size if translator.reads_groups else 1, batch_size)
        for job in portion:
            _mend(job, translator)
        advance(len(portion))
    return [
        Translated(block.text, known[index], origin="memory") if index in known else _finished(jobs[index])
        for index, block in enumerate(blocks)
    ]


def _portions(jobs: list[_Job], size: int) -> list[list[_Job]]:
    size = max(size, 64)  # enough to put blocks of like length together
    return [jobs[start : start + size] for start in range(0, len(jobs), size)]


def _job(block: Block, glossary: Glossary | None) -> _Job:
    text, terms = glossary.replaced(block.text, len(block.marks) + 1) if glossary else (block.text, [])
    return _Job(block, text, [*block.marks, *(Mark(term) for term in terms)], terms)


def _write(jobs: list[_Job], translator: Translator, group_size: int, batch_size: int) -> None:
    """Let the model write: groups first, and one by one what is too long for a group or whose count is lost."""
    short = [job for job in jobs if len(translator.encode([job.text])) <= translator.limit]
    for job in jobs:
        if job not in short:
            _write_long(job, translator, batch_size)
    groups = [short[start : start + group_size] for start in range(0, len(short), group_size)]
    fitting = [group for group in groups if len(translator.encode([job.text for job in group])) <= translator.limit]
    alone = [[job] for group in groups if group not in fitting for job in group]
    again: list[list[_Job]] = []
    for group, written in _ask(fitting + alone, translator, batch_size):
        if len(group) > 1 and (len(written.blocks) != len(group) or not written.complete):
            again += [[job] for job in group]
        else:
            _keep(group, written)
    for group, written in _ask(again, translator, batch_size):
        _keep(group, written)


def _ask(groups: list[list[_Job]], translator: Translator, batch_size: int) -> list[tuple[list[_Job], Written]]:
    written = translator.write([[job.text for job in group] for group in groups], batch_size=batch_size)
    return list(zip(groups, written, strict=True))


def _keep(group: list[_Job], written: Written) -> None:
    texts = written.blocks if len(group) == len(written.blocks) else [" ".join(written.blocks)]
    for job, text in zip(group, texts, strict=True):
        job.written, job.score = text, written.score
        if not written.complete:
            job.faults.append("the model did not end it")


def _write_long(job: _Job, translator: Translator, batch_size: int) -> None:
    """Translate a block that the model cannot read at once, sentence by sentence."""
    parts = _fitting_parts(job.text, lambda text: len(translator.encode([text])) <= translator.limit)
    job.repairs.append(f"longer than the model reads: translated in {len(parts)} parts")
    found = translator.write([[part] for part in parts], batch_size=batch_size)
    job.written = _joined(parts, [" ".join(one.blocks) for one in found])
    scores = [one.score for one in found if one.score is not None]
    job.score = sum(scores) / len(scores) if scores else None
    if not all(one.complete for one in found):
        job.faults.append("the model did not end it")


def _fitting_parts(text: str, fits: Callable[[str], bool]) -> list[str]:
    """Cut a text into parts that fit: at the ends of sentences, else at spaces, else anywhere but in a mark.

    The white space between two parts stays at the end of the first.
    """
    if fits(text) or len(text) < 2:
        return [text]
    for end in (_SENTENCE_END, _WORD_END):
        offsets = [found.end() for found in end.finditer(text) if 0 < found.end() < len(text)]
        if offsets:
            middle = min(offsets, key=lambda offset: abs(offset - len(text) // 2))
            break
    else:
        free = (offset for offset in range(len(text) // 2, len(text)) if not _in_mark(text, offset))
        middle = next(free, len(text) - 1)
    return [part for half in (text[:middle], text[middle:]) for part in _fitting_parts(half, fits)]


def _in_mark(text: str, offset: int) -> bool:
    return any(found.start() < offset < found.end() for found in MARK.finditer(text))


def _joined(parts: Sequence[str], written: Sequence[str]) -> str:
    """Join the translations of parts with the white space between the parts; Chinese sentences have none."""
    joined, space = "", ""
    for part, text in zip(parts, (text.strip() for text in written), strict=True):
        if joined and text:
            wide = "\u3000" <= joined[-1] <= "\u9fff" or joined[-1] in "！？；，："
            space = "" if wide else space or (" " if joined[-1] in ".!?;:" and text[0].isalnum() else "")
            joined += space
        joined += text
        space = part[len(part.rstrip()) :]
    return joined


def _mend(job: _Job, translator: Translator) -> None:
    """Translate a block anew between its marks if the model has lost or moved them."""
    wrong = mark_faults(job.marks, job.written)
    if not job.written.strip():
        job.faults.append("the model wrote nothing")
        job.written, job.raw = job.text, job.written
    elif wrong:
        job.repairs.append(f"{'; '.join(wrong[:3])}: translated between the marks")
        job.raw = job.written
        job.written, faults = _between_marks(job.text, translator)
        job.faults = faults  # what was wrong with the whole block is gone with it


def _between_marks(text: str, translator: Translator) -> tuple[str, list[str]]:
    """Translate what stands between the marks of a text; return it, and what went wrong."""

    def fits(part: str) -> bool:
        return len(translator.encode([part])) <= translator.limit

    parts = list(split_marks(text))
    with_words = [part for part in parts if isinstance(part, str) and any(map(str.isalpha, part))]
    cut = {part: _fitting_parts(part.strip(), fits) for part in with_words}
    asked = [[piece] for pieces in cut.values() for piece in pieces]
    found = translator.write(asked) if asked else []
    written = iter(found)
    done, faults = {}, []
    for part, pieces in cut.items():
        texts = [MARK.sub("", " ".join(next(written).blocks)).strip() for _ in pieces]
        if not all(texts):
            faults.append("the model wrote nothing for a part of it")
            texts = [new or piece.strip() for new, piece in zip(texts, pieces, strict=True)]
        lead, trail = len(part) - len(part.lstrip()), len(part.rstrip())
        done[part] = part[:lead] + _joined(pieces, texts) + part[trail:]
    if not all(one.complete for one in found):
        faults.append("the model did not end a part of it")
    joined = "".join(f"{{{part}}}" if isinstance(part, int) else done.get(part, part) for part in parts)
    return joined, list(dict.fromkeys(faults))


def _finished(job: _Job) -> Translated:
    """Put terms instead of their marks, and say which numbers are missing."""
    first = len(job.block.marks) + 1

    def put(found: re.Match[str]) -> str:
        number = int(found[1])
        return job.terms[number - first] if first <= number < first + len(job.terms) else found[0]

    text = MARK.sub(put, job.written)
    missing = missing_numbers(job.block.text, text)
    faults = [*job.faults, *(f"number {number} is missing" for number in missing)]
    done = Translated(job.block.text, text, job.score, "model", tuple(job.repairs), tuple(faults), job.raw)
    return replace(done, origin="kept") if text == job.block.text else done

"""Documents of every format that are damaged or hostile, beside a good one that has to be done."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from random import Random

from lab.fuzz.cases import Verdict
from lab.fuzz.commands import judge, run
from lab.fuzz.good import GOOD_SUMMARY, pdf, summarizer
from lab.fuzz.mutations import ODD_TEXTS, damage_bytes, damage_file
from lab.fuzz.office_files import OFFICE_SUFFIXES, office_file

__all__ = ["documents"]

_CHARSETS = (
    *("utf-8", "UTF8", "latin1", "iso-8859-1", "gb2312", "gbk", "big5", "shift_jis", "euc-kr", "utf-16", "utf-7"),
    *("base64", "zlib", "rot13", "hex", "undefined", "idna", "punycode", "unicode_escape", "x-user-defined"),
    *("replacement", "", "\0", "nothing", "utf-8\0", "mbcs", "charmap", "latin-1" * 99, "🙂", "../x", "utf-32"),
)
_TAGS = "p div span b i table tr td ul li nav main pre script style template noscript h1 br hr a svg math".split()
_SNIPPETS = (
    "<![x]>",
    "<![CDATA[x]]>",
    "<!--",
    "<!---->",
    "<!doctype",
    "<?xml version='1.0' encoding='base64'?>",
    "&#x110000;",
    "&#0;",
    "&#xd800;",
    "&nosuch;",
    "</",
    "<a href='",
    "<p hidden>unseen</p>",
    "<p style='display:none'>unseen</p>",
    "<textarea>",
    "<plaintext>",
    "<frameset>",
    "<svg><title>x</svg>",
    "<table><p>",
    "<select><option>",
    "<body><body onload=x>",
    "<meta http-equiv=content-type content='text/html; charset=zlib'>",
)
_MARKDOWN = ("# a\n", "> ", "* ", "[a](b)", "![", "```\n", "| a | b |\n|---|---|\n", "<!--", "\\", "***", "[x]: y\n")
_GOOD = "good.txt"


def documents(rng: Random, good: Path, workdir: Path) -> Verdict:
    """Summarize a folder with one good document and up to three bad ones, to standard output or a file."""
    folder = workdir / "texts"
    folder.mkdir()
    shutil.copyfile(good / "good.txt", folder / _GOOD)
    for number in range(rng.randint(1, 3)):
        suffix, content = _document(rng)
        (folder / f"{number}{_name(rng)}{suffix}").write_bytes(content)
    if rng.random() < 0.1:
        damage_file(rng, rng.choice([path for path in folder.iterdir() if path.name != _GOOD]))
    to_file = rng.random() < 0.3
    output = workdir / "out" / "summaries.jsonl"
    options = ["--output", output] if to_file else ["--json"]
    encoding = rng.random() < 0.15
    if encoding:
        options += ["--encoding", rng.choice(_CHARSETS).replace("\0", "")]
    writes = rng.random() < 0.5
    if writes:
        options += ["--max-new-tokens", 3, "--model", summarizer(good)]
    result = run(workdir, "summarize", folder, *options)
    verdict = judge(result)
    if verdict.fault or (encoding and not result.stdout and not output.exists()):  # refused before any document
        return verdict
    if to_file and not output.exists():
        return Verdict(False, "lost", f"no file was written: {result.output}")
    lines = (output.read_text(encoding="utf-8") if to_file else result.stdout).splitlines()
    records = [json.loads(line) for line in lines]
    if encoding and not any("summary" in record for record in records):
        return verdict  # the good document is not valid in this encoding
    return _judge_others(records, result.stderr, folder, good, verdict, same=writes and not encoding)


def _judge_others(
    records: list[dict[str, object]], stderr: str, folder: Path, good: Path, verdict: Verdict, *, same: bool
) -> Verdict:
    """Judge whether the good document has the same summary as alone, and each other one a summary or an error."""
    done = {Path(str(record["name"])).name: record for record in records}
    if _GOOD not in done:
        return Verdict(False, "lost", f"the good document was not done: {stderr}")
    expected = json.loads((good / GOOD_SUMMARY).read_text(encoding="utf-8"))
    if same and done[_GOOD].get("summary") != expected:
        return Verdict(False, "lie", f"the good document's summary was {done[_GOOD]}, alone {expected}")
    documents = [path.name for path in folder.iterdir() if not path.is_dir()]  # one may have become an empty folder
    missing = [name for name in documents if name not in done or "error" in done[name]]
    named = sum(line.startswith("error: ") for line in stderr.splitlines())
    if named < len(missing):
        return Verdict(False, "lost", f"{missing!r} were neither done nor all named: {stderr}")
    return verdict


def _name(rng: Random) -> str:
    return rng.choice(("", "", "", " a", "\x1b[31mred", "\n", "\u202e", os.fsdecode(b"\xff"), "'\"", "-é", "%s{}"))


def _document(rng: Random) -> tuple[str, bytes]:
    """Make a document: the ending of its name and its content."""
    suffix = rng.choice((".txt", ".md", ".html", ".html", ".htm", ".xhtml", ".pdf", ".rst", ".TXT", *OFFICE_SUFFIXES))
    if suffix in OFFICE_SUFFIXES:
        content = office_file(rng, suffix)
    elif suffix == ".pdf":
        content = pdf(rng.choice(("A page.", "x" * 500, "\\377\\000")))
    elif suffix == ".md":
        content = "".join(rng.choice(_MARKDOWN) * rng.choice((1, 1, 3, 500)) for _ in range(8)).encode()
    elif suffix in (".html", ".htm", ".xhtml"):
        content = _html(rng)
    else:
        text = "".join(rng.choice(ODD_TEXTS) for _ in range(4)) + " some words of text"
        codec = rng.choice(("utf-8", "utf-16", "utf-32", "gb18030", "utf-8-sig", "utf-16-be", "cp1252"))
        content = text.encode(codec, errors="surrogatepass" if codec.startswith("utf") else "replace")
    return suffix, damage_bytes(rng, content) if rng.random() < 0.6 else content


def _html(rng: Random) -> bytes:
    charset = rng.choice(_CHARSETS)
    head = rng.choice(
        (
            "<html><head><title>T</title><body>",
            f"<meta charset={charset}>",
            f"<meta charset='{charset}'>",
            f"<meta http-equiv=Content-Type content='text/html; charset={charset}'>",
            f"<?xml version='1.0' encoding='{charset}'?><html xmlns='http://www.w3.org/1999/xhtml'>",
            " " * 2_000 + f"<meta charset={charset}>",
        )
    )
    parts = []
    for _ in range(rng.choice((1, 5, 20))):
        tag = rng.choice(_TAGS)
        many = rng.choice((1, 1, 1, 1, 400, 1_000))
        parts.append(
            rng.choice((f"<{tag}>" * many, f"</{tag}>" * many, rng.choice(_SNIPPETS) * min(many, 400), "word "))
        )
    codec = rng.choice(("utf-8", "utf-8", "gb18030", "utf-16", "cp1252"))
    return (head + "".join(parts) + "<p>the end").encode(codec, errors="replace")

"""Chats and caches: saved conversations with damaged messages, ids or cache, and turns of invalid text."""

from __future__ import annotations

import json
import os
from pathlib import Path
from random import Random

from lab.fuzz.cases import Verdict
from lab.fuzz.commands import judge, run
from lab.fuzz.good import causal_model
from lab.fuzz.mutations import ODD_TEXTS, damage_bytes, damage_file, mutate_json, to_json

__all__ = ["caches", "chats"]

_OPTIONS = ("--temperature", 0, "--max-new-tokens", 4)


def chats(rng: Random, good: Path, workdir: Path) -> Verdict:
    """Load a changed conversation with its old cache, and send odd messages."""
    talk = _copy(good, workdir)
    action = rng.random()
    if action < 0.7:
        talk.write_bytes(to_json(mutate_json(rng, json.loads(talk.read_bytes()), rng.choice((1, 1, 2)))))
    elif action < 0.85:
        talk.write_bytes(damage_bytes(rng, talk.read_bytes()))
    else:
        damage_file(rng, talk)
    odd = [rng.choice(ODD_TEXTS).encode("utf-8", errors="surrogatepass").replace(b"\n", b" ") for _ in range(2)]
    names = [] if rng.random() < 0.7 else [rng.choice(("--user-name", "--system")), _argument(rng)]
    return _judge(rng, good, workdir, talk, odd, names)


def caches(rng: Random, good: Path, workdir: Path) -> Verdict:
    """Load a good conversation with a changed cache; replies must equal those without a cache."""
    talk = _copy(good, workdir)
    cache = talk.with_name(f"{talk.name}.cache")
    action = rng.random()
    if action < 0.5:
        cache.write_bytes(damage_bytes(rng, cache.read_bytes()))
    elif action < 0.75:
        _change_metadata(rng, cache)
    else:
        damage_file(rng, cache)
    return _judge(rng, good, workdir, talk, [], [])


def _judge(rng: Random, good: Path, workdir: Path, talk: Path, odd: list[bytes], names: list[str]) -> Verdict:
    """Continue with the cache and without; the replies have to be the same."""
    turns = b"\n".join(
        [b"/load " + os.fsencode(talk), *odd, b"a fast server", f"/save {workdir / 'again.json'}".encode()]
    )
    command = ("chat", "--model", causal_model(good), *_OPTIONS, *names)
    result = run(workdir, *command, typed=turns + b"\n")
    verdict = judge(result)
    if verdict.fault:
        return verdict
    cache = talk.with_name(f"{talk.name}.cache")
    if cache.is_dir():
        return verdict
    cache.unlink(missing_ok=True)
    without = run(workdir, *command, typed=turns + b"\n")
    if result.stdout != without.stdout:
        return Verdict(True, "lie", f"with its cache {result.stdout!r}, without {without.stdout!r}: {result.stderr}")
    return verdict


def _copy(good: Path, workdir: Path) -> Path:
    for name in ("talk.json", "talk.json.cache"):
        (workdir / name).write_bytes((good / name).read_bytes())
    return workdir / "talk.json"


def _change_metadata(rng: Random, cache: Path) -> None:
    """Change the header of a safetensors file and leave its tensors."""
    content = cache.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    changed = to_json(mutate_json(rng, header, rng.choice((1, 2))))
    cache.write_bytes(len(changed).to_bytes(8, "little") + changed + content[8 + size :])


def _argument(rng: Random) -> str:
    """Return a text as from a command line: any bytes but NUL."""
    text = rng.choice(ODD_TEXTS[4:]).replace("\0", "")
    return os.fsdecode(text.encode("utf-8", errors="surrogatepass"))

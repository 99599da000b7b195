"""Measures reading beside the model's own full attention, in one run: `python -m lab.reading.speed -o FILE`."""

from __future__ import annotations

import argparse
import json
import platform
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.cache_utils import DynamicCache

from lab.reading.tasks.documents import default_cache, haystacks
from simmim.reading.answering import answer
from simmim.reading.cache import ReadingCache
from simmim.reading.interface import decoder_of
from simmim.reading.reader import Reader, ReadingSettings
from simmim.tasks.process_memory import peak_memory
from simmim.tasks.reading import load_reader, open_library

_CHUNK = 1024
_QUESTION = "What did the president say about the treaty?"


def main() -> int:
    """Measure each length and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lengths", default="2048,8192")
    parser.add_argument("--full", type=int, default=8192, help="longest document for full attention")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", "-o", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    reader = load_reader(None, ReadingSettings(keep="keys"))
    found = []
    for length in (int(each) for each in options.lengths.split(",")):
        text = " ".join(haystacks(default_cache())["settings"].draw(random.Random(0), 6 * length))
        found.append(measure(reader, text, length, options.full))
        print(json.dumps(found[-1]), file=sys.stderr, flush=True)
    record = {
        "command": sys.argv,
        "threads": options.threads,
        "processor": platform.processor() or platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "lengths": found,
    }
    options.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


@torch.inference_mode()
def measure(reader: Reader, text: str, length: int, longest_full: int) -> dict[str, Any]:
    """Measure one length: processor seconds to read by ours and in full, time to answer, bytes used."""
    ids = torch.tensor([reader.tokenizer(text)["input_ids"][:length]])
    text = str(reader.tokenizer.decode(ids[0]))
    row: dict[str, Any] = {"tokens": length, "local_seconds": _forward(reader, ids, ReadingCache(reader.model))}
    if length <= longest_full:
        cache = DynamicCache(config=decoder_of(reader.model).config)
        row["full_seconds"] = _forward(reader, ids, cache)
        row["full_over_local"] = round(row["full_seconds"] / row["local_seconds"], 3)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "document.simmim"
        began = time.process_time()
        reader.read(folder, text)
        row["read_seconds"] = round(time.process_time() - began, 2)
        row["folder_bytes"] = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        began = time.perf_counter()
        library = open_library(folder, reader)
        row["open_seconds"] = round(time.perf_counter() - began, 3)
        times = []
        for _ in range(2):
            found = answer(
                *(reader, library.opened, library.finder, [{"role": "user", "content": _QUESTION}]),
                max_new_tokens=32,
                min_new_tokens=32,
                do_sample=False,
            )
            times.append(found)
        row["first_token_seconds"] = round(times[-1].first_token_seconds, 3)
        row["seconds_per_token"] = round((times[-1].seconds - times[-1].first_token_seconds) / 31, 4)
    row["peak_memory_mib"] = round(peak_memory() or 0)
    return row


def _forward(reader: Reader, ids: torch.Tensor, cache: Any) -> float:
    """Return the processor seconds of reading in chunks."""
    began = time.process_time()
    for begin in range(0, ids.shape[1], _CHUNK):
        decoder_of(reader.model)(input_ids=ids[:, begin : begin + _CHUNK], past_key_values=cache)
        if isinstance(cache, ReadingCache):
            cache.drop()
    return round(time.process_time() - began, 2)


if __name__ == "__main__":
    sys.exit(main())

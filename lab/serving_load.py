"""Measures `simmim serve` under load on this machine: many clients, a thousand requests, dropped requests.

Starts the server in a subprocess, on a free port of the loopback address, and sends requests over HTTP:

    python -m lab.serving_load MODEL --clients 64 --seconds 60

- alone: one client with sequential requests; its median is the baseline
- together: all clients at once; a refused client waits for the seconds in ``Retry-After``
- memory: resident memory of the server over a thousand requests, after a warm-up of a hundred
- dropped: seconds from closing the connection of a running request until the server takes another request
- alive: the longest response time of /health during requests of the maximum size

All requests have the same prompt, length and temperature 0. Times are measured at the client.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.measure import run_facts
from benchmarks.report import save_data
from lab.pretrained import LANGUAGE_MODEL

__all__ = ["main"]

PROMPT = "Who is there, and what news from the court?"
PATH = "/v1/completions"
LONG = PROMPT * 4000  # some 50,000 tokens, for a long prefill


class Client:
    """Sends requests to a server over one connection, and reconnects if it was closed."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)

    def get(self, path: str) -> Any:
        """Return the JSON response to a GET request."""
        self._connection.request("GET", path)
        return json.loads(self._connection.getresponse().read())

    def post(self, body: dict[str, Any]) -> tuple[int, float, float]:
        """Send a request; return its status, its duration and the seconds to wait before the next."""
        began = time.perf_counter()
        self.send(body)
        response = self._connection.getresponse()
        response.read()
        return response.status, time.perf_counter() - began, float(response.headers.get("Retry-After", 0))

    def send(self, body: dict[str, Any]) -> None:
        """Send a request without awaiting its response."""
        self._connection.request("POST", PATH, json.dumps(body), {"Content-Type": "application/json"})

    def close(self) -> None:
        """Close the connection, even during a request."""
        self._connection.close()


@contextmanager
def served(model: Path, options: Sequence[str]) -> Iterator[tuple[psutil.Process, int]]:
    """Run the server; yield its process and port."""
    command = [sys.executable, "-m", "simmim", "serve", str(model), "--host", "127.0.0.1", "--port", "0", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            line = server.stderr.readline()
            if "serving" not in line:
                raise SystemExit(line + server.stderr.read())
            drain = threading.Thread(target=server.stderr.read, daemon=True)  # a full pipe would block the server
            drain.start()
            yield psutil.Process(server.pid), int(line.split("http://127.0.0.1:")[1].split("/")[0])
        finally:
            server.terminate()


def alone(port: int, body: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Return the response times of one client."""
    client, times, until = Client(port), [], time.monotonic() + seconds
    while time.monotonic() < until:
        status, took, _ = client.post(body)
        assert status == 200
        times.append(took)
    return {"requests": len(times), "p50": statistics.median(times), "p95": statistics.quantiles(times, n=20)[-1]}


def together(port: int, body: dict[str, Any], clients: int, seconds: float) -> dict[str, Any]:
    """Return the statuses for many clients, and the response times of successful requests."""
    statuses: Counter[str] = Counter()
    times: list[float] = []
    until, lock = time.monotonic() + seconds, threading.Lock()

    def ask() -> None:
        client = Client(port)
        while time.monotonic() < until:
            status: int | str
            try:
                status, took, wait = client.post(body)
            except (OSError, http.client.HTTPException) as error:
                status, took, wait = type(error).__name__, 0.0, 1.0
            with lock:
                statuses[str(status)] += 1
                if status == 200:
                    times.append(took)
            if status != 200:
                time.sleep(wait)

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    quantiles = statistics.quantiles(times, n=20)
    return {"statuses": dict(statuses), "p50": statistics.median(times), "p95": quantiles[-1]}


def memory(server: psutil.Process, port: int, body: dict[str, Any], requests: int) -> dict[str, Any]:
    """Return the server's resident memory in bytes before, during and after a number of requests."""
    client = Client(port)
    for _ in range(100):
        client.post(body)
    rss = [server.memory_info().rss]
    for number in range(requests):
        client.post(body)
        if (number + 1) % 100 == 0:
            rss.append(server.memory_info().rss)
    return {"requests": requests, "rss": rss, "growth": rss[-1] - rss[0]}


def dropped(port: int, body: dict[str, Any], times: int) -> list[float]:
    """Return how long a dropped request occupies the server, several times."""
    watch, found = Client(port), []
    for number in range(times):
        client = Client(port)
        client.send(body)
        while watch.get("/health")["running"] == 0:
            time.sleep(0.001)
        time.sleep(0.2 + 0.1 * number)  # at several points of its work
        client.close()
        began = time.perf_counter()
        while True:
            asked = time.perf_counter()
            if watch.post({"model": body["model"], "prompt": "a", "max_tokens": 1})[0] == 200:
                break
            time.sleep(0.005)
        found.append(asked - began)
    return found


def alive(port: int, body: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Return the response times of /health during requests of the maximum size."""
    large = {**body, "prompt": "word " * 390_000}
    until = time.monotonic() + seconds
    statuses: Counter[str] = Counter()

    def ask() -> None:
        client = Client(port)
        while time.monotonic() < until:
            statuses[str(client.post(large)[0])] += 1

    thread = threading.Thread(target=ask)
    thread.start()
    watch, times = Client(port), []
    while time.monotonic() < until:
        began = time.perf_counter()
        watch.get("/health")
        times.append(time.perf_counter() - began)
        time.sleep(0.01)
    thread.join()
    return {"statuses": dict(statuses), "p50": statistics.median(times), "longest": max(times)}


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return all measurements."""
    folder: Path = arguments.model
    generation = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
    given = generation.get("eos_token_id")
    ends = given if isinstance(given, list) else [] if given is None else [given]
    work = {"model": str(folder), "prompt": PROMPT, "max_tokens": arguments.max_tokens, "temperature": 0}
    work["logit_bias"] = endless = {
        str(token): -100 for token in ends
    }  # no end tokens: all replies have the same length
    writing = {"model": str(folder), "prompt": PROMPT, "max_tokens": 4096, "logit_bias": endless}
    with served(folder, arguments.option or []) as (server, port):
        alone(port, work, 2)  # to warm up
        record: dict[str, Any] = {"alone": alone(port, work, arguments.seconds / 4)}
        record["together"] = together(port, work, arguments.clients, arguments.seconds)
        record["dropped"] = {
            "reading a long prompt": dropped(port, {**writing, "prompt": LONG}, 5),
            "writing": dropped(port, writing, 5),
            "streaming": dropped(port, {**writing, "stream": True}, 5),
            "writing 8 choices": dropped(port, {**writing, "n": 8}, 5),
        }
        record["alive"] = alive(port, work, 10)
        record["memory"] = memory(server, port, work, arguments.requests)
    record["ratio"] = record["together"]["p50"] / record["alone"]["p50"]
    errors = {status: count for status, count in record["together"]["statuses"].items() if status not in ("200", "503")}
    record["errors"] = sum(errors.values())
    return record


def table(record: dict[str, Any], clients: int) -> Table:
    """Return a table of the measurements."""
    found = Table("what", "figure")
    one, many, usage = record["alone"], record["together"], record["memory"]
    found.add_row("one client alone", f"p50 {one['p50']:.3f} s, p95 {one['p95']:.3f} s, {one['requests']} requests")
    found.add_row(f"{clients} clients, served", f"p50 {many['p50']:.3f} s, p95 {many['p95']:.3f} s")
    found.add_row("ratio of the medians", f"{record['ratio']:.2f}")
    found.add_row("statuses", ", ".join(f"{status}: {count:,}" for status, count in sorted(many["statuses"].items())))
    found.add_row("errors other than 503", str(record["errors"]))
    rss = [f"{usage['rss'][index] / 2**20:.1f}" for index in (0, len(usage["rss"]) // 2, -1)]
    found.add_row(
        f"memory over {usage['requests']:,} requests", f"{rss[0]}, half-way {rss[1]}, {rss[2]} MiB at the end"
    )
    for name, times in record["dropped"].items():
        found.add_row(f"dropped while {name}", f"free after at most {max(times):.3f} s")
    found.add_row("/health beside requests of 2 MB", f"at most {record['alive']['longest']:.3f} s")
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, write the record and print it."""
    parser = argparse.ArgumentParser(prog="python -m lab.serving_load", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", nargs="?", type=Path, default=LANGUAGE_MODEL)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--requests", type=int, default=1000, help="for the memory")
    parser.add_argument("--max-tokens", type=int, default=16, help="of a reply")
    parser.add_argument("--option", action="append", help="of simmim serve, such as --option=--max-queue=2")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args(argv)
    settings = {"clients": arguments.clients, "seconds": arguments.seconds, "max_tokens": arguments.max_tokens}
    command = f"python -m lab.serving_load --clients {arguments.clients} --seconds {arguments.seconds:g}"
    facts = run_facts("serving-load", command) | settings | {"options": arguments.option or [], "cores": os.cpu_count()}
    record = facts | measure(arguments)
    written = save_data(record, arguments.out / f"{record['date']}-serving-load")
    console = Console()
    console.print(table(record, arguments.clients))
    console.print(f"written: {written}", soft_wrap=True)


if __name__ == "__main__":
    main()

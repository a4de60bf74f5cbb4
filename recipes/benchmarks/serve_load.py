"""Load on the server: many concurrent clients on loopback, each answer compared with the same request alone, memory watched.

    python recipes/benchmarks/serve_load.py --seconds 60 --clients 32 --requests 500 [--model FOLDER] [--voice NAME]

Starts `tts-fm serve` as a process of its own on a free port, asks for every text once (reference answers and warm-up), then lets
the clients ask for at least `--requests` answers and at least `--seconds`, but for no longer than three times `--seconds`. Prints one JSON
line: answers by status, latency, time to first audio of streams, audio seconds per second, the largest difference from the single answers
in steps of 16 bit, and the growth of the server's memory from an early point of the load to its end. Exit code 1 where something failed.
Run nothing else beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections import Counter

import numpy as np

WORDS = "The birch canoe slid on the smooth planks and the boat was late because of the wind that blew over the cold grey lake".split()
SPEECH = "/v1/audio/speech"


def bodies(voice: str, steps: int | None) -> list[dict]:
    """Twenty-four different requests: 1 to 60 words, two paces, streamed (pcm) and whole (wav)."""
    result = []
    for n in range(24):
        words = (WORDS * 4)[n : n + (1, 3, 8, 15, 30, 60)[n % 6]]
        body = {"input": " ".join(words) + ".", "voice": voice, "seed": n, "speed": (1.0, 1.2)[n % 3 == 0]}
        body["response_format"] = ("pcm", "wav")[n // 6 % 2]
        result.append(body if steps is None else body | {"steps": steps})
    return result


def samples(body: dict, content: bytes) -> np.ndarray:
    """The 16-bit samples of an answer."""
    if body["response_format"] == "wav":
        content = content[content.index(b"data") + 8 :]
    return np.frombuffer(content, "<i2").astype(np.int32)


def memory(pid: int) -> int:
    """Resident memory of a process, bytes (Linux)."""
    with open(f"/proc/{pid}/status") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1]) * 1024  # type: ignore[index]


class Tally:
    """What the clients saw."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.latency: list[float] = []
        self.first: list[float] = []
        self.difference, self.wrong, self.audio, self.broken = 0, 0, 0.0, 0


async def ask(client, body: dict) -> tuple[int, bytes, float, float, float]:
    """One request: status, content, seconds to the first audio, seconds in all, seconds to wait before another."""
    began, first, parts = time.monotonic(), 0.0, []
    async with client.stream("POST", SPEECH, json=body) as answer:
        async for part in answer.aiter_raw():
            first = first or time.monotonic() - began
            parts.append(part)
        return answer.status_code, b"".join(parts), first, time.monotonic() - began, float(answer.headers.get("retry-after", 0))


async def one_client(client, number: int, work: list[dict], truth: list[np.ndarray], tally: Tally, over) -> None:
    """Ask, compare, count, until it is over; after a 429 wait as told, for 2 s at most."""
    import httpx

    turn = number
    while not over(tally):
        turn += 7
        body = work[turn % len(work)]
        try:
            status, content, first, took, wait = await ask(client, body)
        except httpx.HTTPError:
            tally.broken += 1
            continue
        tally.statuses[status] += 1
        if status == 200:
            got = samples(body, content)
            right = truth[turn % len(work)]
            tally.latency.append(took)
            tally.audio += len(got) / 24_000
            if body["response_format"] == "pcm":
                tally.first.append(first)
            if len(got) != len(right):
                tally.wrong += 1
            else:
                tally.difference = max(tally.difference, int(np.abs(got - right).max()))
        elif status == 429:
            await asyncio.sleep(min(wait, 2.0))


async def load(url: str, pid: int, args: argparse.Namespace) -> dict:
    """The whole measurement against a running server."""
    import httpx

    work = bodies(args.voice, args.steps)
    limits = httpx.Limits(max_connections=args.clients)
    async with httpx.AsyncClient(base_url=url, timeout=300, limits=limits) as client:
        truth = []
        for body in work:
            status, content, *_ = await ask(client, body)
            if status != 200:
                raise SystemExit(f"a single request was answered with {status}: {content[:200]!r}")
            truth.append(samples(body, content))
        tally, began = Tally(), time.monotonic()

        def over(t: Tally) -> bool:
            elapsed = time.monotonic() - began
            return elapsed > 3 * args.seconds or (elapsed > args.seconds and sum(t.statuses.values()) >= args.requests)

        crowd = [asyncio.create_task(one_client(client, n, work, truth, tally, over)) for n in range(args.clients)]
        settled = None
        while not all(task.done() for task in crowd):
            await asyncio.sleep(0.25)
            if settled is None and sum(tally.statuses.values()) >= min(100, args.requests // 5):
                settled = memory(pid)  # the allocator has seen every size at full load
        await asyncio.gather(*crowd)
        took = time.monotonic() - began
    end = memory(pid)
    return {
        "clients": args.clients, "seconds": round(took, 1), "statuses": dict(tally.statuses), "broken": tally.broken,
        "wrong_length": tally.wrong, "largest_difference": tally.difference,
        "latency_p50": quantile(tally.latency, 0.5), "latency_p95": quantile(tally.latency, 0.95),
        "first_audio_p50": quantile(tally.first, 0.5), "first_audio_p95": quantile(tally.first, 0.95),
        "audio_per_second": round(tally.audio / took, 2), "memory_mb": end >> 20, "memory_growth": round(end / (settled or end) - 1, 4),
    }  # fmt: skip


def quantile(values: list[float], q: float) -> float | None:
    """The q-quantile in seconds, None for fewer than two values."""
    return round(statistics.quantiles(values, n=100, method="inclusive")[round(100 * q) - 1], 3) if len(values) > 1 else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="default: the built-in one")
    parser.add_argument("--voice", default="default")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--tolerance", type=int, default=8, help="largest difference from a single answer, in steps of 16 bit")
    args = parser.parse_args()
    command = [sys.executable, "-m", "tts_fm", "serve", "--port", "0", *(["--model", args.model] if args.model else [])]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | {"TTS_FM_API_KEY": ""}) as server:
        try:
            assert server.stderr is not None
            url = None
            for line in server.stderr:
                if found := re.search(r"http://\S+", line):
                    url = found[0]
                    break
            if url is None:
                raise SystemExit("the server did not start; run it by hand: " + " ".join(command))
            result = asyncio.run(load(url, server.pid, args))
        finally:
            server.terminate()
    print(json.dumps(result))
    bad = set(result["statuses"]) - {200, 429} or result["broken"] or result["wrong_length"]
    grown = sum(result["statuses"].values()) >= 200 and result["memory_growth"] > 0.05  # a short run says nothing about memory
    return 1 if bad or grown or result["largest_difference"] > args.tolerance else 0


if __name__ == "__main__":
    sys.exit(main())

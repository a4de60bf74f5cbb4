"""Load on the server: many concurrent clients on loopback, each answer compared with the same request alone, memory
watched.

    python recipes/benchmarks/serve_load.py [--seconds 60] [--clients 32] [--requests 500] [--steps N] [--max-queue N]
      [--json]
    python recipes/benchmarks/serve_load.py --seconds 5 --clients 4 --requests 12 --texts 6 --steps 2    a small form,
      to see that it works

Starts `tts-fm serve` as a process of its own on a free port, asks for every text once (reference answers, times of an
idle server), then lets the clients ask for at least `--requests` answers and at least `--seconds`, but for no longer
than `--limit`. Clients stream pcm or take whole wav files. Printed: answers by status, time to first audio and in all,
audio a second, the largest difference from the single answers, and the growth of the server's memory from an early
point of the load (a fifth of the answers, a hundred at most) to its end. 429 is an honest answer where the queue
(`--max-queue`) is shorter than the crowd. Exit code 1 where something is not as it must be. Run nothing else beside it.
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

WORDS = (
    "The birch canoe slid on the smooth planks and the boat was late because of the wind that blew "
    "over the cold grey lake"
).split()
SPEECH = "/v1/audio/speech"


def bodies(voice: str, steps: int | None) -> list[dict]:
    """Twenty-four different requests: 1 to 45 words, two paces, streamed (pcm) and whole (wav)."""
    result = []
    for n in range(24):
        words = (WORDS * 4)[n : n + (1, 3, 6, 10, 15, 45)[n % 6]]
        body = {"input": " ".join(words) + ".", "voice": voice, "seed": n, "speed": (1.0, 1.2)[n % 4 == 0]}
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
        return (
            answer.status_code,
            b"".join(parts),
            first,
            time.monotonic() - began,
            float(answer.headers.get("retry-after", 0)),
        )


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

    work = bodies(args.voice, args.steps)[: args.texts]
    limits = httpx.Limits(max_connections=args.clients)
    async with httpx.AsyncClient(base_url=url, timeout=300, limits=limits) as client:
        truth, idle = [], []
        for body in work:
            status, content, first, *_ = await ask(client, body)
            if status != 200:
                raise SystemExit(f"a single request was answered with {status}: {content[:200]!r}")
            truth.append(samples(body, content))
            idle.append(first)
        tally, began = Tally(), time.monotonic()

        def over(t: Tally) -> bool:
            elapsed = time.monotonic() - began
            return elapsed > args.limit or (elapsed > args.seconds and t.statuses[200] >= args.requests)

        crowd = [asyncio.create_task(one_client(client, n, work, truth, tally, over)) for n in range(args.clients)]
        settled = None
        while not all(task.done() for task in crowd):
            await asyncio.sleep(0.25)
            if settled is None and tally.statuses[200] >= min(100, args.requests // 5):
                settled = memory(pid)  # the allocator has seen every size at full load
        await asyncio.gather(*crowd)
        took = time.monotonic() - began
    end = memory(pid)
    return {
        "clients": args.clients, "seconds": round(took, 1), "answers": dict(tally.statuses), "broken off": tally.broken,
        "of another length than alone": tally.wrong, "largest difference from alone, steps of 16 bit": tally.difference,
        "seconds to first audio, idle server, p50": quantile(idle, 0.5),
        "streamed under load, p50": quantile(tally.first, 0.5),
        "streamed under load, p95": quantile(tally.first, 0.95),
        "seconds to the whole answer, p50": quantile(tally.latency, 0.5),
        "whole answer, p95": quantile(tally.latency, 0.95), "audio seconds a second": round(tally.audio / took, 2),
        "memory, MB": end >> 20, "memory growth": round(end / (settled or end) - 1, 4),
    }  # fmt: skip


def faults(result: dict, tolerance: int) -> list[str]:
    """What is not as it must be."""
    found = [f"{n} answers with status {status}" for status, n in result["answers"].items() if status not in (200, 429)]
    found += [f"{result[name]} {name}" for name in ("broken off", "of another length than alone") if result[name]]
    if (off := result["largest difference from alone, steps of 16 bit"]) > tolerance:
        found.append(f"answers differ from single ones by {off} steps")
    if result["answers"].get(200, 0) >= 200 and result["memory growth"] > 0.05:  # a short run says nothing about memory
        found.append(f"memory has grown by {result['memory growth']:.1%}")
    return found


def quantile(values: list[float], q: float) -> float | None:
    """The q-quantile in seconds, None for fewer than two values."""
    return (
        round(statistics.quantiles(values, n=100, method="inclusive")[round(100 * q) - 1], 3)
        if len(values) > 1
        else None
    )


def main() -> int:
    from device import parsed

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="default: the built-in one")
    parser.add_argument("--voice", default="default")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--texts", type=int, default=24, help="different requests, 24 at most")
    parser.add_argument("--limit", type=float, default=900.0, metavar="S", help="longest load, seconds (default 900)")
    parser.add_argument("--steps", type=int, help="of the solver (default: the model's)")
    parser.add_argument(
        "--max-queue", type=int, help="of the server (default: its own, 64); below the clients' number 429 is seen"
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--tolerance", type=int, default=8, help="largest difference from a single answer, in steps of 16 bit"
    )
    args = parsed(parser)
    command = [sys.executable, "-m", "tts_fm", "serve", "--port", "0", *(["--model", args.model] if args.model else [])]
    command += ["--max-queue", str(args.max_queue)] if args.max_queue is not None else []
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=os.environ | {"TTS_FM_API_KEY": ""}
    ) as server:
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
    wrong = faults(result, args.tolerance)
    if args.json:
        print(json.dumps(result | {"faults": wrong}))
    else:
        print("\n".join(f"{name}: {value}" for name, value in result.items()))
        print("\n".join(f"FAULT: {what}" for what in wrong) or "all as it must be")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""The slow half of the abuse tests, against a real server: crowds, deaf readers, unfinished requests, memory, end.

    make abuse            or: python tests/abuse/server.py [--seconds 60] [--model FOLDER] [--steps 4]

Prints the table that stands in docs/abuse.md; exit code 1 where a row is not as it should be. Linux only (it reads
/proc). Times are worth something only on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import httpx

SPEECH = "/v1/audio/speech"
SENTENCE = "The birch canoe slid on the smooth planks."
PAUSES = "Hi. " + "<break 10s> " * 170 + "There."


class Server:
    """A `tts-fm serve` in a process of its own, with a folder of its own for temporary files."""

    def __init__(self, model: str | None, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url, self.folder = f"http://127.0.0.1:{self.port}", folder
        command = [sys.executable, "-m", "tts_fm", "serve", "--port", str(self.port)]
        command += ["--model", model] if model else []
        self.process = subprocess.Popen(command, env=os.environ | {"TMPDIR": str(folder)}, stderr=subprocess.DEVNULL)
        while True:
            try:
                if httpx.get(f"{self.url}/health", timeout=5).status_code == 200:
                    break
            except httpx.HTTPError:
                if self.process.poll() is not None:
                    raise RuntimeError("the server did not start") from None
                time.sleep(0.2)

    def ask(self, client: httpx.Client, steps: int, seed: int = 0) -> tuple[int, str]:
        """(status, digest of the body)."""
        body = {"input": SENTENCE, "response_format": "wav", "seed": seed, "steps": steps}
        answer = client.post(self.url + SPEECH, json=body)
        return answer.status_code, hashlib.sha256(answer.content).hexdigest()

    @property
    def memory(self) -> float:
        """Resident memory, MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024

    def end(self) -> tuple[int, int]:
        """(exit code after SIGTERM, temporary files that are left, but for the empty folder of torch's own cache)."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60), len([p for p in self.folder.iterdir() if not p.name.startswith("torchinductor_")])


def crowd(server: Server, clients: int, seconds: float, steps: int) -> tuple[Counter, bool]:
    """Statuses of `clients` who ask again and again for so long (0 = once each), and whether equal requests had equal
    answers.
    """
    statuses: Counter = Counter()
    seen: dict[int, set[str]] = {}
    guard, until = threading.Lock(), time.monotonic() + seconds

    def one(number: int) -> None:
        with httpx.Client(timeout=600) as client:
            turn = 0
            while not turn or time.monotonic() < until:
                seed = (number + turn) % 4
                status, digest = server.ask(client, steps, seed=seed)
                with guard:
                    statuses[status] += 1
                    if status == 200:
                        seen.setdefault(seed, set()).add(digest)
                turn += 1

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(one, range(clients)))
    return statuses, all(len(digests) == 1 for digests in seen.values())


def honest(server: Server, steps: int, times: int = 5) -> float:
    """Median seconds of a client who asks for one sentence after another."""
    took = []
    with httpx.Client(timeout=600) as client:
        for _ in range(times):
            began = time.monotonic()
            status, _ = server.ask(client, steps)
            if status != 200:
                return float("inf")
            took.append(time.monotonic() - began)
    return statistics.median(took)


@contextmanager
def hostile(server: Server, unfinished: int, deaf: int, steps: int) -> Iterator[None]:
    """Unfinished headers, and readers that ask for much and stop to read."""
    body = json.dumps({"input": PAUSES, "response_format": "pcm", "steps": steps}).encode()
    head = f"POST {SPEECH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n".encode()
    socks = []
    for number in range(unfinished + deaf):
        sock = socket.create_connection(("127.0.0.1", server.port), timeout=30)
        whole = head + f"Content-Length: {len(body)}\r\n\r\n".encode() + body
        sock.sendall(whole if number < deaf else head)
        socks.append(sock)
    try:
        yield
    finally:
        for sock in socks:
            sock.close()


def limits() -> str:
    """The server's limits, which are the defaults of `tts-fm serve` and of its connections."""
    from tts_fm.serve.config import ServeConfig
    from tts_fm.serve.connections import HEAD_SECONDS, PLACES

    numbers = {field.name: field.default for field in fields(ServeConfig) if isinstance(field.default, int | float)}
    numbers |= {"connections that wait": PLACES, "seconds for headers": HEAD_SECONDS}
    return ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in numbers.items() if name != "port")


def attacks(server: Server, seconds: float, steps: int) -> Iterator[tuple[str, str, bool]]:
    """(case, what happened, whether it should)."""
    alone = honest(server, steps)
    yield "one client, one sentence", f"{alone:.2f} s", alone < float("inf")
    statuses, equal = crowd(server, 32, seconds, steps)
    told = f"{dict(statuses)}, {'identical' if equal else 'DIFFERENT'} bytes"
    yield f"32 clients for {seconds:.0f} s", told, set(statuses) == {200} and equal
    statuses, equal = crowd(server, 120, 0, steps)
    yield "120 clients at once", f"{dict(statuses)}", set(statuses) <= {200, 429} and equal
    before = server.memory
    with hostile(server, 600, 16, steps):
        beside = honest(server, steps)
        grown = server.memory - before
    told = f"{beside:.2f} s, {beside / alone:.1f} times its time alone; {grown:+.0f} MB"
    good = beside <= 2 * alone and grown < 300
    yield "one client beside 600 unfinished requests and 16 readers that stop", told, good
    sizes = []
    for _ in range(10):
        crowd(server, 16, 0, steps)
        sizes.append(server.memory)
    told = f"{sizes[1]:.0f} MB after the second, {sizes[-1]:.0f} MB after the tenth"
    yield "ten rounds of 16 clients", told, sizes[-1] <= 1.1 * sizes[1]
    code, left = server.end()
    yield "SIGTERM", f"exit code {code}, {left} temporary files left", (code, left) == (0, 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--model", help="default: the built-in one")
    parser.add_argument("--steps", type=int, default=4)
    args = parser.parse_args()
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        server = Server(args.model, Path(folder))
        try:
            print(f"| Case | What happened | |\n|---|---|---|\n| limits | {limits()} | |", flush=True)
            for case, told, good in attacks(server, args.seconds, args.steps):
                print(f"| {case} | {told} | {'as it should' if good else 'WRONG'} |", flush=True)
                bad += not good
        finally:
            server.process.kill()
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

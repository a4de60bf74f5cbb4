"""How soon the server's answer begins, in every format, against WAV in the same run.

    python recipes/benchmarks/first_byte.py [--rounds 10] [--model FOLDER] [--steps 4] [--url http://127.0.0.1:8000]

Starts `tts-fm serve` (or asks the one at --url) and asks for a sentence and for a paragraph, the formats in turn; the
answer is left as soon as MORE bytes have come, which no head of a file has alone. Medians of the seconds to the first
byte and to so many, and their ratios to WAV's. Exit code 1 where the first byte of mp3 takes more than 1.5 times
WAV's. Needs the extra serve and httpx; aac is left out without the extra media.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator

import httpx

FORMATS = ("wav", "pcm", "mp3", "opus", "ogg", "aac", "flac")
SENTENCE = "The birch canoe slid on the smooth planks."
TEXTS = {
    "sentence": SENTENCE,
    "paragraph": f"{SENTENCE} Glue the sheet to the dark blue background. It is easy to tell the depth of a well. "
    "These days, a chicken leg is a rare dish. Rice is often served in round bowls.",
}
MORE = 5000  # bytes: a tenth of a second of WAV, half a second of MP3
MOST = 1.5  # times WAV's, of mp3


@contextlib.contextmanager
def server(model: str | None) -> Iterator[str]:
    """A server of its own; its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tts_fm", "serve", "--quiet", "--port", str(port)]
    process = subprocess.Popen(command + (["--model", model] if model else []))
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{url}/health").status_code == 200:
                    break
            if process.poll() is not None:
                raise SystemExit("the server did not start")
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(60)


def ask(client: httpx.Client, text: str, form: str, steps: int | None, seed: int) -> tuple[float, float] | None:
    """Seconds to the first byte and to MORE bytes; None for a format that is not made here."""
    body = {"input": text, "response_format": form, "seed": seed} | ({"steps": steps} if steps else {})
    began, total, first = time.perf_counter(), 0, None
    with client.stream("POST", "/v1/audio/speech", json=body) as answer:
        if answer.status_code == 400 and form == "aac":
            return None
        answer.raise_for_status()
        for piece in answer.iter_raw():
            total += len(piece)
            first = first or time.perf_counter() - began
            if total >= MORE:
                break
    return first or 0.0, time.perf_counter() - began


def main() -> int:
    from device import parsed

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--model", help="a model folder instead of the built-in voice")
    parser.add_argument("--steps", type=int, help="solver steps instead of the model's own")
    parser.add_argument("--url", help="a server that runs already")
    args = parsed(parser)
    slow = False
    with contextlib.ExitStack() as stack:
        url = args.url or stack.enter_context(server(args.model))
        client = stack.enter_context(httpx.Client(base_url=url, timeout=120))
        for name, text in TEXTS.items():
            taken: dict[str, list[tuple[float, float]]] = defaultdict(list)
            for number in range(-1, args.rounds):  # the first is to warm up
                for k in range(len(FORMATS)):
                    form = FORMATS[(number + k) % len(FORMATS)]
                    seconds = ask(client, text, form, args.steps, max(0, number))
                    if seconds is not None and number >= 0:
                        taken[form].append(seconds)
            medians = {form: [statistics.median(column) for column in zip(*taken[form], strict=True)] for form in taken}
            print(f"{name}, {len(text)} characters, medians of {args.rounds}")
            for form, (first, audio) in medians.items():
                wav_first, wav_audio = medians["wav"]
                print(
                    f"  {form:5} first byte {first:6.3f} s, {first / wav_first:5.2f} of wav; "
                    f"{MORE} bytes {audio:6.3f} s, {audio / wav_audio:5.2f}"
                )
            slow |= medians["mp3"][0] > MOST * medians["wav"][0]
    return int(slow)


if __name__ == "__main__":
    raise SystemExit(main())

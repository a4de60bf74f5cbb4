"""What is streamed is what is saved: the same texts over every way out, compared sample by sample.

    python recipes/benchmarks/one_stream.py [--steps 2] [--texts 20] [--model FOLDER]

Texts of one to eight chunks, with pauses, at a fixed loudness, in several voices. Ways: `say -o x.wav`, `say -o -` into
a pipe, TTS.say and TTS.stream, the server streamed (WAV and PCM) and whole (FLAC), the demo's download. One line a
text: its chunks, its seconds, how many ways gave the same 16 bit samples, and what the headers of the streamed WAVs
say: the exact size or "unknown", anything else is a fault. Exit code 1 where anything differs. Needs the extra serve.
"""

from __future__ import annotations

import argparse
import io
import os
import struct
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import soundfile

from tts_fm import TTS
from tts_fm.audio.stream import UNKNOWN, pcm16
from tts_fm.settings import Settings
from tts_fm.synthesis import Request

SENTENCES = [
    "The birch canoe slid on the smooth planks.",
    "Glue the sheet to the dark blue background.",
    "It is easy to tell the depth of a well.",
    "These days, a chicken leg is a rare dish.",
    "Rice is often served in round bowls!",
    "Was the juice of lemons good for a punch?",
    "The box was thrown beside the parked truck.",
    "Four hours of steady work faced us all then.",
]


def requests(count: int, steps: int, voices: list[str]) -> Iterator[tuple[str, str, Settings]]:
    """(text, voice, settings): texts of one to eight sentences, each about one chunk."""
    for k in range(count):
        said = [SENTENCES[(k + i) % len(SENTENCES)] for i in range(1 + 7 * k // max(1, count - 1))]
        text = (" <break 0.3s> " if k % 5 == 2 else " ").join(said)
        settings = Settings(steps=steps, seed=k, chunk_seconds=4.0, loudness=-16.0 if k % 4 == 1 else None)
        yield text, voices[k % len(voices)], settings


def ways(tts: TTS, client: httpx.Client, service: Any, text: str, voice: str, settings: Settings) -> Iterator[tuple]:
    """(name, samples (S,) int16, the WAV stream's bytes or None) for every way out."""
    from tts_fm.demo.runs import Run

    speech = tts.say(text, voice, settings=settings)
    truth = np.frombuffer(pcm16(speech.wave), "<i2")
    yield "TTS.say", truth, None
    waves = [chunk.wave for chunk in tts.stream(text, voice, settings=settings)]
    yield "TTS.stream", np.frombuffer(pcm16(np.concatenate(waves)), "<i2"), None
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "x.wav"
        say(tts, text, voice, settings, str(file))
        yield "say -o x.wav", read(file), None
        data = piped(lambda: say(tts, text, voice, settings, "-"))
        yield "say -o -", samples(data), data
        take = None
        request = service.request(text, service.voice(voice), settings)
        for take, _ in service.speak(request, Run(lambda: False)):  # noqa: B007
            pass
        service.finish(take).save(file)
        yield "demo", read(file), None
    fields = {k: v for k, v in vars(settings).items() if v != getattr(Settings(), k)}
    for format in ("wav", "pcm", "flac"):
        answer = client.post(
            "/v1/audio/speech", json={"input": text, "voice": voice, "response_format": format} | fields
        )
        if answer.status_code != 200:
            raise RuntimeError(f"the server answers {answer.status_code}: {answer.text}")
        data = answer.content
        got = np.frombuffer(data, "<i2") if format == "pcm" else read(io.BytesIO(data))
        yield f"server {format}", got, data if format == "wav" else None


def say(tts: TTS, text: str, voice: str, settings: Settings, output: str) -> None:
    """`tts-fm say` with a model that is loaded already."""
    from tts_fm.cli.common import Output
    from tts_fm.cli.say import ProgressBar, speak

    with ProgressBar(quiet=True) as bar:
        speak(tts, [text], tts.voice(voice), vars(settings), Output(output), bar)


def piped(work: Callable[[], None]) -> bytes:
    """What `work` writes to standard output, through a real pipe."""
    reader, writer = os.pipe()
    got: list[bytes] = []
    with open(reader, "rb") as source:
        thread = threading.Thread(target=lambda: got.append(source.read()))
        thread.start()
        before, sys.stdout = sys.stdout, os.fdopen(writer, "w")
        try:
            work()
        finally:
            sys.stdout.close()
            sys.stdout = before
            thread.join()
    return got[0]


def read(file: Any) -> np.ndarray:
    return soundfile.read(file, dtype="int16")[0]


def samples(wav: bytes) -> np.ndarray:
    """All that follows the header of a WAV, whatever the header says."""
    return np.frombuffer(wav[wav.index(b"data") + 8 :], "<i2")


def header(wav: bytes) -> str:
    """ "exact", "unknown", or what is wrong."""
    at = wav.index(b"data") + 8
    riff, data = struct.unpack("<I", wav[4:8])[0], struct.unpack("<I", wav[at - 4 : at])[0]
    if riff == data == UNKNOWN:
        return "unknown"
    return "exact" if (riff, data) == (len(wav) - 8, len(wav) - at) else f"WRONG by {data - (len(wav) - at)} bytes"


@contextmanager
def served(tts: TTS) -> Iterator[httpx.Client]:
    """A client of a server on a free port of this machine."""
    from tts_fm.serve.config import ServeConfig
    from tts_fm.serve.run import create_app, listen, server

    config = ServeConfig(port=0)
    sock = listen(config)
    running = server(create_app(tts, config))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{sock.getsockname()[1]}", timeout=600) as client:
            yield client
    finally:
        running.should_exit = True
        thread.join(20)
        sock.close()


def compare(tts: TTS, count: int, steps: int) -> Iterator[dict[str, Any]]:
    """For every text: chunks, seconds, ways that gave other samples than TTS.say, and the headers of WAV streams."""
    from tts_fm.demo.service import Service, VisitorLimits

    service = Service(tts, VisitorLimits())
    try:
        with served(tts) as client:
            for text, voice, settings in requests(count, steps, tts.voices()):
                found = list(ways(tts, client, service, text, voice, settings))
                truth = found[0][1]
                yield {
                    "text": text,
                    "chunks": len(tts.plan(Request(text, voice, settings=settings))),
                    "seconds": len(truth) / 24_000,
                    "ways": len(found),
                    "other": [name for name, got, _ in found if not np.array_equal(got, truth)],
                    "headers": {name: header(wav) for name, _, wav in found if wav is not None},
                }
    finally:
        service.close()


def main() -> int:
    from device import parsed

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--texts", type=int, default=20)
    parser.add_argument("--model", help="default: the built-in one")
    args = parsed(parser)
    faults = 0
    for number, row in enumerate(compare(TTS.load(args.model), args.texts, args.steps), 1):
        headers = ", ".join(f"{name}: {what}" for name, what in row["headers"].items())
        same = f"{row['ways'] - len(row['other'])} of {row['ways']} ways the same samples"
        print(
            f"{number:2}  {row['chunks']} chunks  {row['seconds']:5.2f} s  {same}  {headers}", *row["other"], flush=True
        )
        faults += len(row["other"]) + sum(what not in ("exact", "unknown") for what in row["headers"].values())
    print(f"{args.texts} texts, {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

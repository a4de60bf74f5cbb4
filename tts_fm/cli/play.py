"""Sound that is heard while it is made: by the package sounddevice where it is installed and finds a sound card, else
by a player of the system that reads from a pipe.
"""

from __future__ import annotations

import contextlib
import queue
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from tts_fm.errors import MissingDependency

if TYPE_CHECKING:
    import numpy as np

    from tts_fm.cli.common import Output

AHEAD = 8  # chunks that may be finished before they are heard
BLOCK = 9600  # bytes that are handed over at once: 0.2 s, after which an interruption is heard
#: players that take a WAV from a pipe, most usual first; paplay takes bare samples only
PLAYERS: Mapping[str, tuple[str, ...]] = {
    "paplay": ("--raw", "--format=s16le", "--rate=24000", "--channels=1", "--client-name=tts-fm"),
    "aplay": ("-q", "-t", "wav", "-"),
    "ffplay": ("-loglevel", "error", "-nodisp", "-autoexit", "-i", "-"),
    "mpv": ("--really-quiet", "--no-video", "-"),
    "play": ("-q", "-t", "wav", "-"),
}
NO_SOUND = (
    "there is no sound here: {}. pip install 'tts-fm[play]' (on Linux also libportaudio2), or install a player "
    "(alsa-utils, ffmpeg); -o FILE writes a file"
)


class Device(Protocol):
    """What plays 16 bit, little endian, mono, 24 kHz."""

    def write(self, data: bytes) -> object:
        """Play it after what was written; may wait."""

    def close(self) -> None:
        """Wait until all has been heard. OSError where that was not possible."""

    def abort(self) -> None:
        """Be silent at once."""


class Card:
    """A sound card, by sounddevice."""

    def __init__(self, sounddevice: Any) -> None:
        self._stream = sounddevice.RawOutputStream(samplerate=24_000, channels=1, dtype="int16")
        self._stream.start()
        self.write = self._stream.write

    def close(self) -> None:
        self._stream.stop()
        self._stream.close()

    def abort(self) -> None:
        self._stream.abort()
        self._stream.close()


class Program:
    """A player of the system, which reads from its standard input."""

    def __init__(self, name: str, path: str) -> None:
        from tts_fm.audio.stream import wav_header

        pipe = subprocess.PIPE
        self.name = name
        self._process = subprocess.Popen([path, *PLAYERS[name]], stdin=pipe, stdout=subprocess.DEVNULL, stderr=pipe)
        if name != "paplay":
            with contextlib.suppress(BrokenPipeError):  # `close` says why
                self.write(wav_header(None, {}))

    def write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(data)
        self._process.stdin.flush()

    def close(self) -> None:
        _, told = self._process.communicate()
        if self._process.returncode:
            lines = told.decode("utf-8", "replace").split("\n") if told else []
            why = next((line.strip() for line in reversed(lines) if line.strip()), f"exit {self._process.returncode}")
            raise OSError(f"{self.name} could not play: {why}; -o FILE writes a file")

    def abort(self) -> None:
        self._process.kill()
        self._process.wait()


def open_device() -> Device:
    """What plays here. MissingDependency, in one line, where nothing does."""
    try:
        import sounddevice

        return Card(sounddevice)
    except ImportError:
        reason = "neither sounddevice nor a player is installed"
    except Exception as error:  # no PortAudio, or no sound card: its errors have no common class
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    for name in PLAYERS:
        path = shutil.which(name)
        if path is not None:
            return Program(name, path)
    raise MissingDependency(NO_SOUND.format(reason.rstrip(".")))


class Heard:
    """An output of `tts-fm say` that is heard, and written to another one where that is given. The device is opened at
    once, so that silence is told before any work is done.
    """

    def __init__(self, output: Output | None) -> None:
        self._output = output
        self.path = output.path if output is not None else None
        self.extra = output.extra if output is not None else None
        self._device = open_device()
        self._queue: queue.Queue[bytes | None] = queue.Queue(AHEAD)
        self._fault: Exception | None = None
        self.samples = 0
        self._file: Any = None

    @contextlib.contextmanager
    def stream(self, metadata: dict[str, str], samples: int | None = None) -> Iterator[Heard]:
        """As Output.stream; at the end all has been heard, on an error it is silent at once."""
        thread = threading.Thread(target=self._play, daemon=True)
        thread.start()
        with contextlib.ExitStack() as stack:
            if self._output is not None:
                self._file = stack.enter_context(self._output.stream(metadata, samples))
            try:
                yield self
                self._queue.put(None)
                thread.join()
            except BaseException:
                self.stop()
                raise
        if self._fault is not None:
            raise self._fault

    def write(self, wave: np.ndarray, pause: int = 0) -> None:
        """(S,) float32 behind so many samples of silence; OSError where what came before could not be played."""
        from tts_fm.audio.stream import pcm16

        if self._fault is not None and self._output is None:
            raise self._fault
        if self._file is not None:
            self._file.write(wave, pause)
        self._queue.put(bytes(2 * pause) + pcm16(wave))
        self.samples += pause + len(wave)

    def stop(self) -> None:
        """Be silent at once."""
        self._fault = self._fault or OSError("stopped")
        self._device.abort()

    def write_extra(self, text: str) -> None:
        """As Output.write_extra."""
        assert self._output is not None
        self._output.write_extra(text)

    def _play(self) -> None:
        """Hand over what is in the queue, piece by piece, in a thread of its own; a fault leaves the rest unplayed."""
        while (data := self._queue.get()) is not None:
            try:
                for at in range(0, len(data), BLOCK):
                    if self._fault is not None:
                        break
                    self._device.write(data[at : at + BLOCK])
            except Exception as error:  # a player that has ended; `close` knows why
                self._fault = self._fault or error
        try:
            self._device.close()
        except Exception as error:
            self._fault = error

"""What the demo does, without Gradio: one loaded TTS that a single thread uses for everybody in turn, requests with
limits, stop flags.

Nothing about a user is kept here but, while something runs, whether it shall stop. Results live in the caller's session
and in files that are swept away. T mel frames, S samples at 24 kHz.
"""

from __future__ import annotations

import contextvars
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tts_fm.demo.commands import OWN
from tts_fm.demo.making import Maker
from tts_fm.demo.runs import Run, Tell
from tts_fm.demo.sessions import FieldError, Sessions, at_field
from tts_fm.settings import TABLE, Settings

if TYPE_CHECKING:
    from tts_fm.edit.recording import Edited
    from tts_fm.engines.align import Aligner
    from tts_fm.engines.jobs import Chunk, Job
    from tts_fm.synthesis import TTS, Request, Speech
    from tts_fm.voices.stored import Voice

LIMITS = {"steps": (2, 32)}  # what the demo offers of a setting, where that is less than the table does
KEEP_SECONDS = 600.0  # a result file may be fetched for this long; Gradio keeps its own copy for the player
SHOWN_STEPS = 9  # moments of the solver that "hear it form" plays


@dataclass(frozen=True)
class VisitorLimits:
    """What one visitor may ask for."""

    characters: int = 20_000  # in one text or script
    lines: int = 200  # in a list
    list_characters: int = 20_000  # in all lines of a list together
    upload_bytes: int = 20 << 20
    queue: int = 16  # requests that may wait; more are told to come back


@dataclass
class Take:
    """A result that chunks can be spoken again in; belongs to one session."""

    request: Request
    job: Job  # of its first chunk
    chunks: list[Chunk]
    again: dict[int, int] = field(default_factory=dict)  # chunk -> how often it was spoken again
    compute_seconds: float = 0.0


@dataclass(frozen=True)
class Moment:
    """What the solver heard in the noise after some of its steps."""

    step: int
    time: float  # of the flow, 0 = noise, 1 = speech
    mel: np.ndarray  # (T, 100)
    wave: np.ndarray  # (S,)


class Service:
    """The model and its rules. Methods raise ValueError with a line for the user, or Cancelled."""

    def __init__(
        self, tts: TTS, limits: VisitorLimits | None = None, model: str | None = None, shows_paths: bool = True
    ) -> None:
        """model: where tts came from, None = built in; shows_paths: whether visitors may see that place."""
        self.tts, self.limits, self.model = tts, limits or VisitorLimits(), model
        self.shown_model = model if shows_paths or model is None or model.startswith("hf://") else Path(model).name
        # one computation at a time: two would only share the cores (and espeak is per thread)
        self._worker = ThreadPoolExecutor(1, "tts")
        self._aligner: Aligner | None = None  # loaded for the first edit
        self._guard = threading.Lock()
        self._running: dict[str, bool] = {}  # session and tab -> stop wanted
        self.root = Path(tempfile.mkdtemp(prefix="tts_fm_demo_"))
        self.folder, self.uploads = self.root / "results", self.root / "uploads"
        self.folder.mkdir()
        self.uploads.mkdir()
        self.sessions = Sessions(self.root / "sessions")
        self.maker = Maker(self.root, model, tts.engine.text == "aligned")

    def warm_up(self) -> None:
        """Say a word to nobody, in the background: the first visitor does not wait for what is loaded at first use."""
        if names := self.tts.voices():
            self._worker.submit(self.tts.say, "Yes.", names[0])

    # ---- stopping

    def arm(self, who: str) -> None:
        """A request of `who` (session and tab) is on its way; Stop works from now on, also while it waits in the
        queue.
        """
        with self._guard:
            self._running[who] = False

    def stop(self, who: str) -> bool:
        """Ask the request of `who` to stop at the next solver step; False when there is none."""
        with self._guard:
            known = who in self._running
            if known:
                self._running[who] = True
            return known

    def leave(self, session: str) -> None:
        """The browser went away: stop everything of that session, and remove what it has heard."""
        with self._guard:
            for who in self._running:
                if who.split("/")[0] == session:
                    self._running[who] = True
        self.sessions.leave(session)

    @contextmanager
    def running(self, who: str, tell: Tell | None = None) -> Iterator[Run]:
        """For the time of a request. Raises Cancelled at once if it was stopped while it waited."""
        with self._guard:
            self._running.setdefault(who, False)
        run = Run(lambda: self._running.get(who), tell)
        try:
            run.check()
            yield run
        finally:
            with self._guard:
                self._running.pop(who, None)

    # ---- requests

    def settings(self, **given: Any) -> Settings:
        """Values from the page, by the names of settings, as checked Settings; None or empty = not given. A grid stands
        instead of steps.
        """
        values = {name: value for name in given if (value := TABLE[name].read(given[name])) is not None}
        if "grid" in values:
            values.pop("steps", None)
        try:
            return Settings(**values).with_defaults(self.tts.defaults).check(LIMITS)
        except ValueError as error:  # its first word is the field's name
            raise FieldError(str(error), str(error).split()[0].replace("_", "-")) from None

    def voice(self, name: str, recording: str | None = None, transcript: str | None = None) -> Voice:
        """The stored voice `name`, or for OWN the checked recording."""
        if name == OWN or name is None:
            if not recording:
                raise FieldError(
                    "there is no recording yet: upload or record 3 to 12 s of speech, or choose a stored voice",
                    "recording",
                )
            with at_field("recording"), nameless(recording):
                return replace(self.tts.voice(recording, transcript or None), name="my recording")
        if name not in self.tts.voices():
            known = ", ".join(self.tts.voices()) or "none"
            raise FieldError(f"there is no voice {name!r}; choose one of {known}", "voice")
        return self.tts.voice(name)

    def request(self, text: str, voice: Voice, settings: Settings) -> Request:
        """A request within the demo's limits."""
        from tts_fm.synthesis import Request

        if not text or not text.strip():
            raise FieldError("the text is empty: write what shall be said", "text")
        if len(text) > self.limits.characters:
            raise FieldError(
                f"the text has {len(text):,} characters, this demo takes {self.limits.characters:,}: shorten it, or "
                "read it on the page Book",
                "text",
            )
        return Request(text, voice, None, settings)

    # ---- speaking

    def speak(self, request: Request, run: Run) -> Iterator[tuple[Take, int]]:
        """Speak chunk by chunk; yields the take as it grows and the number of chunks it will have."""
        jobs = self._plan(request, run)
        take = Take(replace(request, settings=jobs[0].settings), jobs[0], [])
        chunks = self.tts.spoken(jobs, on_progress=run)
        while (spoken := self._timed(take, lambda: next(chunks, None))) is not None:
            take.chunks.append(spoken[1])
            yield take, len(jobs)

    def again(self, take: Take | None, number: float | None, run: Run) -> int:
        """Speak chunk `number` (from 1) of a take again, with the next seed; returns that seed."""
        from tts_fm.engines.jobs import InOrder, chunk_seed

        at = self._chunk_index(take, number)
        assert take is not None
        job = self._plan(take.request, run)[at]
        count = take.again.get(at, 0) + 1
        seed = take.request.settings.seed + count
        job = replace(job, seed=chunk_seed(replace(job.settings, seed=seed), at))
        (fresh,) = self._timed(take, lambda: self.tts.speak([job], run))
        chunks, places = [*take.chunks[:at], fresh, *take.chunks[at + 1 :]], InOrder()
        take.chunks, take.again[at] = [placed for chunk in chunks for placed in places.put(chunk)], count
        return seed

    def moments(self, take: Take | None, number: float | None, run: Run) -> list[Moment]:
        """Chunk `number` (from 1) of a take after some of the solver's steps: what speech the noise was pointing to."""
        at = self._chunk_index(take, number)
        assert take is not None
        return self.form(take.request, at, run)

    def form(self, request: Request, at: int, run: Run) -> list[Moment]:
        """`moments` of chunk `at` (from 0) of a request."""
        job = self._plan(request, run)[at]
        steps = job.settings.intervals or 1
        wanted = set(np.linspace(0, steps, min(SHOWN_STEPS, steps + 1)).round().astype(int).tolist())
        seen: list[tuple[int, float, np.ndarray]] = []

        def hear(step: int, time: float, mels: Callable[[], list[np.ndarray]]) -> None:
            if step in wanted:
                seen.append((step, time, mels()[0]))

        (final,) = self._do(lambda: self.tts.speak([job], run, hear))
        length = len(final.mel)  # the silence behind the speech is cut from the result; so it is here
        seen = [(step, time, mel[:length]) for step, time, mel in seen] + [(steps, 1.0, final.mel)]
        waves = self._do(lambda: [self.tts.engine.decode(mel) for _, _, mel in seen])
        return [
            Moment(step, time, mel, np.clip(wave, -1, 1)) for (step, time, mel), wave in zip(seen, waves, strict=True)
        ]

    def heard(self, text: str, voice: Voice, run: Run) -> str:
        """A text in a voice, with the model's own settings, as a file."""
        takes = [take for take, _ in self.speak(self.request(text, voice, Settings()), run)]
        path = self.place() / "speech.wav"
        self.finish(takes[-1]).save(path)
        return str(path)

    def finish(self, take: Take) -> Speech:
        """The take as one Speech."""
        from tts_fm.synthesis import finish

        return finish(take.job, take.chunks, take.compute_seconds)

    def many(self, requests: Sequence[Request], names: Sequence[str], run: Run) -> Iterator[tuple[int, Speech]]:
        """Speak many requests in exact batches; yields (number, Speech) as they finish. All bad ones are named, by
        `names`, before that.
        """
        self._planned(requests, names, run)
        results = self.tts.batch(requests, on_progress=run)
        while (result := self._do(lambda: next(results, None))) is not None:
            yield result

    def in_turn(
        self, requests: Sequence[Request], names: Sequence[str], run: Run
    ) -> Iterator[tuple[int, Chunk, Speech | None]]:
        """As `many`, for those who listen: one request after the other, (number, chunk, the Speech of a request with
        its last chunk).
        """
        from tts_fm.synthesis import finish

        results = self.tts.spoken(self._planned(requests, names, run), on_progress=run)
        chunks: list[Chunk] = []
        while (result := self._do(lambda: next(results, None))) is not None:
            job, chunk = result
            chunks.append(chunk)
            if len(chunks) < job.total:
                yield job.request, chunk, None
                continue
            yield job.request, chunk, finish(job, chunks, sum(each.compute_seconds for each in chunks))
            chunks = []

    def _planned(self, requests: Sequence[Request], names: Sequence[str], run: Run) -> list[Job]:
        """The jobs of all requests. ValueError names every bad one."""
        jobs: list[Job] = []
        faults: list[str] = []
        for number, (name, request) in enumerate(zip(names, requests, strict=True)):
            try:
                jobs += self._plan(request, run, number)
            except ValueError as error:
                faults.append(f"{name}: {error}")
        if faults:
            raise FieldError(joined(faults), "text")
        return jobs

    def edit(self, recording: str | None, text: str, new_text: str, settings: Settings, run: Run) -> Edited:
        """Change what is said in a recording from `text` to `new_text`; see edit.edit."""
        from tts_fm.edit.change import LONGEST, edit
        from tts_fm.edit.recording import Recording
        from tts_fm.engines.align import Aligner

        if not recording:
            said = f"there is no recording yet: upload or record up to {LONGEST:.0f} s of speech"
            raise FieldError(said, "recording")
        if max(len(text), len(new_text)) > self.limits.characters:
            raise ValueError(
                f"the longer text has more than {self.limits.characters:,} characters; cut out the sentence to change"
            )

        def work() -> Edited:
            if self._aligner is None:
                self._aligner = Aligner.load()
            with nameless(recording):
                own = Recording.load(recording, LONGEST)
            return edit(self.tts, own, text, new_text, aligner=self._aligner, settings=settings, on_progress=run)

        run.check()
        return self._do(work)

    def _plan(self, request: Request, run: Run, number: int = 0) -> list[Job]:
        run.check()
        with at_field("text"):
            return self._do(lambda: self.tts.plan(request, number, lambda seconds: run.check()))

    def _timed(self, take: Take, work: Callable[[], Any]) -> Any:
        """`_do`, the seconds that it works added to those of the take."""

        def timed() -> Any:
            began = time.perf_counter()
            try:
                return work()
            finally:
                take.compute_seconds += time.perf_counter() - began

        return self._do(timed)

    def _do(self, work: Callable[[], Any]) -> Any:
        """Run in the one thread that touches the model; what it raises is raised here."""
        return self._worker.submit(contextvars.copy_context().run, work).result()

    @staticmethod
    def _chunk_index(take: Take | None, number: float | None) -> int:
        if take is None or not take.chunks:
            raise ValueError("there is no speech yet: press Speak first")
        total = len(take.chunks)
        if number is None or not 1 <= number <= total or number != int(number):
            raise ValueError(f"the chunk must be a number from 1 to {total}, got {number}")
        return int(number) - 1

    # ---- files

    def place(self) -> Path:
        """A fresh folder for result files; older ones are removed."""
        for old in self.folder.iterdir():
            if time.time() - old.stat().st_mtime > KEEP_SECONDS:
                shutil.rmtree(old, ignore_errors=True)
        return Path(tempfile.mkdtemp(dir=self.folder))

    def save_wave(self, wave: np.ndarray, name: str, note: str) -> str:
        """Write (S,) samples as NAME.wav with the note that it was generated; returns the path."""
        from tts_fm.audio.files import write_audio
        from tts_fm.audio.mel import SAMPLE_RATE

        path = self.place() / f"{name}.wav"
        write_audio(path, wave, SAMPLE_RATE, "wav", {"software": "tts_fm", "comment": f"generated speech; {note}"})
        return str(path)

    def close(self) -> None:
        """Remove all files and end the thread."""
        self.maker.close()
        self._worker.shutdown(wait=False, cancel_futures=True)
        shutil.rmtree(self.root, ignore_errors=True)


@contextmanager
def nameless(recording: str) -> Iterator[None]:
    """Errors about a recording, without the place where this machine keeps it."""
    try:
        yield
    except ValueError as error:
        raise ValueError(
            str(error).replace(f"the reference {recording}", "the recording").replace(recording, "the recording")
        ) from None


def joined(faults: list[str], shown: int = 8) -> str:
    """Faults as one text, a line each; those beyond `shown` are counted."""
    return "\n".join(faults[:shown] + ([f"and {len(faults) - shown} more"] if len(faults) > shown else []))

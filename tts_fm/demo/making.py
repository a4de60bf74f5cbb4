"""Making voices in the demo, without Gradio: sentences to read, recordings that are judged at once, learning in a
thread beside the one that speaks, and sharpening of a recording in the background.

Recordings stay in the visitor's session; what is learnt lies in the service's own folder until the page is left or the
demo ends. S samples.
"""

from __future__ import annotations

import contextvars
import hashlib
import logging
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tts_fm.demo.sessions import FieldError
from tts_fm.errors import TtsFmError

if TYPE_CHECKING:
    from tts_fm.voices.stored import Voice

log = logging.getLogger(__name__)
# twenty sentences that have all sounds of English, in several places
SENTENCES = (
    "The boy who lives by the shore enjoys fresh oysters with lemon.",
    "Please choose a large orange jar for the cherry jam.",
    "Her brother measured the garage twice, but the car was too long.",
    "How now, asked the clown, did the mouse get out of the house?",
    "I think both of these paths lead through the thick forest.",
    "A dozen zebras were grazing beside the old wooden bridge.",
    "We hope the yellow boat will float under the low stone arch.",
    "Could you pull the heavy box of books toward the window?",
    "Early birds heard the first worm turn in the earth.",
    "The vision of a quiet village gave her great pleasure.",
    "Father calmly parked the cart in the yard at half past four.",
    "Six sick singers sang a sad song every spring evening.",
    "Why did nine white mice hide behind the kitchen pipe?",
    "Joyce pointed at the noisy toy and voiced her choice.",
    "Is there a chair near the stairs where Claire can sit?",
    "The judge gave the young witness a chance to change her story.",
    "Fluffy clouds drifted above the valley after a brief shower.",
    "Who threw the blue shoe through the roof of the school?",
    "Usually the weather is rather cool, though not in July.",
    "Thank you for asking; everything is going quite well today.",
)
QUIET, LOUD = -36.0, -12.0  # LUFS of a recording between which its level is good
CLIPPED = 0.001  # share of samples
SHARPENED_KEPT = 16  # sharpened recordings that are kept
LONGEST = 1800.0  # seconds of one uploaded file
NAME = "my voice"
Tell = Callable[[str, int, int, float | None], None]


@dataclass(frozen=True)
class Spoken:
    """One recorded sentence."""

    number: int  # of the sentence, from 0
    wave: np.ndarray  # (S,) int16 at 24 kHz
    said: str  # how good it is
    good: bool


@dataclass(frozen=True)
class Made:
    """A voice that was made in this session."""

    folder: Path
    voice: Voice
    info: dict[str, Any]
    lines: list[str]  # what was kept and dropped


def judged(number: int, recording: str) -> Spoken:
    """A recording of a sentence with its level, so that it can be said again at once. ValueError when it cannot be
    read.
    """
    from tts_fm.audio.files import load
    from tts_fm.audio.levels import loudness
    from tts_fm.audio.mel import SAMPLE_RATE
    from tts_fm.audio.prompt import clipped_share
    from tts_fm.data.recordings import fault_of

    wave = load(recording, max_seconds=60.0)
    level, clipped, fault = loudness(wave, SAMPLE_RATE), clipped_share(wave), fault_of(wave)
    said = f"{len(wave) / SAMPLE_RATE:.1f} s, level {level:.0f} LUFS"
    if clipped > CLIPPED:
        fault = f"{clipped:.1%} of it is clipped: go further from the microphone, or turn it down"
    elif fault is None and level < QUIET:
        fault = "it is quiet: go nearer to the microphone, or turn it up"
    elif fault is None and level > LOUD:
        fault = "it is very loud: go further from the microphone"
    pcm = np.round(wave.clip(-1, 1) * 32767).astype(np.int16)
    return Spoken(number, pcm, f"{said}; {fault}" if fault else f"{said}: good", fault is None)


class Maker:
    """Learns voices, one at a time."""

    def __init__(self, root: Path, model: str | None, possible: bool) -> None:
        """root: a folder to work in. model: the base, None = built in. possible: whether it can be adapted."""
        self.root, self.model, self.possible = root, model, possible
        self._worker = ThreadPoolExecutor(1, "adapt")
        self._sharpened: OrderedDict[str, Future[Made]] = OrderedDict()

    def make(
        self,
        spoken: Sequence[Spoken],
        uploads: Sequence[str],
        consent: str,
        minutes: float | None,
        check: Callable[[], None],
        tell: Tell,
    ) -> Made:
        """Learn a voice from recorded sentences and uploaded files (.txt beside a sound file by its name). ValueError
        for too little, or recordings that nothing can be learnt from. check: called often; raises to stop.
        """
        if not consent.strip():
            raise FieldError("say whose voice it is and that they agreed, for instance: my own voice", "consent")
        if not spoken and not uploads:
            raise ValueError("there are no recordings yet: read some sentences aloud, or upload recordings")
        place = Path(tempfile.mkdtemp(dir=self.root, prefix="made-"))
        try:
            sounds = self._gather(spoken, uploads, place / "recordings")

            def watch(stage: str, done: int, total: int, left: float | None) -> None:
                check()
                tell(stage, done, total, left)

            return self._do(lambda: self._learn(sounds, place / "voice", consent, minutes, watch))
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
        finally:
            shutil.rmtree(place / "recordings", ignore_errors=True)

    def _gather(self, spoken: Sequence[Spoken], uploads: Sequence[str], folder: Path) -> Path:
        """Everything in one folder, as adapt_voice takes it."""
        import soundfile

        from tts_fm.audio.mel import SAMPLE_RATE
        from tts_fm.data.listing import AUDIO, TEXT

        folder.mkdir()
        for take in spoken:
            soundfile.write(folder / f"sentence-{take.number + 1:02d}.wav", take.wave, SAMPLE_RATE)
            (folder / f"sentence-{take.number + 1:02d}.txt").write_text(SENTENCES[take.number], "utf-8")
        for number, upload in enumerate(uploads):
            path = Path(upload)
            if path.suffix.lower() not in (*AUDIO, *TEXT):
                raise ValueError(f"{path.name} is no recording; {', '.join(AUDIO)} and .txt files are read")
            twin = next((k for k, other in enumerate(uploads) if Path(other).stem == path.stem), number)
            shutil.copyfile(path, folder / f"upload-{twin:03d}{path.suffix.lower()}")
        return folder

    def _learn(self, sounds: Path, place: Path, consent: str, minutes: float | None, tell: Tell) -> Made:
        from tts_fm.train.voice import AdaptOptions, adapt_voice
        from tts_fm.voices.stored import get_voice

        lines: list[str] = []
        options = AdaptOptions(name=NAME, minutes=minutes, consent=consent.strip()[:2000])
        info = adapt_voice(sounds, place, options, self.model, None, tell, lambda found: lines.extend(found.lines()))
        return Made(place, get_voice(place), info, lines)

    def cloned(self, made: Made) -> Voice:
        """The voice as its prompt alone would be spoken."""
        return replace(made.voice, adapter=None)

    def zip(self, made: Made, folder: Path) -> str:
        """The voice as one file to download, in a folder."""
        from tts_fm.voices.adapters import pack

        return str(pack(made.folder, folder / "my-voice.zip"))

    def forget(self, made: Made | None) -> None:
        """Remove what a session made."""
        if made is not None:
            shutil.rmtree(made.folder.parent, ignore_errors=True)

    # ---- sharpening

    def sharper(self, recording: str, transcript: str | None, voice: Voice) -> tuple[Voice, str]:
        """The voice of a recording, learnt from it where that is done already, and a line that says so. The first call
        begins it, in the background.
        """
        key = hashlib.sha256(Path(recording).read_bytes() + (transcript or "").encode()).hexdigest()
        if key not in self._sharpened:
            self._sharpened[key] = self._worker.submit(self._sharpen, voice)
            while len(self._sharpened) > SHARPENED_KEPT:
                _, old = self._sharpened.popitem(last=False)
                if not old.cancel() and old.done() and old.exception() is None:
                    self.forget(old.result())
        work = self._sharpened[key]
        if not work.done():
            return voice, "The voice is being sharpened in the background; a sentence in half a minute is closer. "
        try:
            return replace(work.result().voice, name=voice.name), "Spoken in the sharpened voice. "
        except (ValueError, TtsFmError) as error:
            return voice, f"The recording could not be sharpened ({str(error).splitlines()[-1]}). "
        except Exception as error:
            log.warning("sharpening failed: %s", type(error).__name__, exc_info=True)
            return voice, "The recording could not be sharpened. "

    def _sharpen(self, voice: Voice) -> Made:
        import soundfile

        from tts_fm.audio.mel import SAMPLE_RATE

        place = Path(tempfile.mkdtemp(dir=self.root, prefix="sharp-"))
        (place / "recordings").mkdir()
        soundfile.write(place / "recordings" / "one.wav", voice.wave, SAMPLE_RATE)
        if voice.text:
            (place / "recordings" / "one.txt").write_text(voice.text, "utf-8")
        return self._learn(place / "recordings", place / "voice", "as given by the visitor", None, lambda *_: None)

    def _do(self, work: Callable[[], Made]) -> Made:
        return self._worker.submit(contextvars.copy_context().run, work).result()

    def close(self) -> None:
        self._worker.shutdown(wait=False, cancel_futures=True)

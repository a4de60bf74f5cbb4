"""Kokoro-82M on onnxruntime: phone units and a mixture of its voices become a wave with the exact frames of every unit.

Frames are 25 ms, 600 samples of 24 kHz. Units are espeak's, as text/phonemes.py splits them; Kokoro's own spelling of
English phones stays in here. Knows no corpus: kokoro.py makes one with it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tts_fm import checkpoint as hub
from tts_fm import devices
from tts_fm.errors import MissingDependency, ModelError, TtsFmError
from tts_fm.text.phonemes import TIE

REPOSITORY = "hf://onnx-community/Kokoro-82M-v1.0-ONNX-timestamped"
HELD_OUT = ("af_kore", "am_eric", "bf_lily", "bm_daniel")
VOICES = """af_alloy af_aoede af_bella af_heart af_jessica af_kore af_nicole af_nova af_river af_sarah af_sky am_adam
am_echo am_eric am_fenrir am_liam am_michael am_onyx am_puck am_santa bf_alice bf_emma bf_isabella bf_lily bm_daniel
bm_fable bm_george bm_lewis ef_dora em_alex em_santa ff_siwis hf_alpha hf_beta hm_omega hm_psi if_sara im_nicola
jf_alpha jf_gongitsune jf_nezumi jf_tebukuro jm_kumo pf_dora pm_alex pm_santa zf_xiaobei zf_xiaoni zf_xiaoxiao zf_xiaoyi
zm_yunjian zm_yunxi zm_yunxia zm_yunyang""".split()
RATE, FRAME, MOST_TOKENS = 24_000, 600, 510
POINT = "point"  # how the names of drawn voices begin
TIMBRE = 128  # the first numbers of a style are the sound of a voice, the others its manner
# length of what a drawn voice has that no mixture of voices has, in sound and manner: a voice of Kokoro's has .65 and
# .44 that the others cannot mix; of some half more speech is as clear, and voices are less alike
BEYOND = (1.0, 0.65)

# Kokoro's ids of the symbols that English needs (the "vocab" of its config.json), and how it writes espeak's phones.
IDS = dict(zip(';:,.!?—…"()“” ', (1, 2, 3, 4, 5, 6, 9, 10, 11, 12, 13, 14, 15, 16), strict=True)) | dict(zip(
    "AIOQTWYᵊabdefhijklmnopstuvwzɑɐɒæɔðʤəɚɛɜɡɪŋθɹɾʃʧʊʌʒʔˈˌːᵻ",
    (24, 25, 31, 33, 36, 39, 41, 42, 43, 44, 46, 47, 48, 50, 51, 52, 53, 54, 55, 56, 57, 58, 61, 62, 63, 64, 65, 68, 69,
    70, 71, 72,
     76, 81, 82, 83, 85, 86, 87, 92, 102, 112, 119, 123, 125, 131, 133, 135, 138, 147, 148, 156, 157, 158, 177),
     strict=True))  # fmt: skip
PAIRS = {
    "e͡ɪ": "A", "a͡ɪ": "I", "o͡ʊ": "O", "ə͡ʊ": "Q", "a͡ʊ": "W", "ɔ͡ɪ": "Y", "d͡ʒ": "ʤ", "t͡ʃ": "ʧ",
    "ə͡l": "ᵊl", "n̩": "ᵊn",
}  # fmt: skip
SINGLE = {"ɚ": "əɹ", "ɐ": "ə", "r": "ɹ", "x": "k", "ʔ": "t"}
ACCENT = {"en-us": {"ɜː": "ɜɹ"}, "en-gb": {"e͡ə": "ɛː", "i͡ə": "ɪə"}}


def tokens_of(unit: str, lang: str) -> list[int]:
    """Kokoro's ids for one espeak unit; [] for what it cannot say."""
    unit = ACCENT[lang].get(unit, unit)
    for ours, its in (PAIRS | SINGLE).items():
        unit = unit.replace(ours, its)
    unit = unit.replace(TIE, "") if lang == "en-gb" else unit.replace(TIE, "").replace("ː", "")
    return [IDS[char] for char in unit if char in IDS]


def download(folder: str | os.PathLike[str], repository: str = REPOSITORY) -> None:
    """Fetch the model and all voices into `folder`; goes on where it was stopped. Raises ModelError."""
    folder = Path(folder)
    hub.download(f"{repository}/onnx/model.onnx", folder / "model.onnx")
    for name in VOICES:
        hub.download(f"{repository}/voices/{name}.bin", folder / "voices" / f"{name}.bin", progress=False)


def load_voices(folder: str | os.PathLike[str], held_out: bool = False) -> dict[str, np.ndarray]:
    """Style vectors (N, 256) by name, a row for every number of tokens, from NAME.bin (float32), NAME.npy or NAME.pt;
    without HELD_OUT, unless `held_out` asks for them (benchmarks; never for a corpus).
    """
    found = {}
    for path in sorted(Path(folder).glob("*_*.*")):
        if path.suffix not in (".bin", ".npy", ".pt") or (path.stem in HELD_OUT and not held_out):
            continue
        if path.suffix == ".pt":
            import torch

            style = torch.load(path, map_location="cpu", weights_only=True).numpy()
        else:
            style = np.load(path, allow_pickle=False) if path.suffix == ".npy" else np.fromfile(path, np.float32)
        if not style.size or style.size % 256:
            raise ModelError(f"{path} has {style.size} numbers, not rows of 256; fetch it again")
        found[path.stem] = style.reshape(-1, 256).astype(np.float32)
    if not any(name[0] in "ab" for name in found):
        raise ModelError(
            f"{folder} has no English voice of Kokoro (af_*, bm_*, ...); run: python -m data_prep.kokoro download "
            "FOLDER"
        )
    return found


def point(name: str, voices: Mapping[str, np.ndarray], beyond: tuple[float, float] = BEYOND) -> np.ndarray:
    """The style (rows, 256) of a voice that nobody has: a Gaussian draw in the principal components of the tables, with
    the spread that the voices have; its sound among all voices, its manner among the English ones. And a step in any
    direction, of a length of `beyond` on average, so that it is no mixture of them. The name is the draw's seed.

    Components need not be found for it: mean + sum of g_i (v_i - mean) / sqrt(n - 1) with normal g_i has the mean and
    the covariance of the n voices.
    """
    draw, halves = random.Random(name), []
    names, rows = sorted(voices), min(map(len, voices.values()))
    english = [n for n in names if n[0] in "ab"]
    for some, half, step in ((names, slice(TIMBRE), beyond[0]), (english, slice(TIMBRE, None), beyond[1])):
        tables = np.stack([voices[n][:rows, half] for n in some])  # (n, rows, 128)
        mean = tables.mean(0)
        gains = [draw.gauss(0, 1) / max(1, len(some) - 1) ** 0.5 for _ in some]
        step /= mean.shape[1] ** 0.5
        halves.append(mean + np.tensordot(gains, tables - mean, 1) + [draw.gauss(0, step) for _ in mean[0]])
    return np.concatenate(halves, 1).astype(np.float32)


def open_session(parts: Sequence[str | os.PathLike[str]], threads: int = 1) -> Any:
    """onnxruntime's session for a model file or the parts of one (paths or hf://). ModelError when it tells no
    durations.
    """
    onnxruntime = devices.onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    data = b"".join(hub.resolve(os.fspath(part)).read_bytes() for part in parts)
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        if len(session.get_outputs()) < 2:
            session = onnxruntime.InferenceSession(_with_durations(data), options, providers=["CPUExecutionProvider"])
    except TtsFmError:
        raise
    except Exception as error:
        raise ModelError(f"{parts[0]} is no ONNX model ({str(error).splitlines()[0]})") from error
    return session


def _with_durations(data: bytes) -> bytes:
    """The model with its rounded durations as a second output. They are what the only Round, or the Clip behind it,
    yields.
    """
    needed = (
        f"this export of Kokoro has no output with durations, without which there are no phone times; take {REPOSITORY}"
    )
    try:
        import onnx
    except ImportError:
        raise MissingDependency(f"{needed}, or pip install onnx, with which they may be found inside") from None
    model = onnx.load_model_from_string(data)
    rounds = [node for node in model.graph.node if node.op_type == "Round"]
    if len(rounds) != 1:
        raise ModelError(f"{needed} ({len(rounds)} places inside look like them)")
    inside = rounds[0].output[0]
    clips = [node for node in model.graph.node if node.op_type in ("Clip", "Max") and inside in node.input]
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(clips[0].output[0] if clips else inside))
    return model.SerializeToString()


@dataclass(frozen=True)
class Spoken:
    """A clip with its times, in frames of 25 ms."""

    wave: np.ndarray  # (S,) float32, S = 600 x all frames
    lead: int
    frames: list[int]  # of every unit
    tail: int


class Kokoro:
    """A session (or anything with its get_inputs and run) and the voices it may use."""

    def __init__(self, session: Any, voices: Mapping[str, np.ndarray]) -> None:
        self.session, self.voices = session, voices
        self._point = ("", np.zeros(0))  # the last one: they come several times in a row
        # tokens or input_ids, style, speed: in this order in all exports
        self.names = [place.name for place in session.get_inputs()]

    def speak(self, units: Sequence[str], lang: str, voices: Mapping[str, float], speed: float = 1.0) -> Spoken:
        """Say phone units in a convex mixture of voices {name: weight}, of which some may be points. ValueError: too
        long, a voice that is not there or is held out.
        """
        ids = [tokens_of(unit, lang) for unit in units]
        flat = [number for some in ids for number in some]
        if not 0 < len(flat) <= MOST_TOKENS:
            raise ValueError(f"{len(flat)} symbols; Kokoro takes 1 to {MOST_TOKENS}")
        if missing := [name for name in voices if name not in self.voices and not name.startswith(POINT)]:
            held = "held out for evaluation" if missing[0] in HELD_OUT else "not there"
            raise ValueError(f"voice {missing[0]} is {held}; there are {', '.join(sorted(self.voices))}")
        total = sum(voices.values())
        tables = {name: self._table(name) for name in voices}
        style = sum(
            weight / total * tables[name][min(len(flat), len(tables[name])) - 1] for name, weight in voices.items()
        )
        feed = (np.array([[0, *flat, 0]], np.int64), np.asarray(style, np.float32)[None], np.array([speed], np.float32))
        wave, durations = (
            np.asarray(found).reshape(-1)
            for found in self.session.run(None, dict(zip(self.names, feed, strict=True)))[:2]
        )
        frames = [round(float(value)) for value in durations]
        if len(frames) != len(flat) + 2 or abs(len(wave) - FRAME * sum(frames)) > FRAME:
            raise ModelError(
                f"{len(frames)} durations of {sum(frames)} frames for {len(flat)} symbols and {len(wave)} samples; the "
                "second "
                f"output of this export is not Kokoro's durations: take {REPOSITORY}"
            )
        wave = np.pad(wave, (0, max(0, FRAME * sum(frames) - len(wave))))[: FRAME * sum(frames)].astype(np.float32)
        inner, place = [], 1
        for some in ids:
            inner.append(sum(frames[place : place + len(some)]))
            place += len(some)
        return Spoken(wave, frames[0], inner, frames[-1])

    def _table(self, name: str) -> np.ndarray:
        if not name.startswith(POINT):
            return self.voices[name]
        if self._point[0] != name:
            self._point = (name, point(name, self.voices))
        return self._point[1]

"""The fine structure of speech: that it is counted as it is, and given back as it was counted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.fft
from tiny_model import tiny_tts_folder

from tts_fm.audio.match import cosines
from tts_fm.audio.mel import N_MELS
from tts_fm.audio.texture import LEAST, MOST, QUEFRENCIES, RATES, WINDOW, check, modulations, table, textured
from tts_fm.errors import ModelError
from tts_fm.synthesis import TTS

ONES = [[1.0] * len(QUEFRENCIES) for _ in RATES]


def waves(*parts: tuple[int, int, float], frames: int = 320) -> np.ndarray:
    """A loud log-mel in which cepstral coefficients go up and down: (coefficient, rate, amplitude)."""
    cepstra = np.zeros((frames, N_MELS))
    for coefficient, rate, amplitude in parts:
        cepstra[:, coefficient] += amplitude * np.sin(2 * np.pi * rate / WINDOW * np.arange(frames))
    return scipy.fft.idct(cepstra, norm="ortho").astype(np.float32)  # not match.py's basis


def amplitude(mel: np.ndarray, coefficient: int) -> float:
    middle = scipy.fft.dct(mel, norm="ortho")[64:-64, coefficient]
    return float(np.sqrt(2) * (middle - middle.mean()).std())


def noise(seed: int, gains: np.ndarray) -> np.ndarray:
    """A log-mel of noise whose cepstral coefficient q is gains[q] strong at all rates."""
    drawn = np.random.default_rng(seed).standard_normal((4000, N_MELS)) * gains
    return (0.1 * drawn @ cosines(N_MELS, N_MELS).T).astype(np.float32)


def test_power_is_found_at_its_rate_and_coefficient() -> None:
    power = modulations([waves((14, 6, 1.0)), waves((14, 6, 1.0))])
    assert power.shape == (WINDOW // 2 + 1, N_MELS) and np.unravel_index(power.argmax(), power.shape) == (6, 14)
    doubled = modulations([waves((14, 6, 2.0))])
    np.testing.assert_allclose(doubled[6, 14] / power[6, 14], 4, rtol=1e-4)
    with pytest.raises(ValueError, match="no third of a second"):
        modulations([np.zeros((WINDOW - 1, N_MELS), np.float32)])


def test_a_gain_makes_its_waves_higher_and_leaves_the_others() -> None:
    gains = np.array(ONES)
    gains[3:5, 2] = 2.0  # rates 4 to 11, coefficients 10 to 19
    mel = waves((14, 7, 1.0), (30, 7, 1.0), (15, 15, 1.0), (0, 7, 1.0))
    result = textured(mel, {8: gains.tolist()}, 8)
    found = [amplitude(result, q) / amplitude(mel, q) for q in (14, 30, 15, 0)]
    assert found == pytest.approx([2, 1, 1, 1], rel=0.05)
    np.testing.assert_allclose(textured(mel, {8: ONES}, 8), mel, atol=1e-4)
    assert textured(mel, {}, 8) is mel


def test_what_is_smoother_by_a_known_share_gets_that_share_back() -> None:
    less = np.ones(N_MELS)
    less[20:35], less[60:] = 1 / 1.5, 1 / 1.2
    natural, own = noise(0, np.ones(N_MELS)), noise(1, less)
    gains = table(modulations([own]), modulations([natural]))
    np.testing.assert_allclose(gains, np.tile([1, 1, 1, 1.5, 1, 1.2], (len(RATES), 1)), rtol=0.08)
    given = modulations([textured(own, {8: gains}, 8)])
    assert np.abs(np.array(table(given, modulations([natural]))) - 1).max() < 0.1
    assert np.min(table(modulations([natural * 9]), modulations([natural]))) == LEAST
    assert np.max(table(modulations([natural]), modulations([natural * 9]))) == MOST


def test_the_table_of_the_nearest_number_of_steps_is_taken() -> None:
    mel, strong = waves((14, 6, 1.0)), (np.array(ONES) * 2).tolist()
    tables = check({"2": strong, "8": ONES})
    for steps, changed in ((1, True), (2, True), (3, True), (5, False), (8, False), (64, False)):
        assert (np.abs(textured(mel, tables, steps) - mel).max() > 0.1) == changed, steps


@pytest.mark.parametrize(
    "found", [[1], "x", {"two": ONES}, {"2": ONES[1:]}, {"2": 1.0}, {"2": [["a"] * 6] * 6}, {"0": ONES},
              {"2": [[MOST + 1] * 6] * 6}, {"2": [[float("nan")] * 6] * 6}]
)  # fmt: skip
def test_other_tables_are_refused(found: object, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"recipes/builtin/texture\.py writes it"):
        check(found)
    folder = tiny_tts_folder(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    if "nan" not in repr(found):
        (folder / "config.json").write_text(json.dumps(config | {"texture": found}))
        with pytest.raises(ModelError, match="texture holds"):
            TTS.load(folder)


def test_a_voice_speaks_with_its_own_table(tmp_path: Path) -> None:
    folder = tiny_tts_folder(tmp_path / "model")
    plain = TTS.load(folder).say("Hello there.").wave
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"texture": {"2": (np.array(ONES) * 2).tolist()}}))
    tts = TTS.load(folder)
    rough = tts.say("Hello there.").wave
    assert len(rough) == len(plain) and np.abs(rough - plain).max() > 1e-3
    tts.engine.texture = {}
    np.testing.assert_array_equal(tts.say("Hello there.").wave, plain)

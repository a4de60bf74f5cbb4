"""Recordings are found, cut at their pauses, and those that nothing can be learnt from are told apart."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tts_fm.data.listing import Recording, find_recordings
from tts_fm.data.recordings import Table, cut, decoded, evened, fault_of

RATE = 24_000


def babble(seconds: float, seed: int = 0) -> np.ndarray:
    """(S,) noise in syllables with all frequencies in it."""
    t = np.arange(int(seconds * RATE)) / RATE
    noise = np.random.default_rng(seed).standard_normal(len(t))
    return (0.08 * noise * np.clip(np.sin(2 * np.pi * 4 * t), 0.001, 1)).astype(np.float32)


def quiet(seconds: float) -> np.ndarray:
    return (1e-5 * np.random.default_rng(5).standard_normal(int(seconds * RATE))).astype(np.float32)


def test_cuts_lie_in_pauses_and_nothing_is_lost():
    spoken = [4.0, 5.0, 3.5, 7.0, 6.0]
    parts, edges, at = [], [], 0.0
    for seconds in spoken:
        parts += [babble(seconds, len(parts)), quiet(0.6)]
        edges.append((at + seconds, at + seconds + 0.6))
        at += seconds + 0.6
    wave = np.concatenate(parts)
    found = list(cut(wave))
    assert found[0][0] == 0 and found[-1][1] == len(wave)
    assert all(end == start for (_, end), (start, _) in itertools.pairwise(found))
    for _, end in found[:-1]:
        assert any(low < end / RATE < high for low, high in edges), end / RATE
    assert all(3.0 <= (end - start) / RATE <= 12.0 for start, end in found)


def test_speech_without_pauses_is_cut_all_the_same_and_short_speech_is_not():
    found = list(cut(babble(40.0)))
    assert len(found) >= 4 and all((end - start) / RATE <= 12.0 for start, end in found)
    assert list(cut(babble(8.0))) == [(0, 8 * RATE)]


def test_what_is_wrong_with_a_piece():
    good = babble(4.0)
    assert fault_of(good) is None
    assert "shorter" in str(fault_of(babble(0.5)))
    assert fault_of(quiet(3.0)) == "silent"
    assert "clipped" in str(fault_of(np.clip(good * 40, -1, 1)))
    steady = (0.1 * np.random.default_rng(1).standard_normal(4 * RATE)).astype(np.float32)
    assert "noise or music" in str(fault_of(steady))
    from scipy.signal import resample_poly

    narrow = resample_poly(resample_poly(good, 1, 3), 3, 1).astype(np.float32)
    assert "narrow band" in str(fault_of(narrow))


def test_levels_are_evened():
    from tts_fm.audio.levels import loudness

    for gain in (0.05, 1.0):
        assert loudness(evened(babble(4.0) * gain), RATE) == pytest.approx(-20.5, abs=0.5)


def test_files_that_cannot_be_read_are_dropped_with_their_reason(tmp_path):
    (tmp_path / "text.wav").write_text("not sound")
    (tmp_path / "empty.wav").write_bytes(b"")
    soundfile.write(tmp_path / "silent.wav", np.zeros(RATE), RATE)
    soundfile.write(tmp_path / "good.wav", np.concatenate([quiet(1.0), babble(3.0), quiet(1.0)]), RATE)
    table = Table()
    waves = [decoded(recording, table) for recording in find_recordings(tmp_path)]
    assert [wave is not None for wave in waves] == [False, True, False, False]
    assert 3.0 <= len(waves[1]) / RATE <= 3.4  # silence at the ends is gone
    assert len(table.dropped) == 3
    assert any("silent" in line for line in table.lines())


def test_recordings_of_a_folder_a_file_and_lists(tmp_path):
    folder = tmp_path / "rec"
    (folder / "more").mkdir(parents=True)
    for name in ("a.wav", "more/b.flac"):
        soundfile.write(folder / name, babble(1.0), RATE)
    (folder / "a.txt").write_text("Hello\n  there. ", "utf-8")
    (folder / ".hidden.wav").write_bytes(b"x")
    found = find_recordings(folder)
    assert found == [Recording(folder / "a.wav", "Hello there."), Recording(folder / "more" / "b.flac", None)]
    assert find_recordings(folder / "a.wav") == found[:1]
    (folder / "list.csv").write_text("audio,text\nmore/b.flac,Two words\n")
    assert find_recordings(folder / "list.csv") == [Recording(folder / "more/b.flac", "Two words")]
    (folder / "list.jsonl").write_text('{"audio": "a.wav"}\n')
    assert find_recordings(folder / "list.jsonl") == [Recording(folder / "a.wav", None)]


@pytest.mark.parametrize(
    "name, content, what",
    [
        ("none.wav", None, "no recording, folder or list"),
        ("list.csv", "audio,text\nx.wav,Hello\n", "list.csv:2: no audio file"),
        ("list.jsonl", '{"audio": 3}\n', "list.jsonl:1"),
        ("list.jsonl", "{\n", "not JSON"),
        ("list.csv", "name\nx\n", "header"),
    ],
)
def test_lists_with_faults_say_where(tmp_path: Path, name, content, what):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=what):
        find_recordings(tmp_path / name)


def test_a_folder_without_sound_says_so(tmp_path):
    with pytest.raises(ValueError, match="no recording in"):
        find_recordings(tmp_path)

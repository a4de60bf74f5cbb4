"""Forced alignment: the path against every path there is, word spans, real clips with known times. Its verb:
test_cli_align.py.
"""

from __future__ import annotations

import itertools
import json
import threading
from pathlib import Path

import librosa
import numpy as np
import pytest
import torch
from torchaudio.functional import forced_align

from tts_fm.audio.files import load
from tts_fm.audio.mel import FRAMES_PER_SECOND, HOP, log_mel
from tts_fm.cli.main import main
from tts_fm.data.manifest import read_manifest
from tts_fm.engines.align import (
    BUILTIN,
    EDGE,
    FLOOR,
    STATES,
    SWITCH,
    Aligner,
    best_path,
    free_path,
    quiet_frames,
    whole_words,
)
from tts_fm.engines.phones import OnnxRecogniser, load_recogniser
from tts_fm.engines.torch import TorchRecogniser
from tts_fm.errors import ModelError
from tts_fm.model.aligner import AlignerModel, load_aligner, save_aligner
from tts_fm.text.symbols import is_pause

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "tests" / "data" / "aligned"
TOY = ["<sil>", " ", ",", "a", "b", "n", "ˈ"]


@pytest.fixture(scope="module")
def aligner() -> Aligner:
    return Aligner.load()


def toy(dilations: tuple[int, ...] = (1, 2)) -> AlignerModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AlignerModel(TOY, dim=16, dilations=dilations).eval()


# --- network


def test_padding_never_changes_a_frame():
    model, mel = toy(), torch.randn(3, 41, 100, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        together = model(mel, torch.tensor([41, 20, 7]))
        for row, length in zip(range(3), (41, 20, 7), strict=True):
            alone = model(mel[row : row + 1, :length])
            assert alone.shape == (1, length, len(TOY))
            torch.testing.assert_close(together[row, :length], alone[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("frames", [3, 4, 41])
def test_the_graph_says_what_the_network_says(frames: int, tmp_path: Path):
    """On speech, and on lengths that are odd or very short."""
    mel = log_mel(load(DATA / "k0_01361.opus"))[40 : 40 + frames]
    wanted, found = (load_recogniser(BUILTIN, engine).log_probabilities(mel) for engine in ("torch", "onnx"))
    assert wanted.shape == found.shape == (frames, 77) and found.dtype == np.float32
    np.testing.assert_allclose(np.exp(found).sum(1), 1, rtol=1e-5)
    assert np.abs(found - wanted).max() < 1e-4


def test_an_aligner_can_be_exported(tmp_path: Path):
    pytest.importorskip("onnxscript")
    save_aligner(toy(), tmp_path / "aligner")
    assert main(["export", "onnx", str(tmp_path / "aligner"), str(tmp_path / "graphs"), "-q"]) == 0
    mel = np.random.default_rng(0).normal(-3, 3, (33, 100)).astype(np.float32)
    found = load_recogniser(tmp_path / "graphs")
    assert isinstance(found, OnnxRecogniser) and found.vocab == TOY
    wanted = load_recogniser(tmp_path / "aligner", "torch").log_probabilities(mel)
    assert np.abs(found.log_probabilities(mel) - wanted).max() < 1e-4
    assert main(["export", "onnx", str(tmp_path / "aligner"), str(tmp_path / "graphs"), "--int8", "-q"]) == 2


def test_saving_and_loading(tmp_path: Path):
    model = toy()
    save_aligner(model, tmp_path, half=False)
    mel = torch.randn(9, 100)
    torch.testing.assert_close(load_aligner(tmp_path).log_probabilities(mel), model.log_probabilities(mel))
    (tmp_path / "config.json").write_text(json.dumps(model.config | {"dim": 8}))
    with pytest.raises(ModelError, match="another shape for enter.weight"):
        load_aligner(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelError, match="not a readable safetensors"):
        load_aligner(tmp_path)
    with pytest.raises(ModelError, match="missing"):
        Aligner.load(tmp_path / "nowhere")


@pytest.mark.parametrize("shape", [(1, 0, 100), (1, 5, 80), (5, 100)])
def test_wrong_mels(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match="the mel must have the shape"):
        toy()(torch.zeros(shape))
    with pytest.raises(ValueError, match="needs <sil>"):
        AlignerModel(["a"])


# --- path


def drawn(frames: int, seed: int) -> np.ndarray:
    """Log-probabilities of the toy's symbols."""
    found = np.random.default_rng(seed).normal(0, 2, (frames, len(TOY))).astype(np.float32)
    return found - np.logaddexp.reduce(found, axis=1, keepdims=True)


@pytest.mark.parametrize(("frames", "count"), [(30, 30), (31, 7), (400, 120), (50, 1)])
def test_the_best_path_is_that_of_torchaudio(frames: int, count: int):
    """Which has a blank; with one less likely than any state, its path takes none."""
    rng = np.random.default_rng(frames)
    emission = rng.normal(-3, 2, (frames, 9)).clip(FLOOR).astype(np.float32)
    states = np.arange(count) * 2 % 9  # no neighbours are alike
    logs = torch.from_numpy(np.pad(emission, ((0, 0), (1, 0)), constant_values=2 * FLOOR))
    wanted, _ = forced_align(logs[None], torch.tensor(states[None] + 1, dtype=torch.int32), blank=0)
    path = best_path(emission, states)
    assert np.array_equal(states[path], wanted[0].numpy() - 1)
    assert path[0] == 0 and path[-1] == count - 1 and set(np.diff(path)) <= {0, 1}


@pytest.mark.parametrize(
    ("units", "seed"), [(["a", "b"], 0), (["n", "n", "a"], 1), (["a", " ", "b"], 2), (["ˈ", "a", ","], 3), (["a"], 4)]
)
def test_the_path_is_the_best_of_all_paths(units: list[str], seed: int):
    frames, each = 12, drawn(12, seed)
    got, score = Aligner(TorchRecogniser(toy()))._path(each, units)
    pauses = np.logaddexp.reduce(each[:, [0, 1, 2]], axis=1)
    columns = [pauses if u in " ," else each[:, TOY.index(u)] for u in units]
    silence = np.maximum(each[:, 0], pauses - EDGE)
    best, best_edges = -np.inf, None
    for edges in itertools.combinations(range(1, frames), len(units) + 1):
        if min(np.diff(edges)) < STATES:
            continue
        parts = [
            silence[: edges[0]],
            *(c[a:b] for c, a, b in zip(columns, edges, edges[1:], strict=False)),
            silence[edges[-1] :],
        ]
        value = sum(float(np.maximum(p, FLOOR).sum()) for p in parts)
        if value > best:
            best, best_edges, mean = (
                value,
                edges,
                float(np.concatenate([np.maximum(p, FLOOR) for p in parts[1:-1]]).mean()),
            )
    assert tuple(got) == best_edges and score == pytest.approx(mean, abs=1e-5)


@pytest.mark.parametrize(("frames", "kinds", "seed"), [(3, 2, 0), (40, 5, 1), (300, 70, 2)])
def test_the_free_path_is_that_of_librosa(frames: int, kinds: int, seed: int):
    logs = np.log(np.random.default_rng(seed).dirichlet(np.full(kinds, 0.2), frames))  # (T, V)
    change = np.full((kinds, kinds), np.exp(-SWITCH)) + (1 - np.exp(-SWITCH)) * np.eye(kinds)
    change /= change.sum(1, keepdims=True)
    assert np.array_equal(free_path(logs), librosa.sequence.viterbi(np.exp(logs).T, change))


def test_a_phone_that_the_aligner_lacks_has_the_times_of_its_kin():
    """German "aː" is looked for as "a"; a click, which has no kin, as any phone."""
    aligner, logs = Aligner(TorchRecogniser(toy())), drawn(12, 5)
    assert aligner._path(logs, ["b", "aː"])[0].tolist() == aligner._path(logs, ["b", "a"])[0].tolist()
    assert len(aligner._path(logs, ["b", "ǂ", "a"])[0]) == 4


# --- words


@pytest.mark.parametrize(
    ("units", "spans", "said"),
    [
        ("ab cd", [(0, 2), (3, 5)], [(0, 2), (3, 5)]),
        ("abx ycd", [(0, 2), (5, 7)], [(0, 3), (4, 7)]),  # phones that nobody claims go to the word they touch
        # a word that was not recognised takes what stands between
        ("ab xy cd", [(0, 2), (8, 0), (6, 8)], [(0, 2), (3, 5), (6, 8)]),
        ("abx cd", [(0, 2), (6, 0), (4, 6)], [(0, 2), (2, 3), (4, 6)]),  # "at a", said as one
        ("xy ab", [(5, 0), (3, 5)], [(0, 2), (3, 5)]),
        ("ab", [(0, 2), (2, 0)], [(0, 2), (0, 0)]),  # nothing is left for it
    ],
)
def test_words_take_all_phones(units: str, spans: list[tuple[int, int]], said: list[tuple[int, int]]):
    assert whole_words(list(units), spans) == said


def test_quiet_frames():
    mel = np.full((60, 100), -11.0)
    mel[20:40] = -1.0
    assert np.flatnonzero(~quiet_frames(mel)).tolist() == list(range(20, 40))
    assert not quiet_frames(np.full((60, 100), -3.0)).any()


# --- the shipped aligner


def test_it_is_small():
    assert sum(p.stat().st_size for p in BUILTIN.iterdir()) <= 3_000_000
    assert 1_000_000 <= sum(p.numel() for p in load_aligner(BUILTIN).parameters()) <= 1_500_000


def test_boundaries_of_clips_with_known_times(aligner: Aligner):
    errors = []
    for row in read_manifest(DATA / "manifest.jsonl"):
        wave = load(row.path(DATA))
        found = aligner.align(wave, row.text, row.lang)
        assert found.units == list(row.units or ())
        assert found.lead + sum(found.frames) + found.tail == pytest.approx(len(wave) / HOP)
        true = np.cumsum([row.lead_frames, *(row.unit_frames or ())]) * row.frame_seconds
        errors.append(np.abs(np.cumsum([found.lead, *found.frames]) / FRAMES_PER_SECOND - true))
        assert [w.text for w in found.words] == [w.strip(",.") for w in row.text.split()]
        times = [t for w in found.words for t in (w.start, w.end)]
        assert times == sorted(times) and all(w.end - w.start > 0.02 for w in found.words) and times[-1] < row.seconds
        assert found.score > -1.5
        assert aligner.align(wave, "You were a nice boy.", row.lang).score < found.score - 1
    errors = np.concatenate(errors)
    assert np.median(errors) <= 0.015 and (errors <= 0.05).mean() >= 0.9


def test_what_is_heard_without_a_transcript(aligner: Aligner):
    """Of the mel frames, most are in the unit that is said there; surer ones more often."""
    right, likely = [], []
    for row in read_manifest(DATA / "manifest.jsonl"):
        wave = load(row.path(DATA))
        found, sure = aligner.recognise(wave)
        total = len(wave) / HOP
        assert found.lead + sum(found.frames) + found.tail == pytest.approx(total) and not found.words
        assert not is_pause(found.units[0]) and not is_pause(found.units[-1]) and -1.5 < found.score < 0
        assert sure.shape == (len(log_mel(wave)),) and sure.min() >= 0 and sure.max() <= 1
        scale = row.frame_seconds * FRAMES_PER_SECOND
        middles = np.arange(int(total)) + 0.5
        said, heard = (
            np.array(["", *units, ""])[np.searchsorted(np.cumsum([lead, *frames]), middles)]
            for units, lead, frames in (
                (row.units, row.lead_frames * scale, np.array(row.unit_frames) * scale),
                (found.units, found.lead, found.frames),
            )
        )
        right.append(said == heard)
        likely.append(sure[: len(middles)])
    right, likely = np.concatenate(right), np.concatenate(likely)
    assert right.mean() > 0.6 and right[likely > 0.9].mean() > right[likely < 0.5].mean() + 0.2


def test_numbers_and_markup_keep_the_written_words(aligner: Aligner):
    wave = load(DATA / "k0_01361.opus")
    found = aligner.align(wave, "[Grace](/ɡɹˈeɪs/) paid $18 for books.")
    plain = aligner.align(wave, "Grace paid eighteen dollars for books.")
    assert [w.text for w in found.words] == ["Grace", "paid", "$18", "for", "books"]
    assert found.units == plain.units
    assert found.words[2].start == pytest.approx(plain.words[2].start, abs=0.05)
    assert found.words[2].end == pytest.approx(plain.words[3].end, abs=0.05)


def test_pauses_and_silence_are_no_part_of_words(aligner: Aligner):
    """A second of silence in front, and one behind "Grace", moves the words by just as much."""
    wave = load(DATA / "k0_01361.opus")
    before = aligner.align(wave, "Grace paid eighteen dollars for books.").words
    gap = round((before[0].end + before[1].start) / 2 * 24_000)
    still = np.zeros(24_000, np.float32)
    after = aligner.align(
        np.concatenate([still, wave[:gap], still, wave[gap:]]), "Grace paid eighteen dollars for books."
    ).words
    for k, (a, b) in enumerate(zip(before, after, strict=True)):
        assert b.start == pytest.approx(a.start + 1 + (k > 0), abs=0.12) and b.end == pytest.approx(
            a.end + 1 + (k > 0), abs=0.12
        )


@pytest.mark.parametrize(
    ("wave", "text", "said"),
    [
        (np.zeros(48_000, np.float32), "Hello.", "no speech"),
        (np.zeros(100, np.float32), "Hello.", "hold at most 0"),
        (np.zeros(0, np.float32), "Hello.", "with samples in it"),
        (np.zeros((2, 9000), np.float32), "Hello.", "with samples in it"),
        (np.full(24_000, np.nan, np.float32), "Hello.", "not finite"),
        (np.zeros(24_000 * 301, np.float32), "Hello.", "cut it"),
        (None, "", "the text is empty"),
        (None, "!?", "can be spoken"),
        (None, "This text is far too long for it. " * 9, "is this the transcript of another recording"),
    ],
)
def test_what_cannot_be_aligned(aligner: Aligner, wave: np.ndarray | None, text: str, said: str):
    with pytest.raises(ValueError, match=said):
        aligner.align(load(DATA / "k0_00385.opus") if wave is None else wave, text)
    with pytest.raises(ValueError, match="unknown language"):
        aligner.align(load(DATA / "k0_00385.opus"), "Hello.", "en-moon")


def test_noise_and_hum_are_no_speech(aligner: Aligner):
    noise = 0.05 * np.random.default_rng(0).standard_normal(48_000).astype(np.float32)
    with pytest.raises(ValueError, match="no speech"):
        aligner.align(noise, "Hello.")


def test_threads_find_the_same(aligner: Aligner):
    wave, found = load(DATA / "k0_00385.opus"), []
    threads = [threading.Thread(target=lambda: found.append(aligner.align(wave, "I'm sorry, Jack."))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3 and found[0] == found[1] == found[2]


def test_pauses():
    assert [u for u in ["<sil>", " ", ",", "ˈ", "a", "ɔː͡ɹ", '"'] if is_pause(u)] == ["<sil>", " ", ",", '"']

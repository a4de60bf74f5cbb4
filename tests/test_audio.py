"""The mel against torch.stft + librosa's filters and the golden file; files of every format; loudness and limiter
against BS.1770.
"""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file
from scipy.signal import resample_poly

from tts_fm import audio
from tts_fm.audio import files, levels

GOLDEN = Path(__file__).parent / "golden"
RATE = audio.SAMPLE_RATE


def tone(seconds: float = 1.0, rate: int = RATE, hz: float = 440.0, peak: float = 0.5) -> np.ndarray:
    """A tone with a slow swell, so that a shift or a cut shows."""
    t = np.arange(round(seconds * rate)) / rate
    return (peak * np.sin(2 * np.pi * hz * t) * (0.6 + 0.4 * np.sin(2 * np.pi * 1.5 * t))).astype(np.float32)


def wav_header(
    tag: int, bits: int, frames: int = 8, channels: int = 1, rate: int = RATE, extra: bytes = b"", fmts: int = 1
) -> bytes:
    block = channels * max(bits // 8, 1)
    fmt = struct.pack("<HHIIHH", tag, channels, rate, (rate * block) & 0xFFFFFFFF, block, bits) + extra
    chunks = (b"fmt " + struct.pack("<I", len(fmt)) + fmt) * fmts + b"data" + struct.pack("<I", frames * block)
    return b"RIFF" + struct.pack("<I", 4 + len(chunks) + frames * block) + b"WAVE" + chunks


# --- mel


def test_mel_is_stft_times_librosa_filters():
    from librosa.filters import mel

    wave = torch.randn(70_001, generator=torch.Generator().manual_seed(1)) * 0.3
    wave[30_000:] *= 0.003  # longer than the pieces in which it is worked on, loud and soft
    spec = torch.stft(
        wave, 1024, 256, window=torch.hann_window(1024), center=True, pad_mode="reflect", return_complex=True
    ).abs()
    basis = torch.from_numpy(mel(sr=24000, n_fft=1024, n_mels=100, htk=True, norm=None))
    truth = (basis @ spec).clamp(min=1e-5).log().T.numpy()
    got = audio.log_mel(wave.numpy())
    assert got.shape == (70_001 // 256 + 1, 100) and got.dtype == np.float32
    error = np.abs(got - truth)
    assert error.max() < 2e-5 and error.mean() < 5e-6


def test_mel_is_the_golden_one():
    gold = load_file(GOLDEN / "vocos.io.safetensors")
    for wave, mel in zip(gold["wave"].numpy(), gold["mel"].numpy(), strict=True):
        assert np.abs(audio.log_mel(wave).T - mel).max() < 1e-5


def test_mel_says_what_it_takes():
    assert audio.log_mel(np.zeros(513)).shape == (3, 100)
    for shape in ((512,), (1, 1000), ()):
        with pytest.raises(ValueError, match="513"):
            audio.log_mel(np.zeros(shape))


# --- files


@pytest.mark.parametrize("format", sorted(set(audio.FORMATS) - {"aac"}))
@pytest.mark.parametrize("rate", [24000, 22050])
def test_round_trip(format: str, rate: int, tmp_path: Path):
    wave = tone(rate=rate)
    path = tmp_path / f"a.{format}"
    audio.write_audio(
        path, wave, rate, metadata={"title": "Hallå", "comment": "made by tts_fm\nseed 1", "software": "tts_fm"}
    )
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    if format == "pcm":
        data = np.frombuffer(path.read_bytes(), "<i2") / 32767
        assert len(data) == len(wave) and np.abs(data - wave).max() < 1e-4
        return
    got, own = audio.read_audio(path)
    assert got.dtype == np.float32 and got.ndim == 1
    assert own == (24000 if format == "opus" else rate)
    got = audio.resample(got, own, rate)
    assert abs(len(got) - len(wave)) <= 2  # MP3 and Opus delays are taken off by libsndfile
    n = min(len(got), len(wave))
    if format in ("wav", "flac"):
        assert np.abs(got[:n] - wave[:n]).max() < 1e-4
    else:
        assert np.corrcoef(got[:n], wave[:n])[0, 1] > 0.99
    with soundfile.SoundFile(path) as sound:
        assert sound.title == "Hallå" and sound.comment == "made by tts_fmseed 1"
        assert "tts_fm" in sound.software or format == "mp3"
    memory = io.BytesIO()
    audio.write_audio(memory, torch.from_numpy(wave), rate, format=format)
    again, _ = audio.read_audio(memory.getvalue())
    assert np.abs(again - audio.read_audio(path)[0]).max() < 1e-6


@pytest.mark.parametrize("rate", [24000, 48000])
def test_aac_is_read_back(rate: int, tmp_path: Path):
    """An ADTS stream begins with the encoder's delay of 1024 samples, ends with a whole frame, and has no metadata."""
    pytest.importorskip("av")
    wave, path = tone(rate=rate), tmp_path / "a.aac"
    audio.write_audio(path, wave, rate)
    got, own = audio.read_audio(path)
    assert own == rate and 1024 <= len(got) - len(wave) < 3 * 1024
    assert np.corrcoef(got[1024 : 1024 + len(wave)], wave)[0, 1] > 0.99


def test_streamed_wav_without_a_length_is_read(tmp_path: Path):
    """What ffmpeg and our own stdout write when they cannot go back to fill in the sizes."""
    memory = io.BytesIO()
    audio.write_audio(memory, tone(), RATE, "wav")
    data = bytearray(memory.getvalue())
    at = data.index(b"data") + 4
    data[4:8] = data[at : at + 4] = b"\xff\xff\xff\xff"
    assert np.abs(audio.read_audio(bytes(data), max_seconds=60)[0] - tone()).max() < 1e-4


def test_stereo_is_averaged_and_resampled(tmp_path: Path):
    left, right = tone(rate=48000), tone(rate=48000, hz=880)
    soundfile.write(tmp_path / "s.wav", np.stack([left, right], 1), 48000, subtype="FLOAT")
    wave, rate = audio.read_audio(tmp_path / "s.wav")
    assert rate == 48000 and np.allclose(wave, (left + right) / 2, atol=1e-6)
    got = audio.load(tmp_path / "s.wav")
    middle = slice(500, -500)
    assert np.abs(got[middle] - ((tone() + tone(hz=880)) / 2)[middle]).max() < 1e-3


def test_resample_keeps_tones_and_stops_aliases():
    for old, new in ((44100, 24000), (16000, 24000), (24000, 44101)):
        got = audio.resample(np.sin(2 * np.pi * 1000 * np.arange(old) / old), old, new)
        truth = np.sin(2 * np.pi * 1000 * np.arange(len(got)) / new)
        assert abs(len(got) - new) <= 1 and np.abs(got - truth)[1000:-1000].max() < 1e-3
    assert np.abs(audio.resample(tone(rate=48000, hz=15000), 48000, 24000))[500:-500].max() < 1e-3


def test_any_container_under_any_name(tmp_path: Path):
    audio.write_audio(tmp_path / "really.mp3", tone(), RATE)
    (tmp_path / "called.wav").write_bytes((tmp_path / "really.mp3").read_bytes())
    assert len(audio.read_audio(tmp_path / "called.wav")[0]) == RATE
    with open(tmp_path / "called.wav", "rb") as file:
        assert len(audio.read_audio(file)[0]) == RATE
        assert not file.closed


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("kind", ["WAV", "WAVEX"])
def test_plain_wav_kinds_are_read(subtype: str, kind: str, tmp_path: Path):
    soundfile.write(tmp_path / "a.wav", tone(), RATE, subtype=subtype, format=kind)
    assert np.abs(audio.read_audio(tmp_path / "a.wav")[0] - tone()).max() < 0.01


@pytest.mark.parametrize("subtype", ["GSM610"])
def test_other_wav_tags_are_refused_before_libsndfile(subtype: str, tmp_path: Path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", tone(), RATE, subtype=subtype, format="WAV")
    monkeypatch.setattr(soundfile, "SoundFile", None)
    with pytest.raises(ValueError, match="format tag 0x00.*give a WAV"):
        audio.read_audio(tmp_path / "a.wav")


BAD = {
    "empty": b"",
    "text": b"this is not audio at all, it is text",
    "riff of another kind": b"RIFF\x10\x00\x00\x00AVI LIST" + bytes(40),
    "wav header only": wav_header(1, 16, 0),
    "wav cut in its header": wav_header(1, 16)[:30],
    "two fmt chunks": wav_header(1, 16, fmts=2) + bytes(16),
    "12 bits": wav_header(1, 12) + bytes(16),
    "extensible with a foreign guid": wav_header(0xFFFE, 16, extra=struct.pack("<HHI", 22, 16, 4) + b"\x11" * 16)
    + bytes(16),
    "zero rate": wav_header(1, 16, rate=0) + bytes(16),
    "huge rate": wav_header(1, 16, rate=4_000_000_000) + bytes(16),
    "many channels": wav_header(1, 16, channels=500) + bytes(8000),
    "nan samples": wav_header(3, 32) + np.full(8, np.nan, "<f4").tobytes(),
    "flac magic only": b"fLaC" + bytes(100),
    "ogg magic only": b"OggS" + bytes(100),
    "mp3 sync then zeros": b"\xff\xfb\x90\x00" + bytes(100),
    "m4a": b"\x00\x00\x00\x20ftypM4A " + bytes(100),
    "webm": b"\x1aE\xdf\xa3" + bytes(100),
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_bad_files_get_one_line(name: str, tmp_path: Path):
    (tmp_path / "bad.wav").write_bytes(BAD[name])
    for source in (tmp_path / "bad.wav", BAD[name]):
        with pytest.raises(ValueError) as error:
            audio.read_audio(source)
        assert "\n" not in str(error.value) and len(str(error.value)) < 300


def test_missing_folder_and_nul(tmp_path: Path):
    for source in (tmp_path / "no.wav", tmp_path, "a\0b.wav"):
        with pytest.raises(ValueError, match="cannot read"):
            audio.read_audio(source)


def test_long_files_are_refused_by_their_header(monkeypatch):
    memory = io.BytesIO()
    audio.write_audio(memory, np.full(200 * 8000, 0.1, np.float32), 8000, "flac")
    monkeypatch.setattr(files, "_blocks", None)
    with pytest.raises(ValueError, match="200.0 s, the limit is 60.0 s"):
        audio.read_audio(memory.getvalue(), max_seconds=60)


def test_lying_header_is_counted_while_decoding():
    class Liar:
        def read(self, frames: int, **_):
            return np.zeros((frames, 1), np.float32)

    assert sum(len(b) for b in files._blocks(Liar(), 300_000)) == 300_001


def test_writing_refuses_and_leaves_nothing(tmp_path: Path, monkeypatch):
    path = tmp_path / "a.wav"
    for wave in (np.zeros(0), np.zeros((2, 10)), np.array([0.0, np.nan]), np.array([np.inf])):
        with pytest.raises(ValueError, match="wave"):
            audio.write_audio(path, wave, RATE)
    with pytest.raises(ValueError, match="xyz.*wav"):
        audio.write_audio(path, tone(), RATE, format="xyz")
    with pytest.raises(ValueError, match="xyz.*wav"):
        audio.write_audio(tmp_path / "a.xyz", tone(), RATE)
    with pytest.raises(ValueError, match="mood.*title"):
        audio.write_audio(path, tone(), RATE, metadata={"mood": "good"})
    for rate in (0, float("nan"), 24000.0, None):
        with pytest.raises(ValueError, match="rate"):
            audio.write_audio(path, tone(), rate)
    for bad in (tmp_path / "no" / "a.wav", Path("/proc/a.wav")):
        with pytest.raises(OSError, match="cannot write"):
            audio.write_audio(bad, tone(), RATE)
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(OSError, match="folder"):
        audio.write_audio(tmp_path / "folder.wav", tone(), RATE)
    (tmp_path / "folder.wav").rmdir()

    def full(*_):
        raise OSError(28, "No space left on device")

    path.write_bytes(b"old")
    monkeypatch.setattr(files, "_encode", full)
    with pytest.raises(OSError, match="No space left"):
        audio.write_audio(path, tone(), RATE)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.wav", b"old")]


def test_stale_part_that_is_a_link_is_not_followed(tmp_path: Path):
    (tmp_path / "precious").write_text("keep")
    (tmp_path / "a.wav.part").symlink_to(tmp_path / "precious")
    audio.write_audio(tmp_path / "a.wav", tone(), RATE)
    assert (tmp_path / "precious").read_text() == "keep" and len(audio.read_audio(tmp_path / "a.wav")[0]) == RATE
    assert not (tmp_path / "a.wav.part").is_symlink()


def test_loud_waves_are_limited_not_clipped():
    memory = io.BytesIO()
    audio.write_audio(memory, 4 * tone(), RATE, "wav")
    got, _ = audio.read_audio(memory.getvalue())
    assert 0.8 < np.abs(got).max() < 0.9  # -1 dB
    assert (np.abs(got) > 0.999 * np.abs(got).max()).mean() < 0.05  # rounded tops, no rail


def test_long_vorbis_does_not_crash():
    memory = io.BytesIO()
    audio.write_audio(memory, np.tile(tone(), 90), RATE, "ogg")
    assert len(audio.read_audio(memory.getvalue())[0]) == 90 * RATE


# --- loudness


def test_k_weighting_is_the_table_of_bs1770():
    table = [
        [1.53512485958697, -2.69169618940638, 1.19839281085285, 1, -1.69065929318241, 0.73248077421585],
        [1, -2, 1, 1, -1.99004745483398, 0.99007225036621],
    ]
    assert np.abs(levels._k_weighting(48000) - table).max() < 1e-9


@pytest.mark.parametrize("rate", [24000, 44100, 48000])
def test_full_scale_997_hz_is_minus_3_lufs(rate: int):
    wave = np.sin(2 * np.pi * 997 * np.arange(rate * 3) / rate)
    assert abs(audio.loudness(wave, rate) + 3.01) < 0.05
    assert abs(audio.loudness(0.1 * wave, rate) + 23.01) < 0.05


def test_gates_leave_pauses_out():
    """EBU Tech 3341, cases 3 and 4 in mono: quieter parts 10 LU below and silence do not count."""
    sine = np.sin(2 * np.pi * 1000 * np.arange(48000 * 20) / 48000)
    parts = [10 ** (db / 20) * sine[: 48000 * s] for db, s in ((-72, 5), (-36, 5), (-20, 20), (-36, 5), (-72, 5))]
    assert abs(audio.loudness(np.concatenate(parts), 48000) - audio.loudness(parts[2], 48000)) < 0.1
    assert audio.loudness(np.zeros(48000), 48000) == float("-inf")
    assert np.isfinite(audio.loudness(sine[:100], 48000))


def peak_db(wave: np.ndarray) -> float:
    return 20 * np.log10(np.abs(resample_poly(wave.astype(np.float64), 8, 1)).max())


@pytest.mark.parametrize("ceiling", [-1.0, -6.0, 0.0])
def test_true_peak_is_below_the_ceiling(ceiling: float):
    rng = np.random.default_rng(0)
    waves = [
        rng.standard_normal(RATE).astype(np.float32) * np.repeat(rng.random(10), RATE // 10).astype(np.float32),
        # peaks fall between samples
        np.sin(2 * np.pi * 6000 * np.arange(RATE) / RATE + np.pi / 4).astype(np.float32) * 1.3,
        np.eye(1, 999, 500, dtype=np.float32)[0] * 5,
        np.array([3.0], np.float32),
    ]
    for wave in waves:
        out = audio.limit(wave, RATE, ceiling)
        assert out.shape == wave.shape and out.dtype == np.float32
        assert peak_db(out) <= ceiling + 1e-4


def test_true_peak_does_not_depend_on_blocks():
    wave = np.random.default_rng(3).standard_normal((1 << 18) + 5000)
    fine = np.abs(resample_poly(wave, 8, 1))
    assert abs(audio.true_peak(wave).max() - fine.max()) < 1e-9
    for k in ((1 << 18) - 1, 1 << 18, (1 << 18) + 1):  # around the seam
        assert abs(audio.true_peak(wave)[k] - fine[8 * k - 8 : 8 * k + 8].max()) < 1e-9
    loud = fine[: 8 * len(wave)].reshape(-1, 8).max(1) > 2.5
    assert np.array_equal(audio.true_peak(wave, 1.0)[loud], audio.true_peak(wave)[loud])


def test_limiter_leaves_quiet_parts_alone():
    quiet = tone(peak=0.3)
    assert np.array_equal(audio.limit(quiet, RATE), quiet)
    mixed = np.concatenate([quiet, 3 * tone(0.2, peak=1), quiet])
    out = audio.limit(mixed, RATE)
    assert np.abs(out[:23000] / np.where(mixed[:23000] == 0, 1, mixed[:23000]) - (mixed[:23000] != 0)).max() < 0.01
    with pytest.raises(ValueError, match="ceiling"):
        audio.limit(quiet, RATE, float("nan"))


def test_normalise_loudness():
    for target in (-23.0, -16.0):
        assert abs(audio.loudness(audio.normalise_loudness(tone(2, peak=0.01), RATE, target), RATE) - target) < 0.05
    assert peak_db(audio.normalise_loudness(tone(), RATE, -3.0)) <= -1 + 1e-4
    assert not audio.normalise_loudness(np.zeros(100), RATE).any()
    with pytest.raises(ValueError, match="target"):
        audio.normalise_loudness(tone(), RATE, float("nan"))

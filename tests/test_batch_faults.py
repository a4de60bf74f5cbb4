"""Batches in which something goes wrong: bad items, a full disk, files of others, words that an ASR does not hear."""

from __future__ import annotations

import numpy as np
import pytest
from batch_toys import contents, items, never, place, records, tts, unbroken

from tts_fm.audio.files import read_audio
from tts_fm.batch.lists import read_list
from tts_fm.batch.rounds import BatchStopped, Options
from tts_fm.batch.run import run_batch
from tts_fm.synthesis import TTS


def failing(tts: TTS, monkeypatch, where: str, word: str):
    """Make the network fail for chunks with a word in them."""
    real = getattr(tts, where)

    def fail(jobs, *rest, **how):
        plans = [job.plan.text for job in jobs] if isinstance(jobs, list) else [jobs.text]
        if any(word in text for text in plans):
            raise RuntimeError(f"no memory for {word}")
        return real(jobs, *rest, **how)

    monkeypatch.setattr(tts, where, fail)


@pytest.mark.parametrize("where", ["plan", "speak"])
def test_a_failing_item_harms_no_other(where, place, tts, items, unbroken, monkeypatch):
    out = place / f"failing-{where}"
    with monkeypatch.context() as patch:
        failing(tts, patch, where, "bee")
        progress = run_batch(items, out, lambda: tts, Options(batch=3, format="flac"), "m")
        assert (progress.spoken, progress.failed, progress.exit_code) == (10, 2, 3)
        again = run_batch(items, out, never, Options(batch=3, format="flac"), "m")
        assert (again.skipped, again.failed, again.exit_code) == (10, 2, 3)
    told = {r["id"]: r for r in records(out)}
    assert (
        told["item5"]["status"] == "failed"
        and "no memory for bee" in told["item5"]["error"]
        and told["item5"]["file"] is None
    )
    for k in range(12):
        if k not in (5, 11):
            a, b = (read_audio(folder / f"item{k}.flac")[0] for folder in (unbroken, out))
            assert np.abs(a - b).max() <= 1e-4
    progress = run_batch(items, out, lambda: tts, Options(batch=3, format="flac", retry_failed=True), "m")
    assert (progress.skipped, progress.spoken, progress.failed, progress.exit_code) == (10, 2, 0, 0)


def test_fail_fast(place, tts, items, monkeypatch):
    failing(tts, monkeypatch, "plan", "e")
    progress = run_batch(items, place / "fast", lambda: tts, Options(batch=2, max_failures=1), "m")
    assert progress.failed == 1 and progress.exit_code == 3 and len(records(place / "fast")) < 12


def test_disk_full(place, tts, items, unbroken, monkeypatch):
    from tts_fm.synthesis import Speech

    real, out, calls = Speech.save, place / "full", []

    def save(self, path, format=None):
        calls.append(path)
        if len(calls) == 5:
            raise OSError(28, "No space left on device")
        return real(self, path, format)

    with monkeypatch.context() as patch:
        patch.setattr(Speech, "save", save)
        with pytest.raises(BatchStopped, match="run again"):
            run_batch(items, out, lambda: tts, Options(batch=3, format="flac", subtitles="srt"), "m")
    assert len(records(out)) == 4 and not list(out.glob("*.part"))
    run_batch(items, out, lambda: tts, Options(batch=3, format="flac", subtitles="srt"), "m")
    assert contents(out) == contents(unbroken)


def test_nothing_of_others_is_written_over(place, tts, items):
    out = place / "theirs"
    out.mkdir()
    (out / "item3.wav").write_bytes(b"dear to me")
    with pytest.raises(ValueError, match="item3.wav already"):
        run_batch(items, out, never, Options(), "m")
    assert [p.name for p in out.iterdir()] == ["item3.wav"]
    (place / "self.jsonl").write_text('{"id": "me", "text": "Hello.", "ref_audio": "me.wav"}')
    with pytest.raises(ValueError, match="voice's recording"):
        run_batch(read_list(place / "self.jsonl").items, place, never, Options(overwrite=True), "m")


def test_links_are_replaced_not_followed(place, tts, items):
    out, outside = place / "links", place / "outside.wav"
    out.mkdir()
    outside.write_bytes(b"keep")
    (out / "results.jsonl").touch()
    (out / "item0.wav").symlink_to(outside)
    (out / "item1.wav.part").symlink_to(outside)
    assert run_batch(items[:2], out, lambda: tts, Options(), "m").exit_code == 0
    assert outside.read_bytes() == b"keep" and not (out / "item0.wav").is_symlink()
    (out / "results.jsonl").unlink()
    (out / "results.jsonl").symlink_to(outside)
    with pytest.raises(ValueError, match="cannot write"):
        run_batch(items[:2], out, never, Options(overwrite=True), "m")


def test_verify_takes_the_best_seed(place, tts, items):
    heard = iter(["nothing", "hello", "hello there", "never asked"])
    listing = [item for item in items if item.id == "item1"]
    progress = run_batch(
        listing,
        place / "verify",
        lambda: tts,
        Options(verify=3),
        "m",
        transcribe=lambda: lambda wave, rate: next(heard),
    )
    (record,) = records(place / "verify")
    assert progress.exit_code == 0 and (record["tries"], record["wer"]) == (3, 0.0) and record["seed"] != 0
    assert next(heard) == "never asked" and "1.5 s of speech" in record["warnings"][-1]  # nothing about Whisper's words
    run_batch(
        listing, place / "deaf", lambda: tts, Options(verify=1), "m", transcribe=lambda: lambda wave, rate: "hello"
    )
    (record,) = records(place / "deaf")
    assert (record["status"], record["tries"], record["wer"], record["seed"]) == ("ok", 2, 0.5, 0)
    assert "50% of its words" in record["warnings"][-1]

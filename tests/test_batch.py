"""Batches with a tiny random model: exactness, and resuming after kills, in shards, and after changes."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections import Counter

import numpy as np
import pytest
from batch_toys import TEXTS, contents, items, never, place, records, tts, unbroken

from tts_fm import files
from tts_fm.audio.files import read_audio
from tts_fm.batch.lists import read_list
from tts_fm.batch.plan import rounds
from tts_fm.batch.rounds import Options
from tts_fm.batch.run import run_batch
from tts_fm.synthesis import TTS


def test_folder(unbroken, items):
    assert {p.name for p in unbroken.iterdir()} == {f"item{k}.{s}" for k in range(12) for s in ("flac", "srt")} | {
        "results.jsonl"
    }
    done = records(unbroken)
    assert [r["id"] for r in done] == [item.id for item in items] and {r["status"] for r in done} == {"ok"}
    for record in done:
        wave, rate = read_audio(unbroken / record["file"])
        assert rate == 24000 and record["seconds"] == round(len(wave) / rate, 3)
        assert record["bytes"] == (unbroken / record["file"]).stat().st_size
    assert len({(unbroken / f"item{k}.flac").read_bytes() for k in range(12)}) == 12  # the id is part of the seed


def test_same_as_say(place, tts, unbroken):
    """A batch with neighbours says what `say` says alone, to one step of 16 bits."""
    alone = tts.say(TEXTS[5], place / "me.wav", seed=1, item="item11").wave
    wave, _ = read_audio(unbroken / "item11.flac")
    assert np.abs(wave - alone).max() <= 1e-4


def test_rerun_does_nothing(items, unbroken):
    before = {p: p.stat().st_mtime_ns for p in unbroken.iterdir() if p.suffix != ".jsonl"}
    progress = run_batch(items, unbroken, never, Options(batch=3, format="flac", subtitles="srt"), "m")
    assert (progress.skipped, progress.spoken, progress.exit_code) == (12, 0, 0)
    assert before == {p: p.stat().st_mtime_ns for p in before}


def die_at(count: int) -> None:
    """From now on this process dies by kill -9 when something is written, renamed or recorded for the count-th time."""
    left = [count]

    def counted(real):
        def call(*args, **how):
            left[0] -= 1
            if left[0] <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **how)

        return call

    os.replace, os.write, files.write_bytes = map(counted, (os.replace, os.write, files.write_bytes))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked child")
def test_killed_at_any_moment(place, tts, items, unbroken):
    """Three kills -9, each at a write or rename chosen by a seed, leftovers of half-written files, then one run to the
    end: the same folder bit for bit.
    """
    out, options, draw = place / "killed", Options(batch=3, format="flac", subtitles="srt"), random.Random(11)
    done = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            try:
                die_at(draw.randrange(2, 25))
                run_batch(items, out, lambda: TTS(tts.engine), options, "m")  # one thread, which a fork keeps
            finally:
                os._exit(0)
        draw.random()  # the child's draw is its own
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL  # it died on its way
        done.append(len(records(out)) if (out / "results.jsonl").exists() else 0)
    assert done == sorted(done) and 0 < done[-1] < 12
    for name in ("item0.flac.part", "item1.srt.part", "results.jsonl.part"):
        (out / name).write_bytes(b"half")
    with open(out / "results.jsonl", "ab") as file:
        file.write(b'{"id": "item3", "sta')
    (out / "mine.part").write_bytes(b"not ours")
    assert run_batch(items, out, lambda: tts, options, "m").exit_code == 0
    left = contents(out)
    assert left.pop("mine.part") == b"not ours"
    assert left == contents(unbroken) and records(out) == records(unbroken)


@pytest.mark.parametrize("done", [0, 1, 5, 11])
def test_killed_after(done, place, tts, items, unbroken):
    """Whatever was done before, what comes after is the same."""
    out, options = place / f"after{done}", Options(batch=3, format="flac", subtitles="srt")
    out.mkdir()
    lines = (unbroken / "results.jsonl").read_bytes().splitlines(keepends=True)[:done]
    (out / "results.jsonl").write_bytes(b"".join(lines))
    for line in lines:
        for suffix in ("flac", "srt"):
            name = f"{json.loads(line)['id']}.{suffix}"
            (out / name).write_bytes((unbroken / name).read_bytes())
    progress = run_batch(items, out, lambda: tts, options, "m")
    assert (progress.skipped, progress.spoken) == (done, 12 - done) and contents(out) == contents(unbroken)


def test_shards(place, tts, items, unbroken):
    for index in (0, 1):
        run_batch(
            items,
            place / "shards",
            lambda: tts,
            Options(batch=3, format="flac", subtitles="srt", shard=(index, 2)),
            "m",
        )
    assert contents(place / "shards") == contents(unbroken)
    both = records(place / "shards", "results.0-of-2.jsonl") + records(place / "shards", "results.1-of-2.jsonl")
    assert sorted(both, key=lambda r: r["id"]) == sorted(records(unbroken), key=lambda r: r["id"])
    # seen by a whole run
    assert (
        run_batch(items, place / "shards", never, Options(batch=3, format="flac", subtitles="srt"), "m").skipped == 12
    )


def test_other_batch_size(place, tts, items, unbroken):
    run_batch(items, place / "other", lambda: tts, Options(batch=12, format="flac"), "m")
    for k in range(12):
        a, b = (read_audio(folder / f"item{k}.flac")[0] for folder in (unbroken, place / "other"))
        assert len(a) == len(b) and np.abs(a - b).max() <= 1e-4


def test_rounds_depend_on_nothing_but_the_list(items):
    mixed = random.Random(1).sample(items, len(items))
    assert [[i.id for i in r] for r in rounds(items, 4)] == [[i.id for i in r] for r in rounds(mixed, 4)]
    assert (
        Counter(i.id for r in rounds(items, 5) for i in r) == Counter(i.id for i in items)
        and max(map(len, rounds(items, 5))) == 5
    )


def test_what_is_done_again(place, tts, items, unbroken):
    """A changed text, parameter, recording, model or format, a missing or cut file: exactly that is spoken again."""
    out, options = place / "again", Options(batch=3)
    run_batch(items, out, lambda: tts, options, "m")
    spoken = []

    def redo(items=items, options=options, model="m", out=out):
        spoken.clear()
        run_batch(items, out, lambda: tts, options, model, lambda p, r: spoken.append(r["id"]) if r else None)
        return sorted(spoken)

    assert redo() == []
    (out / "item4.wav").unlink()
    (out / "item5.wav").write_bytes(b"RIFF")
    assert redo() == ["item4", "item5"]
    (place / "changed.jsonl").write_text(
        (place / "list.jsonl").read_text().replace('"item7", "text": "Hello', '"item7", "text": "Hullo')
    )
    assert redo(read_list(place / "changed.jsonl").items) == ["item7"]
    assert len(redo(model="another")) == 12
    assert len(redo(options=Options(batch=3, overwrite=True), model="another")) == 12


def test_stop_finishes_the_round(place, tts, items, unbroken):
    stop = threading.Event()
    progress = run_batch(items, place / "stop", lambda: tts, Options(batch=3, format="flac", subtitles="srt"), "m",
                   lambda p, r: stop.set() if r else None, stop)  # fmt: skip
    assert progress.exit_code == 130 and progress.spoken == 3
    assert contents(place / "stop").items() <= contents(unbroken).items()


def test_two_runs_at_once_are_refused(place, tts, items):
    def within(progress, record):
        if record is None:
            with pytest.raises(ValueError, match="another run"):
                run_batch(items, place / "twice", never, Options(), "m")

    assert run_batch(items[:2], place / "twice", lambda: tts, Options(), "m", within).exit_code == 0


@pytest.mark.parametrize("format", ["wav", "mp3", "opus", "ogg"])
def test_formats_repeat(format, place, tts, items):
    for name in ("one", "two"):
        run_batch(items[:2], place / f"{format}-{name}", lambda: tts, Options(format=format), "m")
    assert (
        contents(place / f"{format}-one") == contents(place / f"{format}-two")
        and len(contents(place / f"{format}-one")) == 2
    )


def test_several_voices_in_one_text(place, tts):
    (place / "f5.toml").write_text(
        'ref_audio = "me.wav"\ngen_text = "One. [two] Two. [main] Three."\noutput_file = '
        '"play.wav"\n[voices.two]\nref_audio = "me.wav"\n'
    )
    assert (
        run_batch(
            read_list(place / "f5.toml").items, place / "play", lambda: tts, Options(subtitles="vtt"), "m"
        ).exit_code
        == 0
    )
    (record,) = records(place / "play")
    cues = (place / "play" / "play.vtt").read_text()
    assert record["chunks"] == 3 and [cues.count(w) for w in ("One.", "Two.", "Three.")] == [1, 1, 1]
    starts = [line.split(" --> ")[0] for line in cues.splitlines() if "-->" in line]
    assert starts == sorted(starts) and len(set(starts)) == 3

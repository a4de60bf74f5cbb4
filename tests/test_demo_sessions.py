"""What stays with a visitor while the page is open: sound that is heard while it is spoken, takes to compare."""

from __future__ import annotations

import html
import json
import os
import re
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import soundfile
from demo_toys import speech_like

from tts_fm.demo import sessions
from tts_fm.demo.sessions import FieldError, History, Sessions, at_field


@pytest.fixture
def own(tmp_path: Path) -> Sessions:
    return Sessions(tmp_path / "sessions")


def sounds(shown: str) -> list[tuple[Path, float]]:
    """Files and pauses that the player is told of."""
    found = json.loads(html.unescape(re.search('data-sounds="([^"]*)"', shown)[1]))
    return [(Path(unquote(where.removeprefix("gradio_api/file="))), pause) for where, pause in found]


def test_pieces_are_told_in_order_with_their_pauses(own, tmp_path):
    live = own.live("s", "clone")
    assert 'data-ended="0"' in live.html() and sounds(live.html()) == []
    waves = [speech_like(0.2), speech_like(0.3)]
    live.add(waves[0])
    live.add(waves[1], 0.5)
    soundfile.write(tmp_path / "whole.flac", waves[0], 24_000)
    live.add_file(tmp_path / "whole.flac", 0.2, 1.0)
    (tmp_path / "whole.flac").unlink()  # the session has its own
    told = sounds(live.html(ended=True))
    assert [pause for _, pause in told] == [0.0, 0.5, 1.0] and 'data-ended="1"' in live.html(ended=True)
    for (file, _), wave in zip(told, [*waves, waves[0]], strict=True):
        heard, rate = soundfile.read(file)
        assert rate == 24_000 and np.abs(heard - wave).max() < 1e-4


def test_only_the_newest_are_told_by_their_number(own, monkeypatch):
    monkeypatch.setattr(sessions, "TOLD", 3)
    live = own.live("s", "book")
    for _ in range(5):
        live.add(speech_like(0.1))
    shown = live.html()
    assert 'data-first="2"' in shown and [file.stem for file, _ in sounds(shown)] == ["00002", "00003", "00004"]


def test_pieces_are_wanted_until_the_sound_is_far_ahead(own, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(sessions.time, "monotonic", lambda: now[0])
    live = own.live("s", "book")
    assert live.early
    live.add(speech_like(20))
    assert live.early
    live.add(speech_like(20))
    assert not live.early
    now[0] += 15  # of the forty seconds fifteen are heard
    assert live.early


def test_a_new_request_and_the_end_of_a_session_remove_the_sound(own):
    live, other = own.live("s", "clone"), own.live("t", "clone")
    live.add(speech_like(0.1))
    other.add(speech_like(0.1))
    second, book = own.live("s", "clone"), own.live("s", "book")
    assert not live.folder.exists() and second.folder.exists() and book.folder.exists()
    own.leave("s")
    own.leave("nobody")
    assert not second.folder.exists() and sounds(other.html())[0][0].is_file()
    os.utime(other.folder.parent, (1, 1))
    own.live("new", "clone")
    assert not other.folder.exists()  # nobody has used it for a day


def test_takes_are_kept_compared_and_bounded(own, tmp_path, monkeypatch):
    monkeypatch.setattr(sessions, "TAKES", 2)
    file, past = tmp_path / "a.wav", History()
    soundfile.write(file, speech_like(0.1), 24_000)
    assert past.html() == ""
    past = own.keep("s", past, file, "<b>One</b> " * 30, ["ann", "seed 0"])
    assert "Play A" not in past.html() and "<b>" not in past.html() and "ann, seed 0" in past.html()
    first = past.takes[0].file
    for text in ("Two.", "Three."):
        past = own.keep("s", past, file, text, ["bob"])
    shown = past.html()
    assert [take.number for take in past.takes] == [2, 3] and not first.exists()
    assert shown.count("<audio") == 2 and shown.index("Three.") < shown.index("Two.")
    chosen = re.findall(r'name="tts-side-(.)" value="[^"]*take-(\d)\.wav"[^>]* checked', shown)
    assert sorted(chosen) == [("A", "2"), ("B", "3")]  # the one before against the newest


def test_errors_know_their_field():
    with pytest.raises(FieldError, match="wrong") as caught, at_field("text"):
        raise ValueError("wrong")
    assert caught.value.field == "text"
    with pytest.raises(FieldError) as caught, at_field("text"), at_field("voice"):
        raise ValueError("wrong")
    assert caught.value.field == "voice"  # the inner one knows better

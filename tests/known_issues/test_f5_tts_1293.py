"""SWivid/F5-TTS#1293: a project's name that a visitor typed became a path, so that files were written anywhere.

Here names of voices and ids of lists are checked before anything is written; none leaves its folder.
"""

from __future__ import annotations

import pytest

from tts_fm.batch.ids import check_id
from tts_fm.voices.stored import add_voice

BAD = ["/tmp/evil", "../evil", "a/../../evil", "a\\b", "evil\0", ".."]


@pytest.mark.parametrize("name", BAD)
def test_a_name_is_no_path(name: str, tmp_path, monkeypatch):
    monkeypatch.setenv("TTS_FM_HOME", str(tmp_path / "home"))
    assert check_id(name) is not None
    with pytest.raises(ValueError, match="name|called|voice"):
        add_voice(name, "nova")
    assert not list(tmp_path.rglob("*evil*"))

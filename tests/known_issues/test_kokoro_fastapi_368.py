"""remsky/Kokoro-FastAPI#368: subtitles held the words as they were spoken ("forty", "sixty"), so that they could not
be found in the text that a reader sees ("40-60°C").

Here subtitles show the text as it was written, with the times of what is heard.
"""

from __future__ import annotations

from tts_fm.text.subtitles import subtitles


def test_subtitles_show_what_was_written(tts):
    text = "Heat it to 40-60°C for Dr. Li."
    chunks = list(tts.stream(text, steps=1))
    written, spoken = (subtitles(chunks, "srt", shown) for shown in (text, None))
    assert "40-60°C" in " ".join(written.split()) and "Dr. Li." in " ".join(written.split())
    assert "forty to sixty degrees Celsius" in spoken and "°C" not in spoken

"""SWivid/F5-TTS#876 (also #903): several short texts with the same reference and settings came out at different
speeds.

Here the time of a phone differs between them by less than a half.
"""

from __future__ import annotations

from tts_fm.synthesis import Request

TEXTS = ["It is late.", "Where is the key?", "We met by chance.", "Nobody was there.", "The rain has stopped."]


def test_short_texts_are_equally_fast(tts):
    jobs = [job for text in TEXTS for job in tts.plan(Request(text, "george"))]
    pace = [sum(job.durations[2:-1]) / len(job.plan.units) for job in jobs]  # frames, without the silence around
    assert len(jobs) == len(TEXTS) and max(pace) < 1.5 * min(pace)

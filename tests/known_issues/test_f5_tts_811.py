"""SWivid/F5-TTS#811 (also #470, #597, #850): the longer the text, the faster it was spoken, until it could not be
understood: two seconds for 42 characters and for 374.

Here a long text is more chunks, each as fast as the first.
"""

from __future__ import annotations

from tts_fm.synthesis import Request

SENTENCE = "The old man walked slowly down to the grey sea and waited for the boat. "


def test_pace_does_not_depend_on_the_length_of_a_text(tts):
    one, many = (tts.plan(Request(SENTENCE * count, "nova")) for count in (1, 12))
    pace = sum(job.frames - len(job.prompt) for job in one) / len(SENTENCE)
    assert sum(job.frames - len(job.prompt) for job in many) / len(SENTENCE * 12) > 0.9 * pace
    assert len(many) > 3 and max(job.frames - len(job.prompt) for job in many) < 16 * 94

"""kyutai-labs/pocket-tts#38: parts of a long sentence were left out ("it was the age of foolishness").

Here every word of it is in the plan, in order, with time of its own.
"""

from __future__ import annotations

from tts_fm.synthesis import Request

TALE = (
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness, "
    "it was the epoch of belief, it was the epoch of incredulity, it was the season of Light, it was the season of "
    "Darkness, it was the spring of hope, it was the winter of despair, we had everything before us, we had nothing "
    "before us, we were all going direct to Heaven, we were all going direct the other way."
)


def test_no_part_of_a_long_sentence_is_left_out(tts):
    jobs = tts.plan(Request(TALE, "nova"))
    assert " ".join(job.plan.text for job in jobs).split() == TALE.split()
    assert all(frames > 0 for job in jobs for frames in job.durations[1:])

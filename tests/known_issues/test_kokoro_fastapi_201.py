"""remsky/Kokoro-FastAPI#201 (also #369; hexgrad/kokoro#302): phones given in the text were read out as brackets and
slashes.

Here they are phones, wherever they stand, and normalising around them does not touch them.
"""

from __future__ import annotations

from tts_fm.synthesis import Request


def test_phones_in_the_text_are_phones(tts):
    (job,) = tts.plan(Request("It cost $3, said [bla bla](/ðɪs ɪz ɐ tˈɛst/).", "nova"))
    said = "".join(job.plan.units)
    assert "ðɪs ɪz ɐ tˈɛst" in said and "/" not in job.plan.text and "slash" not in job.plan.text
    assert "three dollars" in job.plan.text and job.plan.text.endswith("said bla bla.")

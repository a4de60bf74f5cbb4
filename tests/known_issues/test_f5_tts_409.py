"""SWivid/F5-TTS#409 (also #121, #1103): digits, times and sums were rushed or misread, since no text was normalised.
remsky/Kokoro-FastAPI#259: "3,497" was read as "thirty four ninety seven".

Here they are words before the model sees them.
"""

from __future__ import annotations

import pytest

from tts_fm.text.normalise import normalise


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("3,497 people", "three thousand four hundred ninety-seven people"),
        ("999 people", "nine hundred ninety-nine people"),
        ("$99,070.01", "ninety-nine thousand seventy dollars and one cent"),
        ("at 9:30 PM", "at nine thirty P M"),
        ("$5.3 billion", "five point three billion dollars"),
    ],
)
def test_numbers_are_words(written: str, said: str):
    plain = normalise(written).lower().replace("-", " ").replace(" and ", " ").replace(".", "")
    assert plain.split() == said.lower().replace("-", " ").replace(" and ", " ").split()

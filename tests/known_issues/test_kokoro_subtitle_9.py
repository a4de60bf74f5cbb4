"""NeuralFalconYT/Kokoro-TTS-Subtitle#9: after minutes, subtitles and audio drifted apart, because silence between
chunks was not counted.

Here a word's time is counted in samples of what is heard, pauses included.
"""

from __future__ import annotations

import pytest


def test_words_of_late_chunks_lie_in_their_chunk(tts):
    text = "It rains. <break 2s> It snows. <break 0.7s> The wind has dropped. <break 3s> Stars."
    samples = 0
    for chunk in tts.stream(text, steps=1):
        begin, end = (samples + chunk.pause) / 24_000, (samples + chunk.samples) / 24_000
        assert chunk.start == pytest.approx(samples / 24_000, abs=1e-6)
        assert all(begin <= word.start <= word.end <= end + 0.01 for word in chunk.words)
        samples += chunk.samples
    assert samples > 5.7 * 24_000

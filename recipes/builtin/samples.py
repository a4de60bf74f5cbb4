"""Speech of the built-in voice for people to hear: ten sentences in two voices, docs/samples/VOICE-NN.mp3.

    python recipes/builtin/samples.py docs/samples

Writes the prompts (VOICE-prompt.mp3), some ten seconds of a story (VOICE-ten.mp3) and index.md, which says what is
spoken where. The same command gives the same speech.
"""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path

from tts_fm import TTS, __version__
from tts_fm.audio.files import write_audio
from tts_fm.audio.mel import SAMPLE_RATE

VOICES = ("nova", "george")
SENTENCES = (
    "The kettle had been singing for a minute before anyone noticed.",
    "Did you really walk here from the harbour in this rain?",
    "Seventeen swallows sat on the wire, and none of them moved.",
    "Please leave your umbrella at the door; the floor has just been waxed.",
    "It cost $4.50 in 1998, and $12.75 last Thursday.",
    "What a splendid, ridiculous, wonderful idea!",
    "Doctor Marsh lives at 221 Baker St., on the second floor.",
    '"Not yet," she whispered, "but ask me again tomorrow."',
    "After the storm the lake lay perfectly still, as if nothing had happened, and the boats came out one by one.",
    "Wait. Listen. Can you hear it?",
)


STORY = (
    "At the end of the pier a lamp was still burning. Somebody had forgotten it, or had hoped that one more boat would "
    "come home. We waited until the tide turned."
)


def texts() -> list[tuple[str, str]]:
    """What is spoken, and what its file is called."""
    return [(STORY, "ten"), *((text, f"{number:02d}") for number, text in enumerate(SENTENCES, start=1))]


def page(voices: list[str]) -> str:
    """index.md: the texts, and the files in which they are heard."""
    about = f"Spoken by the built-in voice of tts_fm {__version__} with all settings at their defaults:"
    made = (
        "`python recipes/builtin/samples.py docs/samples`. The first of all is the prompt that each voice is made from."
    )
    lines = ["# Samples", "", *textwrap.wrap(f"{about} {made}", 118)]
    for text, name in [("The prompt.", "prompt"), *texts()]:
        links = ", ".join(f"[{voice}]({voice}-{name}.mp3)" for voice in voices)
        lines += ["", *textwrap.wrap(text, 118), "", f"- {links}"]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--voices", nargs="+", default=list(VOICES))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    tts = TTS.load()
    for voice in args.voices:
        write_audio(args.out / f"{voice}-prompt.mp3", tts.voice(voice).wave, SAMPLE_RATE)
        for text, name in texts():
            speech = tts.say(text, voice=voice)
            speech.save(args.out / f"{voice}-{name}.mp3")
            print(f"{voice}-{name}.mp3: {speech.seconds:.1f} s", flush=True)
    (args.out / "index.md").write_text(page(args.voices), encoding="utf-8")


if __name__ == "__main__":
    main()

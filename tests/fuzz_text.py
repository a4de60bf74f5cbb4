"""Random strings through the normaliser: `python tests/fuzz_text.py [COUNT] [SEED]` looks for exceptions, digits that
are left, and strings that take long.
"""

from __future__ import annotations

import random
import sys
import time

from tts_fm.text.normalise import normalise

PIECES = (
    "$ £ € ₹ ₺ 1 2 05 12 100 1999 2024 1,234 3.14 1.234,56 29,99 "
    "1e5 0x1F 5k 1.5M 2nd : / - – — . , ; ! ? ( ) [ ]"
    " { } < > = + * ** ^ "
    "_ ~ ` ``` # @ & && || % ° ' \" \\ "
    "| a b A I V X IV XIX MCM St. Dr. No. Mr. e.g. etc. am p.m. AM pm h m s min hr km kg m/s GB μL "
    "m² ft in. Jan Mon Mon-Fri 5/1 12/25 10:30 1:30:00 T Z http:// www. a.b x.py /usr/bin C:\\ <b> </p> <3 &amp; "
    "[1] [a](b) $x$ \\frac{1}{2} "
    "É ß ř 你好 Привет مرحبا ราคา 😀 \u200b \ud800 ½ ² ① ٣ "
    "WHO NASA IDs PhDs AT&T NaCl TELL US the and \n \n\n - - "
).split(" ")


def text(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.3:
        return "".join(chr(rng.randrange(32, 0x3000 if kind < 0.15 else 0x110000)) for _ in range(rng.randrange(1, 80)))
    joint = "" if kind < 0.65 else " "
    return joint.join(rng.choice(PIECES) for _ in range(rng.randrange(1, 30)))


def main(count: int, seed: int) -> int:
    rng = random.Random(seed)
    faults, slowest = 0, (0.0, "")
    began = time.perf_counter()
    for _ in range(count):
        written = text(rng)
        start = time.perf_counter()
        for lang in ("en-us", "en-gb"):
            try:
                said = normalise(written, lang)
            except Exception as error:
                faults += 1
                print(f"{error!r} in {written!r}")
                continue
            if any(char.isdigit() for char in said):
                faults += 1
                print(f"a digit is left of {written!r}: {said!r}")
        slowest = max(slowest, ((time.perf_counter() - start) / (len(written) + 20), written))
    print(
        f"{count:,} strings, {faults} faults, {time.perf_counter() - began:.0f} s; slowest "
        f"{slowest[0] * 1e6:.0f} us a character"
    )
    return 1 if faults else 0


if __name__ == "__main__":
    arguments = [int(argument) for argument in sys.argv[1:]]
    sys.exit(main(*arguments, *[60_000, 0][len(arguments) :]))

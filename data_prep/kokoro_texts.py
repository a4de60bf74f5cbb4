"""Short texts of the kinds that books lack: a word or two, questions, lists, numbers, spelled letters, dialogues.

Every text is drawn from a generator of the caller's and is made of plain words, as `normalise` leaves them.
"""

from __future__ import annotations

import random

from tts_fm.text.normalise import normalise

THINGS = (
    "the window|my umbrella|our ticket|the garden|bread|music|her coat|their house|the radio|cold water|a green apple|"
    "the letter|his violin|an old map|the kitchen|some rice|your phone|a wooden chair|the engine|paint|the bridge|"
    "the pencil|the measure|pure gold|a joke|the weather|enough time|the other shoe|a sharp knife|the usual tour"
).split("|")
PEOPLE = "Alice Henry Clara Victor Rosa David Wendy Sam Laura Jack George Yusuf Priya Chen Thomas Ruth".split()
DOINGS = "open watch describe forget remember measure share close paint follow choose judge throw hear join".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
PLACES = "Paris|London|the office|the station|Chicago|the village|school|the north|Dublin|the third floor".split("|")
SHORT = (
    "Yes.|No.|Please.|Thanks.|Stop!|Help!|Why?|When?|Really?|Who?|Hello.|Hello!|Goodbye.|Wait!|Now.|Never!|Always.|"
    "Perhaps.|Right.|Sure.|Okay.|Well?|Good.|Great!|Quiet!|Sorry.|Welcome.|Enough!|Nothing.|Today?|Tomorrow.|Look!|"
    "Of course.|Not yet.|Come here!|Good night.|Good morning!|Thank you.|What now?|Which one?|How much?|Go on.|"
    "Over there.|I agree.|You first.|Well done!|No way!|At last!|Be careful!|Who knows?|Try again.|All right.|"
    "That is it.|How are you?|Are you sure?|I think so.|Not at all.|Leave me alone!|Where are we?|See you soon."
).split("|")
SENTENCES = (
    "Hello, {p}.", "Good morning, {p}!", "{d}.", "No, {p} could not {v} {t}.", "Yes, I will {v} {t} on {d}.",
    "Where is {t}?", "Did you {v} {t}?", "{p}, please {v} {t}.", "Never {v} {t}!", "Is {p} in {l}?", "{p} is late!",
    "What a day, {p}!", "Can {p} and {q} {v} {t}?", "We leave {l} on {d}.", "Who will {v} {t}?",
)  # fmt: skip
LISTS = (
    "{t}, {u} and {w}.", "I need {t}, {u}, {w}, and {x}.", "{p}, {q}, and {r}.", "{d}, {e}, or {f}?",
    "First, {v} {t}; second, {y} {u}; third, {z} {w}.", "{n}, {m}, {k}.",
)  # fmt: skip
NUMBERS = (
    "It is {n} {m}.", "{p} paid ${a} for {t}.", "It costs ${b}.{c}.", "The year was {year}.",
    "On {month} {day}, {year}.",
    "Room {big}, {l}.", "At {hour}:{minute}, please.", "About {a}.{digit} percent.", "{big} people live in {l}.",
    "{a} times {b} is {ab}.", "{p} was born in {year}.", "The {day}th of {month}?",
)  # fmt: skip
LETTERS = (
    "{A}, {B}, {C}.", "{A} {B} {C}.", "The code is {A}, {n}, {B}, {m}.", "Gate {A} {small}.",
    "{p} spells it {A}, {B}, {C}, {D}.",
    "Plan {A} or plan {B}?", "Vitamin {A}.", "Take line {A} to {l}.",
)  # fmt: skip
DIALOGUES = (
    '"Where is {t}?" asked {p}. "In {l}," said {q}.', '"Stop!" cried {p}.', '"{d}?" "No, {e}."',
    '"Did you {v} {t}?" "Not yet," {p} said.', '{p} smiled. "Why not?"', '"Yes," said {p}, "but who will {v} {t}?"',
)  # fmt: skip
TEENTHS = (4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 24, 25, 26, 27, 28, 29, 30)


def _words(draw: random.Random) -> dict[str, object]:
    a, b = draw.randint(2, 99), draw.randint(2, 12)
    return {
        **dict(zip("pqr", draw.sample(PEOPLE, 3), strict=True)),
        **dict(zip("vyz", draw.sample(DOINGS, 3), strict=True)),
        **dict(zip("tuwx", draw.sample(THINGS, 4), strict=True)),
        **dict(zip("def", draw.sample(DAYS, 3), strict=True)),
        **dict(zip("ABCD", draw.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=4), strict=True)),
        **{name: normalise(str(draw.randint(0, 99))) for name in "nmk"},
        **{"a": a, "b": b, "ab": a * b, "c": draw.randint(10, 99), "l": draw.choice(PLACES)},
        **{"year": draw.randint(1066, 2049), "month": draw.choice(MONTHS), "day": draw.choice(TEENTHS)},
        **{"big": draw.randint(100, 9999), "hour": draw.randint(1, 12), "minute": draw.randint(10, 59)},
        **{"small": draw.randint(1, 40), "digit": draw.randint(1, 9)},
    }


KINDS: dict[str, tuple[int, tuple[str, ...] | list[str]]] = {  # a kind's weight, its forms
    "short": (5, SHORT),
    "sentence": (4, SENTENCES),
    "list": (3, LISTS),
    "number": (3, NUMBERS),
    "letters": (2, LETTERS),
    "dialogue": (3, DIALOGUES),
}


def short_text(draw: random.Random) -> tuple[str, str]:
    """(text, its kind)."""
    weights = [weight for weight, _ in KINDS.values()]
    kind = draw.choices(list(KINDS), weights)[0]
    text = " ".join(normalise(draw.choice(KINDS[kind][1]).format(**_words(draw))).split())
    first = next(place for place, char in enumerate(text) if char.isalpha())
    return text[: first + 1].upper() + text[first + 1 :], kind

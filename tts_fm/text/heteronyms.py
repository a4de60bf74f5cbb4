"""Words of one spelling and two pronunciations, told apart by the words around them: "I read it yesterday", "lead
pipe".

`readings` looks at the four words around each and names the reading, or leaves it to espeak, whose own grammar is
right for "to record" and "the record". Rules name nouns, verbs and neighbours; they hold for the cases that people
write most, and where they are not sure they say nothing. Phones come from a word or phrase that espeak says the
wanted way (SAID_AS), so they have the accent of the voice.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

DETERMINERS = frozenset(
    "a an the this that these those my your his her its our their some any no every each another one which whose what "
    "many several other both all".split()
)
_OBJECTS = frozenset(
    "the a an this that these those my your his her its our their it him them us me you all some any".split()
)
_SUBJECTS = frozenset("i you we they who he she it people".split())
_MODALS = frozenset(
    "to will would can could should must may might shall do does did don't doesn't didn't won't wouldn't can't "
    "couldn't cannot "
    "shouldn't not never please let's i'll you'll we'll they'll he'll she'll i'd you'd we'd they'd "
    "always often usually and".split()
)
_BE = frozenset(
    "am is are was were be been being i'm you're we're they're he's she's it's isn't aren't wasn't weren't".split()
)
_HAVE = frozenset("have has had having i've you've we've they've hasn't haven't hadn't he'd she'd".split())
_DEGREE = frozenset("very so too quite as how more less really fairly pretty perfectly".split())
_PAST = frozenset(
    "yesterday ago last already earlier previously once then recently when was were had did said told went".split()
)
_PREPOSITIONS = frozenset("of in on for with by at from into under about without through".split())
_PLACES = frozenset(
    "in at with here there near on by forever alone together under among next abroad longer for".split()
)


class Around(NamedTuple):
    """A word with its neighbours, in small letters; "" beyond the ends of the sentence."""

    word: str
    p2: str
    p1: str
    n1: str
    n2: str
    sentence: frozenset[str]
    capital: bool  # of the word
    named: bool  # the word before begins with a capital and is not the first


#: how espeak is made to say a reading: a phrase whose last word sounds so, or /phones/ (en-us, en-gb)
SAID_AS: dict[tuple[str, str], str] = {
    ("read", "past"): "red", ("lead", "metal"): "led", ("leads", "metal"): "leds", ("tear", "rip"): "tare",
    ("tear", "eye"): "tier", ("tears", "rip"): "tares", ("bow", "bend"): "bough", ("bows", "bend"): "boughs",
    ("bow", "knot"): "beau", ("live", "adjective"): "lyve", ("live", "verb"): "I will live",
    ("lives", "verb"): "she livz", ("lives", "noun"): "nine lyves", ("wind", "verb"): "wined",
    ("winds", "verb"): "wineds", ("close", "verb"): "I will close", ("close", "adjective"): "kloce",
    ("use", "noun"): "yooss", ("use", "verb"): "I will use", ("uses", "noun"): "yooses", ("uses", "verb"): "yoozes",
    ("minute", "adjective"): "/ma͡ɪnˈuːt/ma͡ɪnjˈuːt/", ("content", "adjective"): "/kəntˈɛnt/",
    ("object", "verb"): "I will object", ("dove", "verb"): "doave", ("bass", "fish"): "/bˈæs/",
    ("row", "quarrel"): "/ɹˈa͡ʊ/", ("sow", "pig"): "/sˈa͡ʊ/", ("wound", "verb"): "wowned",
    ("refuse", "noun"): "the refuse", ("produce", "noun"): "/pɹˈo͡ʊduːs/pɹˈɒdjuːs/",
    ("excuse", "verb"): "/ɛkskjˈuːz/",
    ("subject", "verb"): "/səbd͡ʒˈɛkt/", ("import", "noun"): "/ˈɪmpɔː͡ɹt/ˈɪmpɔːt/",
    ("refund", "noun"): "/ɹˈiːfʌnd/",
    ("upset", "noun"): "/ˈʌpsɛt/", ("resume", "noun"): "/ɹˈɛzʊmˌe͡ɪ/",
    ("associate", "noun"): "/ɐsˈo͡ʊʃɪət/ɐsˈə͡ʊʃɪət/", ("advocate", "noun"): "/ˈædvəkət/ˈadvəkət/",
    ("duplicate", "noun"): "/dˈuːplᵻkət/djˈuːplɪkət/", ("invalid", "noun"): "/ˈɪnvəlɪd/",
    ("used", "custom"): "/jˈuːst/", ("used", "verb"): "/jˈuːzd/",
    ("decrease", "verb"): "/dᵻkɹˈiːs/dɪkɹˈiːs/",
    ("insult", "verb"): "/ɪnsˈʌlt/", ("winds", "noun"): "/wˈɪndz/",
}  # fmt: skip
_NOUN_OR_VERB = (  # espeak knows both readings; rules here help its grammar
    "record present desert project permit conduct contract contrast increase progress protest rebel suspect "
    "transport update "
    "conflict convict export extract house abuse separate estimate graduate deliberate moderate survey transfer perfect"
).split()
for _word in _NOUN_OR_VERB:
    SAID_AS[_word, "noun"] = f"the {_word}"
    SAID_AS[_word, "verb"] = f"I will {_word}"


def readings(text: str) -> list[tuple[str, str]]:
    """(word, reading) for each word of `text` that has a choice, in order; the reading is "" where espeak decides."""
    found: list[tuple[str, str]] = []
    if not _ANY.search(text):
        return found
    for sentence in re.split(r"(?<=[.!?;:])[\"')]?\s|\n", text):
        tokens = re.findall(r"[A-Za-z]+(?:['’][A-Za-z]+)?", sentence)
        small = [token.lower().replace("’", "'") for token in tokens]
        every = frozenset(small)
        for n, word in enumerate(small):
            if word in _RULES:
                p2, p1, n1, n2 = (small[k] if 0 <= k < len(small) else "" for k in (n - 2, n - 1, n + 1, n + 2))
                named = n > 1 and tokens[n - 1][:1].isupper() and tokens[n - 1] != "I"
                found.append((word, _RULES[word](Around(word, p2, p1, n1, n2, every, tokens[n][0].isupper(), named))))
    return found


def _acts(a: Around) -> bool:
    """Whether the word stands where a verb does."""
    if a.p1 in DETERMINERS and not (a.p1 in "that which all both these those".split() and a.n1 in _OBJECTS):
        return False
    if a.p1 in _MODALS - {"and", "not", "always", "often", "usually"} or (a.p1 in _SUBJECTS and a.p2 not in _MODALS):
        return True
    if a.p1.endswith("s") and "'" not in a.p1 and a.n1 in "every each when if as daily again quickly slowly".split():
        return True
    return a.n1 in _OBJECTS and (a.p1 == "" or a.p1 in _MODALS or a.p1.endswith("s")) and a.p1 not in _BE


def _verb_or_noun(a: Around) -> str:
    if _acts(a):
        return "verb"
    return "noun" if a.p1 in DETERMINERS or a.p1 in _PREPOSITIONS or a.p1.endswith("'s") else ""


def _only_verb(a: Around) -> str:
    return "verb" if _acts(a) else ""


def _only_noun(*after: str) -> Callable[[Around], str]:
    """A rule for words whose verb is the usual reading."""
    following = frozenset(after)

    def rule(a: Around) -> str:
        if _acts(a):
            return ""
        before = a.p1 in DETERMINERS - {"that", "all", "both", "which"} or a.p1 in ("fresh", "local", "organic", "farm")
        return "noun" if before or a.n1 in following else ""

    return rule


def _read(a: Around) -> str:
    if (
        a.p1 in _HAVE | _BE
        or a.p1 in ("well", "widely", "get", "got")
        or (a.p1 in "not never already just ever".split() and a.p2 in _HAVE | _BE)
    ):
        return "past"
    if a.p1 in _MODALS or a.p2 in _MODALS - {"and", "to"} or a.p1 == "" or a.p1 in DETERMINERS:
        return ""
    if a.p1 in ("he", "she", "it") or (a.named and not a.p1.endswith("s")):
        return "past"
    if a.p1 in _SUBJECTS or a.p2 in DETERMINERS:
        singular = a.p2 in DETERMINERS and a.p1 not in _SUBJECTS and not a.p1.endswith("s")
        return "past" if singular or a.sentence & _PAST else ""
    return "past" if a.sentence & {"yesterday", "ago", "last"} else ""


_METAL = frozenset(
    "pipe pipes paint paints poisoning acid battery batteries bullet bullets shot ore glass roof weight weights "
    "free level exposure "
    "mine mines crystal shield solder balloon content contamination oxide plate plates sheet".split()
)


def _lead(a: Around) -> str:
    if a.n1 in _METAL or (
        a.p1 in "of contain contains molten toxic like".split()
        and (not a.n1 or a.n1 in "in and or from is was".split())
    ):
        return "metal"
    return ""


def _tear(a: Around) -> str:
    if (
        a.n1 in "gas drop drops duct ducts stained jerker ran fell rolled".split()
        or a.p1 in "single into in with of".split()
    ):
        return "eye" if a.word == "tear" else ""
    if a.n1 in "up down apart off out open through away".split() and a.p1 not in ("a", "the"):
        return "rip"
    if a.p1 in "and muscle ligament rotator meniscus".split() or (
        a.p1 in "a the small large big".split() and a.n1 == "in"
    ):
        return "rip" if a.p1 != "and" or a.p2 == "wear" else ""
    return "rip" if a.word == "tear" and _acts(a) else ""


def _bow(a: Around) -> str:
    if (
        a.p1 in "a final deep little low the".split()
        and a.p2 in "take takes took taking taken make made with gave give final a".split()
    ):
        return "bend" if a.p2 not in ("with", "a") or (not a.n1 or a.n1 in "to and he she".split()) else ""
    if a.n1 in "tie and string window legged hunting hunter".split():
        return "knot" if a.word == "bow" and (a.n1 != "and" or a.n2 in ("arrow", "arrows")) else ""
    if (a.n1 in "down to before out low".split() and a.p1 not in ("a", "the")) or a.sentence & {
        "ship",
        "boat",
        "stern",
        "ship's",
        "vessel",
    }:
        return "bend"
    return "bend" if _acts(a) and a.n1 in _OBJECTS else ""


def _live(a: Around) -> str:
    if (
        a.n1 in _LIVE_THINGS
        or a.p1 in "go goes going went gone broadcast streamed recorded streaming watch performed played".split()
    ):
        return "adjective"
    if a.p1 in DETERMINERS - {"that", "which", "all", "both", "these", "those", "some", "many", "several"}:
        return "adjective"
    if _acts(a) or a.n1 in _PLACES:
        return "verb" if a.p1 not in _BE else "adjective"
    return "adjective" if a.p1 in _BE else ""


_LIVE_THINGS = frozenset(
    "music show shows concert concerts broadcast broadcasts stream streams streaming performance performances wire "
    "wires ammunition "
    "ammo audience band album event events coverage tv television video chat feed bait animals stock rounds updates "
    "demo from session "
    "recording sports blog entertainment version".split()
)


def _lives(a: Around) -> str:
    if a.p1 in "he she it who that everyone nobody somebody".split() or a.named:
        return "verb"
    if a.p1 in DETERMINERS or a.p1 in "nine two of save saved human own private daily lost".split():
        return "noun"
    return "verb" if a.n1 in _PLACES else ""


def _wind(a: Around) -> str:
    if a.p1 in DETERMINERS or a.p1 in _PREPOSITIONS or a.p1 in "north south east west strong cold high".split():
        return (
            "verb"
            if a.word == "winds" and a.n1 in ("through", "its", "along", "around") and a.p1 not in DETERMINERS
            else ""
        )
    if a.n1 in "up down back around through its along the it your".split():
        return "verb" if a.n1 not in ("down",) or a.p1 != "" or a.word == "wind" else ""
    return "verb" if _acts(a) and a.word == "wind" else ""


def _close(a: Around) -> str:
    if (a.p1 in ("the", "a") and (a.n1 in ("of", "") and a.p2 in "at to by near until".split())) or a.p1 == "will":
        return "verb"
    if (
        a.p1 in _DEGREE
        or a.p1 in _BE
        or a.p1 in DETERMINERS
        or a.n1 in "to by enough friend friends range behind together".split()
    ):
        return "adjective"
    return "verb" if _acts(a) or a.n1 in "your the it all down out this".split() else ""


def _use(a: Around) -> str:
    if _acts(a):
        return "verb"
    if (
        a.p1 in DETERMINERS
        or a.p1 in _PREPOSITIONS
        or a.n1 == "of"
        or a.p1 in "drug land water energy personal make made much daily".split()
    ):
        return "noun"
    return ""


def _used(a: Around) -> str:
    if a.n1 != "to":
        return "verb"
    if a.p1 in _BE | {"get", "got", "getting", "gotten", "become", "became"}:
        return (
            "custom"
            if a.n2 in _OBJECTS
            or a.n2.endswith("ing")
            or a.p1 in "get got getting gotten become became".split()
            or a.p1 in "i'm am you're we're they're".split()
            else "verb"
        )
    return "custom"


def _minute(a: Around) -> str:
    tiny = (
        "details detail particles amounts quantities differences traces fraction changes variations creatures "
        "inspection adjustments fragments crystals quantity amount"
    )
    return "adjective" if a.n1 in tiny.split() or a.p1 in _DEGREE - {"how", "as", "more", "less"} else ""


def _content(a: Around) -> str:
    if (
        a.p1 in _BE
        or a.p1 in _DEGREE
        or a.p1 in "feel feels felt seem seems seemed looked perfectly not stay quite".split()
    ):
        return "adjective" if a.n1 not in "creator creators management marketing is".split() else ""
    return "adjective" if a.n1 == "with" and a.p1 not in DETERMINERS and a.p1 not in _PREPOSITIONS else ""


def _object(a: Around) -> str:
    if a.p1 in DETERMINERS or a.p1 in _PREPOSITIONS:
        return ""
    return "verb" if a.n1 == "to" or _acts(a) else ""


def _present(a: Around) -> str:
    if a.p1 in DETERMINERS or a.p1 in ("at", "birthday", "wedding") or a.p1 in _BE:
        return "noun"
    return _verb_or_noun(a)


def _dove(a: Around) -> str:
    return "verb" if a.n1 in "into in down off under deep headfirst".split() and a.p1 not in ("a", "the") else ""


def _bass(a: Around) -> str:
    fishy = a.p1 in "sea largemouth smallmouth striped grilled fried chilean".split() or a.n1 in (
        "fishing",
        "boat",
        "lake",
        "fisherman",
    )
    return "fish" if fishy or a.sentence & {"fish", "fishing", "lake", "caught", "river"} else ""


def _row(a: Around) -> str:
    return (
        "quarrel"
        if a.p1 in ("a", "the", "furious", "blazing") and a.n1 in "with over about between broke erupted".split()
        else ""
    )


def _sow(a: Around) -> str:
    return (
        "pig"
        if a.p1 in ("a", "the", "pregnant", "old") or (a.n1 in ("and", "had") and a.n2 in ("her", "piglets"))
        else ""
    )


def _wound(a: Around) -> str:
    return (
        "verb"
        if a.n1 in "up around its down through the".split() and a.p1 not in "a the his her this to".split()
        else ""
    )


def _excuse(a: Around) -> str:
    return "verb" if a.n1 in "me my us the him her his your".split() and a.p1 not in DETERMINERS else _only_verb(a)


_RULES: dict[str, Callable[[Around], str]] = {
    "read": _read, "lead": _lead, "tear": _tear, "tears": _tear, "bow": _bow, "bows": _bow, "live": _live,
    "lives": _lives, "wind": _wind, "winds": _wind, "close": _close, "use": _use, "used": _used, "minute": _minute,
    "content": _content, "object": _object, "present": _present, "dove": _dove, "bass": _bass, "row": _row,
    "sow": _sow, "wound": _wound, "excuse": _excuse,
    "uses": lambda a: "noun" if a.p1 in DETERMINERS else "verb" if a.p1 in ("he", "she", "it", "who") else "",
    "refuse": _only_noun("collection", "bin", "bins", "collector", "dump", "disposal"),
    "produce": _only_noun("section", "aisle", "department", "stand"),
    "import": _only_noun("duty", "duties", "tax", "tariffs"), "refund": _only_noun("policy"), "upset": _only_noun(),
    "resume": _only_noun("template", "builder"), "associate": _only_noun("professor", "editor", "director"),
    "advocate": _only_noun("for"), "duplicate": _only_noun("copy", "copies", "keys", "key", "entries"),
    "subject": _only_verb, "decrease": _only_verb, "insult": _only_verb,
}  # fmt: skip
_RULES = {**dict.fromkeys(_NOUN_OR_VERB, _verb_or_noun), **_RULES}
_ANY = re.compile(rf"\b(?:{'|'.join(sorted(_RULES, key=len, reverse=True))})\b", re.IGNORECASE)

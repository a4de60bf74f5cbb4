"""What is typed rather than spoken: e-mail and web addresses, paths, file names, code names, hashtags, colours.

Every dot, slash and dash of an address is said. An ending such as .pdf, and a part of an address without a vowel, is
spelled. A small letter, a full stop and a capital ("go".Then) are two sentences whose space is missing. Other digits
stay for numbers.py.
"""

from __future__ import annotations

import re

from tts_fm.text.spell import digits

_TOP = (
    "com|org|net|edu|gov|mil|int|info|biz|io|ai|dev|app|co|uk|us|ca|au|nz|ie|eu|de|fr|ch|at|nl|es|it|se|no|"
    "dk|fi|pl|jp|cn|in|br|ru|tv|me|xyz|ly|gg|gl|be|to|so|sh|cc|fm|am"
)
_WORD_LIKE = frozenset("so to be am no at in it is us me".split())  # taken for the end of an address only with a path
_EMAIL = re.compile(r"(?<![\w.%+-])[\w.%+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,6}")
_URL = re.compile(
    r"(?:https?|ftp|file|ssh)://[^\s<>\"]{1,2000}|(?<!\w)www\.[^\s<>\"]{1,2000}"
    rf"|(?<![\w@./-])(?:[a-z0-9-]{{2,63}}\.){{1,4}}(?:{_TOP})(?:/[^\s<>\"]{{0,1000}})?(?![\w@-]|\.\w)",
    re.IGNORECASE,
)
_WORDS = {
    ".": "dot", "@": "at", "/": "slash", "-": "dash", "_": "underscore", "?": "question mark", "=": "equals",
    "&": "and", "#": "hash", "%": "percent", ":": "colon", "~": "tilde", "+": "plus", "\\": "backslash",
}  # fmt: skip
_SAID = {
    "usr": "user",
    "json": "jason",
    "jpg": "J peg",
    "jpeg": "J peg",
    "README": "read me",
    "readme": "read me",
    "www": "www",
}
_ENDINGS = (
    "txt pdf md rst csv tsv json ya?ml toml ini cfg conf log xml html? css js jsx ts tsx py pyc ipynb rb rs go java "
    "jar c h cpp "
    "hpp cc cs php sh bash bat ps1 exe dll so zip tar gz tgz bz2 xz 7z rar iso dmg apk deb rpm jpe?g png gif svg "
    "bmp webp tiff? "
    "ico mp3 mp4 m4a wav flac ogg opus mov avi mkv webm docx? xlsx? pptx? odt epub mobi tex bib sql db sqlite env "
    "lock bak tmp heic "
    "vue swift kt lua onnx safetensors pt pth ckpt whl"
).split()
_FILE = re.compile(
    rf"(?<![\w./\\-])(?P<stem>(?:[\w-]{{1,60}}/){{0,8}}[\w-]{{1,80}}(?:\.[\w-]{{1,40}}){{0,4}})\.(?P<end>"
    rf"{'|'.join([*_ENDINGS, *(end.upper() for end in _ENDINGS if len(end) > 2 and '?' not in end)])})(?![\w-]|\.\w)"
)
_PATH = re.compile(
    r"(?<![\w/.)])(?P<path>(?:~|\.{1,2})?(?:/[\w.@+-]{1,100}){2,30}/?|(?:~|\.{1,2})/[\w.@+-]{1,100}/?|/(?:etc|usr"
    r"|var|tmp|home|opt|bin|dev|proc|api|v[0-9])/?)(?![\w/])"
)
_WINDOWS = re.compile(r"(?<!\w)(?P<drive>[A-Za-z]):(?P<path>(?:\\[\w .()~+-]{0,80}[\w)~+-]){1,20}\\?|\\)(?![\w\\])")
_DOTTED = re.compile(
    r"(?<![\w.@/-])(?P<name>[a-z_][a-z0-9_]{1,40}(?:\.[a-zA-Z_][A-Za-z0-9_]{1,40}){1,8})(?P<call>\(\))?(?![\w@/-]|\.\w)"
)
_LEADING_DOT = re.compile(r"(?<![\w.)\"'!?])\.(?=NET\b|[a-z]{2,20}(?:rc|ignore|env|config|git|local|profile)?\b)")
_NO_SPACE = re.compile(r"(?<=[a-z]{2})(?P<end>[.!?][\"')]?)(?=[A-Z][a-z])|(?<=[a-z])(?P<end2>[\"')][.!?])(?=[A-Z])")
_COLOUR = re.compile(
    r"(?<![\w&])#(?P<hex>(?=[0-9a-fA-F]{0,7}[0-9])(?=[0-9a-fA-F]{0,7}[a-fA-F]|0{3,6}\b)"
    r"(?:[0-9a-fA-F]{8}|[0-9a-fA-F]{6}|[0-9a-fA-F]{3}))\b"
)
_COLOUR_LETTERS = re.compile(r"(?<![\w&])#(?P<hex>[A-F]{6}|[A-F]{3}|f{3}|f{6})\b")
_HASHTAG = re.compile(r"(?<![\w&])#(?=[^\W\d_])(?P<tag>\w{1,100})")
_HANDLE = re.compile(r"(?<![\w@.])@(?=[^\W\d_])(?P<name>\w{2,50})(?!\.\w)")
_SERVER = re.compile(r"\b(?P<ip>[0-9]{1,3}(?:\.[0-9]{1,3}){3})(?P<sep>[:/])(?P<n>[0-9]{1,5})(?![\w.])")
_LOCAL = re.compile(r"\b(?P<ip>localhost)(?P<sep>:)(?P<n>[0-9]{2,5})\b")
_GROUPS = re.compile(  # addresses of network cards, UUIDs
    r"(?<![\w:-])(?:(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}|(?:[0-9A-Fa-f]{2}-){5}[0-9A-Fa-f]{2}"
    r"|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})(?![\w:-])"
)
_HASH = re.compile(
    r"(?<![\w.#-])(?=[0-9a-f]{0,63}[a-f])(?=[a-f]{0,63}[0-9])(?![0-9]{1,30}e[0-9]{1,30}\b)[0-9a-f]{7,64}(?![\w-]|\.\w)"
)
_BINARY = re.compile(r"\b0[bB](?P<digits>[01]{1,32})\b")
_HEX = re.compile(r"\b0[xX](?P<digits>[0-9a-fA-F]{1,16})\b")


def speak_addresses(text: str) -> str:
    """`text` with every address, path and file name in words. Never raises; linear in time."""
    if "@" in text:
        text = re.sub(r"\bmailto:(?=\S+@)", "", text)
        text = _HANDLE.sub(
            lambda match: f"at {_camel(match['name'])}", _EMAIL.sub(lambda match: _address(match.group()), text)
        )
    if "." in text or "/" in text or "\\" in text:
        text = _URL.sub(_url, text)
        text = _WINDOWS.sub(lambda match: f"{match['drive'].upper()} colon {_address(match['path'])}", text)
        text = _PATH.sub(lambda match: _address(match["path"]), text)
        text = _FILE.sub(lambda match: f"{_address(match['stem'])} dot {_ending(match['end'])}", text)
        text = _DOTTED.sub(_dotted, text)
        text = _LEADING_DOT.sub(" dot ", text).replace("dot NET", "dot net")
        text = _NO_SPACE.sub(lambda match: f"{match['end'] or match['end2']} ", text)
        text = _SERVER.sub(_server, text)
    if ":" in text or "-" in text:
        text = _GROUPS.sub(lambda match: _in_groups(match.group()), _LOCAL.sub(_server, text))
    text = _HASH.sub(lambda match: _spelled_digits(match.group()), text)
    text = _HEX.sub(lambda match: f"hex {_spelled_digits(match['digits'])}", text)
    text = _BINARY.sub(lambda match: f"binary {_spelled_digits(match['digits'])}", text)
    if "#" in text:
        text = _COLOUR_LETTERS.sub(_colour, _COLOUR.sub(_colour, text))
        text = _HASHTAG.sub(lambda match: f"hashtag {_camel(match['tag'])}", text)
    return text


def _url(match: re.Match[str]) -> str:
    whole = match.group()
    if re.search(r"[a-z]\.[A-Z][a-z]", whole) and "/" not in whole:
        return whole  # two sentences
    if "/" not in whole and whole.rsplit(".", 1)[1].lower() in _WORD_LIKE:
        return whole
    address = whole.rstrip(".,;:!?'*")
    if address.endswith(")") and address.count("(") < address.count(")"):
        address = address[:-1].rstrip(".,;:!?'*")
    tail = whole[len(address) :]
    address = re.sub(r"^[a-z]+://", "", address, flags=re.IGNORECASE).rstrip("/")
    return _address(address) + tail


def _address(address: str) -> str:
    parts = re.findall(r"[^\W_]+|[\W_]", address)
    said = [_part(part, n > 0) if part[0].isalnum() else _WORDS.get(part, "") for n, part in enumerate(parts)]
    return " ".join(" ".join(said).split())


def _part(part: str, inside: bool) -> str:
    """A word of an address: spelled where it has no vowel or is the start of the alphabet, and not the first."""
    if part in _SAID:
        return _SAID[part]
    if re.fullmatch(_ENDING, part) and inside:
        return _ending(part)
    letters = re.fullmatch(r"[a-zA-Z]{2,5}", part)
    if (
        letters
        and inside
        and (not re.search("[aeiouyAEIOUY]", part) or part.lower() in ("abc", "xyz", "api", "aws", "ui", "io"))
    ):
        return _spelled(part)
    return part


_ENDING = "|".join(
    ending for ending in _ENDINGS if ending not in ("go", "so", "c", "h", "env", "lock", "swift", "java", "db")
)
_SPOKEN_ENDINGS = frozenset(
    "zip tar jar bin java doc bat swift lock conf log iso bash env go mov mobi vue tex lua go so".split()
)


def _ending(end: str) -> str:
    end = end.lower()
    if end in _SAID:
        return _SAID[end]
    if end in _SPOKEN_ENDINGS:
        return end
    if end in ("safetensors", "sqlite", "opus", "flac", "wav", "webp", "toml", "yaml", "conf"):
        return {"wav": "wave", "webp": "web P", "toml": "tom'l", "yaml": "yamel"}.get(end, end)
    return _spelled(end) if len(end) <= 5 else end


def _spelled(text: str) -> str:
    return " ".join(text.upper())


def _spelled_digits(text: str) -> str:
    """Letters and digits one by one, the digits in words: no unit or sum shall be seen in them."""
    return " ".join(digits(char) if char.isdigit() else char for char in text.upper())


def _in_groups(text: str) -> str:
    return ", ".join(_spelled_digits(part) for part in re.split("[:-]", text))


def _dotted(match: re.Match[str]) -> str:
    """os.path.join, obj.name; but "end.start" of two long words is a sentence end whose space is missing only with a
    capital, which _NO_SPACE sees."""
    name = match["name"]
    last = name.rsplit(".", 1)[1]
    if name.count(".") == 1 and last[0].isupper() and "_" not in name and not match["call"]:
        return match.group()
    return name.replace(".", " dot ").replace("_", " ")


def _camel(name: str) -> str:
    """ThrowbackThursday gives throwback Thursday."""
    if name.isupper() or not re.search("[A-Z]", name):
        return name.replace("_", " ")
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name.replace("_", " "))
    return words


def _colour(match: re.Match[str]) -> str:
    return f"hex {_spelled_digits(match['hex'])}"


def _server(match: re.Match[str]) -> str:
    number = match["n"]
    if match["sep"] == "/":
        return f"{match['ip']} slash {number}"
    pairs = number if len(number) != 4 or number.endswith("00") else f"{number[:2]} {number[2:]}"
    return f"{match['ip']}, port {pairs}"

"""Names that programs written for OpenAI ask for, and what they stand for here: models, voices, paths."""

from __future__ import annotations

from collections.abc import Sequence

MODEL_ID = "tts-fm"
#: OpenAI's speech models, all of which are this server's one model
ALIASES = ("tts-1", "tts-1-hd", "gpt-4o-mini-tts", "gpt-4o-mini-tts-2025-12-15", "tts-1-1106", "tts-1-hd-1106")
DEFAULT_VOICE = "default"  # stands for the first stored voice
#: OpenAI's voice -> the built-in one that speaks for it: women for women, men for men, British where theirs sound so
OPENAI_VOICES = {
    "alloy": "heart",
    "ash": "michael",
    "ballad": "lewis",
    "cedar": "george",
    "coral": "bella",
    "echo": "liam",
    "fable": "george",
    "marin": "emma",
    "nova": "nova",
    "onyx": "lewis",
    "sage": "emma",
    "shimmer": "isabella",
    "verse": "puck",
}
#: other paths of what this server has -> its own
PATHS = {
    "/audio/speech": "/v1/audio/speech",
    "/audio/speech/stream": "/v1/audio/speech/stream",
    "/v1/voices": "/v1/audio/voices",
    "/audio/voices": "/v1/audio/voices",
    "/voices": "/v1/audio/voices",
    "/audio/models": "/v1/audio/models",
    "/models": "/v1/models",
}


def stored_voice(name: str, known: Sequence[str]) -> str | None:
    """The stored voice that a name means, None where it means none. A stored voice's own name wins, then the same in
    other capitals, then OpenAI's names; those whose built-in voice is not there, and `default`, mean the first.
    """
    if name in known:
        return name
    for voice in known:
        if voice.lower() == name.lower():
            return voice
    first = known[0] if known else None
    if name.lower() == DEFAULT_VOICE:
        return first
    if name.lower() not in OPENAI_VOICES:
        return None
    meant = OPENAI_VOICES[name.lower()]
    return meant if meant in known else first


def other_names(known: Sequence[str]) -> dict[str, str]:
    """OpenAI's names that are no stored voice's own -> the stored voice that each means."""
    own = {voice.lower() for voice in known}
    meant = {name: stored_voice(name, known) for name in OPENAI_VOICES if name not in own}
    return {name: voice for name, voice in meant.items() if voice is not None}


def own_path(path: str) -> str:
    """A path as this server names it: without a slash at its end, with /v1."""
    path = path.rstrip("/") or "/"
    if path.startswith("/models/"):
        return "/v1" + path
    return PATHS.get(path, path)

"""What a client may send and what it gets back, in pydantic: OpenAI's speech request with a few fields of our own, and
its errors.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

MODEL_ID = "tts-fm"
ALIASES = ("tts-1", "tts-1-hd", "gpt-4o-mini-tts")  # names that programs written for OpenAI ask for
DEFAULT_VOICE = "default"  # stands for the first stored voice
LONGEST_INSTRUCTIONS = 4096
FORMATS = ("mp3", "opus", "flac", "wav", "pcm", "ogg")


def _whole(value: Any) -> Any:
    """2.0 is a whole number in JSON."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(_whole)]


class VoiceId(BaseModel):
    """OpenAI's second form of a voice."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: str = Field(min_length=1, max_length=64)


class SpeechRequest(BaseModel):
    """The body of POST /v1/audio/speech."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    model: str = Field(
        MODEL_ID, max_length=256, description="`tts-fm`; the names of OpenAI's own speech models stand for it too."
    )
    input: str = Field(min_length=1, description="The text to speak.")
    voice: str | VoiceId = Field(
        DEFAULT_VOICE, description="The name of a stored voice, see GET /v1/audio/voices; `default` is the first."
    )
    response_format: Literal["mp3", "opus", "flac", "wav", "pcm", "ogg"] = Field(
        "mp3",
        description="opus is Opus in Ogg, ogg is Vorbis; pcm is 16 bit, little endian, mono, 24 kHz, without a header.",
    )
    speed: float = Field(1.0, ge=0.25, le=4.0)
    stream_format: Literal["audio", "sse"] = Field(
        "audio",
        description="wav and pcm of several chunks are sent as they are spoken; sse wraps the audio in events, base64.",
    )
    instructions: str | None = Field(
        None,
        max_length=LONGEST_INSTRUCTIONS,
        description="Not supported: accepted, and answered with a warning header.",
    )
    steps: Whole | None = Field(None, ge=1, le=256, description="Ours: steps of the solver.")
    cfg: float | None = Field(
        None, ge=0.0, le=20.0, description="Ours: strength of classifier-free guidance, 0 is off."
    )
    temperature: float | None = Field(
        None, ge=0.0, le=2.0, description="Ours: deviation of the noise; below 1 smoother, less varied."
    )
    match: float | None = Field(
        None, ge=0.0, le=1.0, description="Ours: how far the spectrum's statistics are moved to the prompt's."
    )
    seed: Whole = Field(0, ge=0, le=2**63 - 1, description="Ours: the same seed, text and voice give the same audio.")
    chunk_seconds: float = Field(
        12.0, ge=2.0, le=25.0, description="Ours: longest stretch spoken in one go; shorter is heard sooner."
    )
    lang: Literal["en-us", "en-gb"] | None = Field(
        None, description="Ours: accent of the phones; the voice's own by default."
    )

    @property
    def voice_name(self) -> str:
        return self.voice if isinstance(self.voice, str) else self.voice.id


class ErrorBody(BaseModel):
    """What went wrong, in OpenAI's form."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class Error(BaseModel):
    """Every answer that is not 2xx."""

    error: ErrorBody


class VoiceInfo(BaseModel):
    """A stored voice."""

    id: str
    name: str


class Voices(BaseModel):
    """GET /v1/audio/voices."""

    object: Literal["list"] = "list"
    data: list[VoiceInfo]
    voices: list[str]


class ModelInfo(BaseModel):
    """A model, in OpenAI's form."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class Models(BaseModel):
    """GET /v1/models."""

    object: Literal["list"] = "list"
    data: list[ModelInfo]


class Health(BaseModel):
    """GET /health."""

    status: Literal["ok", "failed"]
    queue: int
    version: str

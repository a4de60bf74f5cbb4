"""What a client may send and what it gets back, in pydantic: OpenAI's speech request with a few fields of our own, and
its errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model

from tts_fm.settings import Setting, Settings, offered

MODEL_ID = "tts-fm"
ALIASES = ("tts-1", "tts-1-hd", "gpt-4o-mini-tts")  # names that programs written for OpenAI ask for
DEFAULT_VOICE = "default"  # stands for the first stored voice
LONGEST_INSTRUCTIONS = 4096
FORMATS = ("mp3", "opus", "flac", "wav", "pcm", "ogg")


class VoiceId(BaseModel):
    """OpenAI's second form of a voice."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: str = Field(min_length=1, max_length=64)


class OpenAIRequest(BaseModel):
    """The body of POST /v1/audio/speech, without what is ours."""

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
    stream_format: Literal["audio", "sse"] = Field(
        "audio",
        description="wav and pcm of several chunks are sent as they are spoken; sse wraps the audio in events, base64.",
    )
    instructions: str | None = Field(
        None,
        max_length=LONGEST_INSTRUCTIONS,
        description="Not supported: accepted, and answered with a warning header.",
    )

    @property
    def voice_name(self) -> str:
        return self.voice if isinstance(self.voice, str) else self.voice.id

    @property
    def settings(self) -> Settings:
        """The fields that are settings; ranges are checked, what depends on two fields is not."""
        return Settings(**{setting.name: getattr(self, setting.name) for setting in offered("server")})


def _field(setting: Setting) -> tuple[Any, Any]:
    """A setting as a field of the request: type and default with its range."""
    bounds: dict[str, Any] = {} if setting.low is None else {"ge": setting.low, "le": setting.high}
    kind: Any
    if setting.choices:
        kind = Literal[tuple(setting.choices)]
    elif setting.type is tuple:
        least, most = setting.counts
        kind = Annotated[list[Annotated[float, Field(**bounds)]], Field(min_length=least, max_length=most)]
    elif setting.type is int:  # 2.0 is a whole number in JSON
        kind = Annotated[int, Field(**bounds), BeforeValidator(_whole)]
    else:
        kind = Annotated[setting.type, Field(**bounds)]
    default = list(setting.default) if isinstance(setting.default, tuple) else setting.default
    ours = "" if setting.name == "speed" else "Ours: "
    about = f"{ours}{setting.help}{f'; by default {setting.unset}' if setting.unset else ''}."
    return kind | None if setting.default is None else kind, Field(default, description=about)


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


if TYPE_CHECKING:
    SpeechRequest = OpenAIRequest
else:
    SpeechRequest = create_model(
        "SpeechRequest",
        __base__=OpenAIRequest,
        __doc__="The body of POST /v1/audio/speech.",
        **{setting.name: _field(setting) for setting in offered("server")},
    )


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

"""What a client may send and what it gets back, in pydantic: OpenAI's speech request with a few fields of our own, and
its errors.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model, model_validator

from tts_fm.serve.names import DEFAULT_VOICE, MODEL_ID
from tts_fm.settings import Setting, Settings, offered

LONGEST_INSTRUCTIONS = 4096
FORMATS = ("mp3", "opus", "aac", "flac", "wav", "pcm", "ogg")
_NUMBER = re.compile(r"\s*-?\d{1,20}(\.\d{1,20})?([eE][-+]?\d{1,3})?\s*", re.ASCII)


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _number(value: Any) -> Any:
    """ "1.0" is a number, and of whole ones 2.0 is one."""
    return float(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value


def _whole(value: Any) -> Any:
    value = int(value) if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit() else value
    value = _number(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _flag(value: Any) -> Any:
    return {"true": True, "false": False}.get(value.lower(), value) if isinstance(value, str) else value


def _nullable(schema: dict[str, Any]) -> None:
    """Every field that need not be given may be null."""
    for name, field in schema["properties"].items():
        if name in schema.get("required", ()) or {"type": "null"} in field.get("anyOf", ()):
            continue
        about = {key: field.pop(key) for key in ("title", "description", "default") if key in field}
        options = field.pop("anyOf", None) or [dict(field)]
        field.clear()
        field.update({"anyOf": [*options, {"type": "null"}]} | about)


class VoiceId(BaseModel):
    """OpenAI's second form of a voice."""

    model_config = ConfigDict(strict=True)

    id: str = Field(min_length=1, max_length=64)


class OpenAIRequest(BaseModel):
    """The body of POST /v1/audio/speech, without what is ours."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False, json_schema_extra=_nullable)

    model: str = Field(
        MODEL_ID,
        max_length=256,
        description="`tts-fm`, or any other name: this server has one model, see GET /v1/models.",
    )
    input: str = Field(min_length=1, description="The text to speak.")
    voice: str | VoiceId = Field(
        DEFAULT_VOICE,
        description="The name of a stored voice, or one of OpenAI's, see GET /v1/audio/voices; `default` is the first.",
    )
    response_format: Annotated[Literal["mp3", "opus", "aac", "flac", "wav", "pcm", "ogg"], BeforeValidator(_lower)] = (
        Field(
            "mp3",
            description="opus is Opus in Ogg, ogg is Vorbis; pcm is 16 bit, little endian, mono, 24 kHz, without a "
            "header; aac needs the extra `media` on the server.",
        )
    )
    stream_format: Annotated[Literal["audio", "sse"], BeforeValidator(_lower)] = Field(
        "audio", description="sse wraps the audio in events, base64."
    )
    stream: Annotated[bool | None, BeforeValidator(_flag)] = Field(
        None,
        description="Whether the audio is sent while it is spoken: true also for one sentence, false never; by default "
        "where there is more than one chunk. flac is always sent as a whole.",
    )
    instructions: str | None = Field(
        None,
        max_length=LONGEST_INSTRUCTIONS,
        description="Not supported: accepted, and answered with a warning header.",
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_default(cls, body: Any) -> Any:
        return {key: value for key, value in body.items() if value is not None} if isinstance(body, dict) else body

    @property
    def voice_name(self) -> str:
        return self.voice if isinstance(self.voice, str) else self.voice.id

    @property
    def unknown(self) -> list[str]:
        """Names of fields that mean nothing here."""
        return list(self.model_extra or ())

    @property
    def settings(self) -> Settings:
        """The fields that are settings; ranges are checked, what depends on two fields is not."""
        return Settings(**{setting.name: getattr(self, setting.name) for setting in offered("server")})


def _field(setting: Setting) -> tuple[Any, Any]:
    """A setting as a field of the request: type and default with its range."""
    bounds: dict[str, Any] = {} if setting.low is None else {"ge": setting.low, "le": setting.high}
    number = Annotated[float, Field(**bounds), BeforeValidator(_number)]
    kind: Any
    if setting.choices:
        kind = Annotated[Literal[tuple(setting.choices)], BeforeValidator(_lower)]
    elif setting.pattern:
        kind = Annotated[str, Field(pattern=setting.pattern), BeforeValidator(_lower)]
    elif setting.type is tuple:
        least, most = setting.counts
        kind = Annotated[list[number], Field(min_length=least, max_length=most)]
    elif setting.type is int:
        kind = Annotated[int, Field(**bounds), BeforeValidator(_whole)]
    else:
        kind = number if setting.type is float else setting.type
    default = list(setting.default) if isinstance(setting.default, tuple) else setting.default
    ours = "" if setting.name == "speed" else "Ours: "
    about = f"{ours}{setting.help}{f'; by default {setting.unset}' if setting.unset else ''}."
    return kind | None if setting.default is None else kind, Field(default, description=about)


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
    lang: str | None
    aliases: list[str]  # OpenAI's names that mean it


class Voices(BaseModel):
    """GET /v1/audio/voices; some programs read `data`, others `voices`."""

    object: Literal["list"] = "list"
    data: list[VoiceInfo]
    voices: list[VoiceInfo]


class ModelInfo(BaseModel):
    """A model, in OpenAI's form."""

    id: str
    name: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class Models(BaseModel):
    """GET /v1/models and /v1/audio/models; some programs read `data`, others `models`."""

    object: Literal["list"] = "list"
    data: list[ModelInfo]
    models: list[ModelInfo]


class Health(BaseModel):
    """GET /health."""

    status: Literal["ok", "failed"]
    queue: int
    version: str

"""Refusals and the description: what is answered when something is wrong, in OpenAI's form, and what is served."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from tts_fm.serve import schema
from tts_fm.serve.middleware import error_body

if TYPE_CHECKING:
    from tts_fm.serve.config import ServeConfig

ERRORS: dict[int | str, dict[str, Any]] = {
    code: {"model": schema.Error, "description": text}
    for code, text in {
        400: "The request is not valid; the message says what would be.",
        401: "No API key, or a wrong one.",
        403: "Unknown host name.",
        404: "No such model.",
        408: "The body came too slowly.",
        413: "The body is too large.",
        415: "The body is not JSON.",
        429: "The queue is full; see Retry-After.",
        500: "A fault of the server.",
        503: "The server is ending.",
        504: "It took too long.",
    }.items()
}
AUDIO: dict[str, Any] = {
    "audio/aac": {},
    "audio/mpeg": {},
    "audio/ogg": {},
    "audio/flac": {},
    "audio/wav": {},
    "audio/pcm": {},
    "text/event-stream": {},
}


class Refusal(Exception):
    """An answer other than 2xx, in OpenAI's form."""

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.response = JSONResponse(error_body(status, message, param, code), status, headers)


def handle_errors(app: FastAPI) -> None:
    """All refusals in OpenAI's form; a validation error names the field and what would work, and never quotes what was
    sent.
    """

    @app.exception_handler(Refusal)
    async def refused(_: Request, error: Refusal) -> Response:
        return error.response

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:
        return JSONResponse(error_body(error.status_code, str(error.detail)), error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        return JSONResponse(invalid_body(error.errors()), 400)


def invalid_body(errors: Sequence[Any]) -> dict[str, Any]:
    """What is told of the first of pydantic's errors."""
    first = errors[0]
    where = [str(part) for part in first["loc"] if part != "body"]
    param = where[0] if where and where[0] in schema.SpeechRequest.model_fields else None
    if first["type"] == "json_invalid":
        return error_body(400, "the body is not valid JSON", code="invalid_json")
    message = f"{param or 'body'}: {first['msg'][0].lower()}{first['msg'][1:]}"
    if isinstance(first.get("input"), float) and not math.isfinite(first["input"]):
        message = f"{param}: a finite number is needed"
    return error_body(400, message, param, first["type"])


def describe(app: FastAPI, config: ServeConfig) -> None:
    """The OpenAPI description as it is: no 422, this server's limits, its key."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema:
            return app.openapi_schema
        described = make()
        for path in described["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
        parts = described["components"]["schemas"]
        fields = parts["SpeechRequest"]["properties"]
        fields["input"]["maxLength"] = config.max_chars
        for option in fields["steps"]["anyOf"]:
            if option["type"] == "integer":
                option["maximum"] = config.max_steps
        for name in ("HTTPValidationError", "ValidationError"):
            parts.pop(name, None)
        described["paths"]["/v1/audio/speech"]["post"]["responses"]["429"]["headers"] = {
            "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}
        }
        if config.api_key is not None:
            described["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            described["security"] = [{"key": []}]
            described["paths"]["/health"]["get"]["security"] = []
        return described

    app.openapi = openapi  # type: ignore[method-assign]

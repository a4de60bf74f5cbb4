"""The door: what is checked before any route runs (host, key, kind, size and pace of the body), and what is counted
after.

Plain ASGI around everything, so that a body is never read further than its limit, and nothing that a client sent
reaches a log.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
from typing import TYPE_CHECKING, Any

from tts_fm.serve.metrics import Metrics
from tts_fm.serve.names import own_path
from tts_fm.serve.tickets import place

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)
OPEN = ("/health",)  # needs no key: load balancers ask it
SPEECH = "/v1/audio/speech"
LISTS = ("/v1/audio/voices", "/v1/audio/models", "/v1/models", "/health", "/metrics", "/openapi.json")
STREAM = "/v1/audio/speech/stream"  # a WebSocket
KNOWN = (SPEECH, STREAM, *LISTS)
BODY_SECONDS = 15.0  # in which a body must have arrived
TYPES = {
    401: "authentication_error",
    404: "invalid_request_error",
    429: "rate_limit_error",
    503: "server_error",
    504: "server_error",
}


def error_body(status: int, message: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """OpenAI's form of an error."""
    kind = TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


class Guard:
    """See the module docstring. key: what `Authorization: Bearer` must carry, None = open; hosts: allowed Host names,
    None = any; origins: whose pages may open a WebSocket, which browsers do not ask about; max_requests: that are
    answered at once.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        key: str | None,
        hosts: tuple[str, ...] | None,
        origins: tuple[str, ...],
        max_body: int,
        max_requests: int = 1024,
    ) -> None:
        self.app, self.metrics, self.hosts, self.origins, self.max_body = app, metrics, hosts, origins, max_body
        self.max_requests, self._under_way = max_requests, 0
        self.key = None if key is None else hashlib.sha256(key.encode()).digest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope = {**scope, "path": own_path(scope["path"])}
        status = 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-content-type-options", b"nosniff")]
            await send(message)

        try:
            await self._enter(scope, receive, watched)
        except Exception as error:
            log.error("%s %s failed: %s at %s", scope["method"], self._label(scope), type(error).__name__, place(error))
            log.debug("the failure in full", exc_info=error)
            self.metrics.count("errors_total")
            if not status:
                await self._refuse(watched, 500, "something went wrong in the server; its log says where")
        finally:
            self.metrics.count("requests_total", path=self._label(scope), status=str(status or 499))

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The same for a WebSocket, whose refusal is an answer to its first request."""
        scope = {**scope, "path": own_path(scope["path"])}
        headers = {name.lower(): value for name, value in scope["headers"]}

        status = 101

        async def rejecting(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send({**message, "type": "websocket." + message["type"]})

        if not await self._knocks(scope, headers, rejecting):
            if self._welcome(headers):
                await self.app(scope, receive, send)
            else:
                await self._refuse(rejecting, 403, "pages of this origin are not served; --cors ORIGIN permits them")
        self.metrics.count("requests_total", path=self._label(scope), status=str(status))

    def _welcome(self, headers: dict[bytes, bytes]) -> bool:
        """Whether the page that opens a WebSocket, if it is one, may: it is of this server, or of a named origin."""
        origin = headers.get(b"origin", b"").decode("latin-1").lower()
        own = origin.partition("://")[2] == headers.get(b"host", b"-").decode("latin-1").lower()
        return not origin or own or "*" in self.origins or origin in self.origins

    async def _enter(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.lower(): value for name, value in scope["headers"]}
        if await self._knocks(scope, headers, send):
            return
        if scope["method"] in ("POST", "PUT", "PATCH", "DELETE"):
            kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
            if scope["path"] == SPEECH and scope["method"] == "POST" and kind != b"application/json":
                await self._refuse(send, 415, "the body must be JSON, with the header Content-Type: application/json")
                return
            body = await self._body(headers, receive, send)
            if body is None:
                return
            receive = _replay(body, receive)
        if self._under_way >= self.max_requests and scope["path"] not in OPEN:
            await self._refuse(
                send, 503, "too many requests at once; try again", code="overloaded", headers=[(b"retry-after", b"2")]
            )
            return
        if scope["method"] == "HEAD":
            scope, send = {**scope, "method": "GET"}, _without_body(send)
        self._under_way += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._under_way -= 1

    async def _knocks(self, scope: Scope, headers: dict[bytes, bytes], send: Send) -> bool:
        """Whether host, method or key have been answered already."""
        if self.hosts is not None and _hostname(headers.get(b"host", b"")) not in self.hosts:
            told = "this host name is not served here; --allow-host NAME permits it"
            await self._refuse(send, 403, told, code="host_not_allowed")
            return True
        if scope.get("method") == "OPTIONS":
            await self._options(scope, send)
            return True
        if self.key is not None and scope["path"] not in OPEN and not self._has_key(headers.get(b"authorization", b"")):
            told = "a valid API key is needed: Authorization: Bearer KEY"
            bearer = [(b"www-authenticate", b"Bearer")]
            await self._refuse(send, 401, told, code="invalid_api_key", headers=bearer)
            return True
        return False

    async def _options(self, scope: Scope, send: Send) -> None:
        """What can be done with a path; nothing of it is secret."""
        allowed = "POST, OPTIONS" if scope["path"] == SPEECH else "GET, HEAD, OPTIONS"
        await send({"type": "http.response.start", "status": 204, "headers": [(b"allow", allowed.encode())]})
        await send({"type": "http.response.body", "body": b""})

    def _has_key(self, header: bytes) -> bool:
        scheme, _, given = header.partition(b" ")
        right = hmac.compare_digest(hashlib.sha256(given.strip()).digest(), self.key or b"")
        return right and scheme.lower() == b"bearer"

    async def _body(self, headers: dict[bytes, bytes], receive: Receive, send: Send) -> bytes | None:
        """The whole body; None after refusing it, or when the client left."""
        length = headers.get(b"content-length", b"0")
        body = bytearray()
        too_large = not length.isdigit() or int(length[:12]) > self.max_body or len(length) > 12
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while not too_large:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    body += message.get("body", b"")
                    too_large = len(body) > self.max_body
                    if not message.get("more_body"):
                        break
        except TimeoutError:
            await self._refuse(send, 408, f"the body did not arrive within {BODY_SECONDS:.0f} s", close=True)
            return None
        if too_large:
            await _drain(receive, 16 * self.max_body)
            await self._refuse(
                send,
                413,
                f"the body is larger than {self.max_body} bytes, the limit; send less text at a time",
                close=True,
            )
            return None
        return bytes(body)

    async def _refuse(
        self, send: Send, status: int, message: str, code: str | None = None, headers: Any = (), close: bool = False
    ) -> None:
        body = json.dumps(error_body(status, message, code=code)).encode()
        head = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *headers]
        if close:
            head.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": body})

    def _label(self, scope: Scope) -> str:
        path = scope["path"]
        return path if path in KNOWN else "/v1/models" if path.startswith("/v1/models/") else "other"


def _hostname(header: bytes) -> str:
    """`localhost:8000` -> `localhost`, `[::1]:8000` -> `::1`."""
    host = header.decode("latin-1").strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _without_body(send: Send) -> Send:
    """The answer to GET as one to HEAD."""

    async def head(message: Message) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return head


async def _drain(receive: Receive, most: int) -> None:
    """Throw away what a client is still sending, up to `most` bytes and two seconds: one that is cut off in the middle
    of its body sees a broken connection instead of the answer."""
    try:
        async with asyncio.timeout(2):
            while most > 0:
                message = await receive()
                most -= len(message.get("body", b""))
                if not message.get("more_body"):
                    return
    except TimeoutError:
        return


def _replay(body: bytes, receive: Receive) -> Receive:
    """A receive that hands out the body that was read, then goes on with the client's own messages."""
    first = True

    async def again() -> Message:
        nonlocal first
        if first:
            first = False
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return again

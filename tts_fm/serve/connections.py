"""Connections before their requests: how long a client may take to ask, how many may be asking at once, and how the
server ends. What uvicorn leaves open, in a subclass of its protocol.

A connection waits from when it is made, or from the end of an answer, until a whole request has arrived. Waiting costs
nothing but a place: there are PLACES of them, and when they are taken the one that has waited longest makes room. So
clients that never finish their headers, or bodies, cannot keep out those who do. It knows sockets, no speech.
"""

from __future__ import annotations

import asyncio
import socket
from types import FrameType
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0  # from the first byte that could be of a request to the end of its headers
PLACES = 256  # connections that wait
PROBE_SECONDS = 0.5  # between signs of life to a client that has closed its side


class Door(H11Protocol):
    """One connection."""

    _timer: asyncio.TimerHandle | None = None  # until the headers must have come

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait()
        self._hurry()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.get_protocol() is not self:
            return
        asking = self.cycle is None or self.cycle.response_complete
        if asking and self._timer is None:
            self._hurry()
        elif not asking:
            self._calm()
            if not self.cycle.more_body:
                self._waiting.pop(self, None)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """The connection is a WebSocket's from now on."""
        self._calm()
        self._waiting.pop(self, None)
        super().handle_websocket_upgrade(event)

    def on_response_complete(self) -> None:
        super().on_response_complete()  # which may go on with a request that has come already
        if not self._answering and not self.transport.is_closing():
            self._wait()

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """The client sends no more. It may still read (half-closed): the answer that it waits for is given. If it has
        gone altogether, the probes find out.
        """
        if not self._answering or self.cycle.more_body or self.cycle.scope["http_version"] != "1.1":
            return None
        self.cycle.keep_alive = False
        self._probe()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._calm()
        self._waiting.pop(self, None)
        super().connection_lost(exc)

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def _waiting(self) -> dict[Door, None]:
        """The connections of this server that wait, longest first."""
        return vars(self.server_state).setdefault("waiting", {})

    def _wait(self) -> None:
        waiting = self._waiting
        waiting.pop(self, None)
        waiting[self] = None
        if len(waiting) > PLACES:
            oldest = next(iter(waiting))
            del waiting[oldest]
            oldest.transport.abort()

    def _hurry(self) -> None:
        self._timer = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _calm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _probe(self) -> None:
        """A provisional answer: a client that waits ignores it, one that has gone makes the connection break."""
        if self._answering and not self.cycle.response_started and not self.transport.is_closing():
            sign = h11.InformationalResponse(status_code=102, headers=[], reason=b"Processing")
            self.transport.write(self.conn.send(sign) or b"")
            self.loop.call_later(PROBE_SECONDS, self._probe)


class Server(uvicorn.Server):
    """Ends by itself at the first signal, when what has begun is answered, and at once at the second; in both cases the
    process goes on to its own end, where its temporary files are removed.
    """

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if self.force_exit:  # uvicorn leaves it out then, and complains that it was left out
            await self.lifespan.shutdown()

"""Address, limits and key of a server, checked before anything is loaded."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

LOCAL = ("127.0.0.1", "localhost", "::1")
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:]+\]|[^\s/:\[\]@?#]+)(:\d{1,5})?")  # scheme, host, port: no path


@dataclass(frozen=True)
class ServeConfig:
    """Limits and address of a server."""

    host: str = "127.0.0.1"  # address to listen on; 0.0.0.0 = every network of this machine
    port: int = 8000  # 0 = any free one
    api_key: str | None = None  # what clients must send as `Authorization: Bearer KEY`; None = nothing is asked
    hosts: tuple[str, ...] | None = None  # host names that requests may be addressed to; None = any
    cors: tuple[str, ...] = ()  # origins whose pages may use it, as https://example.org; "*" = all
    wyoming: str | None = None  # HOST:PORT on which Home Assistant's protocol is answered; None = nowhere
    max_chars: int = 4096  # characters of text in one request
    max_steps: int = 64  # solver steps that a client may ask for
    max_queue: int = 64  # requests that may wait; the next one gets 429
    max_active: int = 16  # requests whose chunks are spoken in turns
    max_audio_seconds: float = 1800.0  # audio of one request
    batch_frames: int = 6000  # mel frames, prompts and padding included, in one batch
    timeout: float = 300.0  # seconds for one request, from arrival to its last chunk

    def check(self) -> ServeConfig:
        """Raise ValueError for a number that cannot work; returns self."""
        bounds = {
            "port": (0, 65535),
            "max_chars": (1, 100_000),
            "max_steps": (1, 256),
            "max_queue": (1, 100_000),
            "max_active": (1, 1024),
            "max_audio_seconds": (1, 36_000),
            "batch_frames": (500, 1_000_000),
            "timeout": (1, 86_400),
        }
        for name, (low, high) in bounds.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be from {low} to {high}, got {getattr(self, name)!r}")
        for origin in self.cors:
            if origin not in ("*", "null") and not ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"{origin!r} is no origin; it is like https://example.org or http://localhost:3000, or *"
                )
        if self.wyoming is not None:
            host_and_port(self.wyoming)
        if self.api_key is not None and len(self.api_key) < 8:
            raise ValueError("an API key needs at least 8 characters; make one with: openssl rand -hex 24")
        return self

    @property
    def public(self) -> bool:
        """Whether other machines can reach it."""
        return self.host not in LOCAL and not self.host.startswith("127.")


def host_and_port(given: str) -> tuple[str, int]:
    """`10200`, `0.0.0.0:10200` or `[::1]:10200` as an address; without a host it is this machine alone. ValueError."""
    host, _, port = given.rpartition(":")
    if not (port.isascii() and port.isdigit() and len(port) < 6 and int(port) < 65536) or (
        ":" in host and "[" not in host
    ):
        raise ValueError(f"{given!r} is no address; give a port as 10200, or as 0.0.0.0:10200 for other machines")
    return host.strip("[]") or LOCAL[0], int(port)


def read_key(file: str | None = None) -> str | None:
    """The API key from a file, or from TTS_FM_API_KEY; None where neither is given. ValueError for an unreadable or
    empty file.
    """
    if file is None:
        return os.environ.get("TTS_FM_API_KEY", "").strip() or None
    try:
        key = Path(file).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"cannot read the API key from {file}: {getattr(error, 'strerror', None) or 'not text'}"
        ) from None
    if not key:
        raise ValueError(f"{file} holds no API key; put one line of at least 8 characters into it")
    return key

"""The record of a batch: results.jsonl in the output folder, a line for each item as soon as it is done, so that a
killed run can go on.

A line holds id, status ("ok", "failed"), file, bytes, seconds, rtf, seed, chunks, voice, warnings, hash (of input and
parameters), model (hash), error. Shards write files of their own (results.0-of-2.jsonl), so that many machines may
share a folder. A line that a kill cut short is read over. When a run ends, its file is put in the order of the list,
one line an item: it then differs from another run's only in rtf, which is a measurement.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tts_fm import files

log = logging.getLogger(__name__)
Record = dict[str, Any]


class Results:
    """Open for one run; a second run on the same file is refused. Raises ValueError where the folder cannot be used."""

    def __init__(self, out: Path, shard: tuple[int, int] = (0, 1)) -> None:
        self.out = out
        self.path = out / ("results.jsonl" if shard[1] == 1 else f"results.{shard[0]}-of-{shard[1]}.jsonl")
        try:
            out.mkdir(parents=True, exist_ok=True)
            safe = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | safe, 0o666)
        except OSError as error:
            raise ValueError(
                f"cannot write {self.path}: {error.strerror}; give a folder that can be written (-o)"
            ) from None
        if not stat.S_ISREG(os.fstat(self._file).st_mode):
            os.close(self._file)
            raise ValueError(f"{self.path} is no regular file; remove it, or give another folder (-o)")
        try:
            _lock(self._file)
        except BlockingIOError:
            os.close(self._file)
            raise ValueError(
                f"another run is writing into {out}; wait for it, or give another folder (-o) or shard"
            ) from None
        files.remove_parts(out, [self.path.name])
        self.own: set[str] = set()  # ids that this file has a line for
        self.records = self._read()
        if self.path.read_bytes()[-1:] not in (b"", b"\n"):
            os.write(self._file, b"\n")  # a kill cut the last line short

    def _read(self) -> dict[str, Record]:
        """The last record of every id; other shards' first, ours last."""
        records: dict[str, Record] = {}
        damaged: list[bytes] = []
        others = sorted(p for p in self.out.glob("results*.jsonl") if p != self.path and p.is_file())
        for path in [*others, self.path]:
            for line in path.read_bytes().split(b"\n"):
                record = _record(line)
                if record is None:
                    damaged += [line] if line.strip() and path == self.path else []
                else:
                    records[record["id"]] = record
                    if path == self.path:
                        self.own.add(record["id"])
        if damaged:
            aside = self.out / "results.damaged.txt"
            with contextlib.suppress(OSError), open(aside, "ab") as file:
                file.write(b"\n".join([*damaged, b""]))
            log.warning(
                "%s: %d damaged lines are kept in %s; their items are done again", self.path, len(damaged), aside
            )
        return records

    def append(self, record: Record) -> None:
        """Keep a record, on disk before this returns to the next item. Raises OSError (disk full)."""
        self.records[record["id"]] = record
        self.own.add(record["id"])
        data = _line(record)
        while data:
            data = data[os.write(self._file, data) :]

    def close(self, order: Sequence[str]) -> None:
        """Rewrite the file in the order of the list (ids), what it does not know first, and let the folder go."""
        known = set(order)
        ids = [name for name in self.records if name not in known] + list(order)
        data = b"".join(_line(self.records[name]) for name in ids if name in self.own and name in self.records)
        try:
            files.write_bytes(self.path, data)
        except OSError as error:  # a full disk; the file has all lines, only not in order
            log.warning("cannot put %s in order: %s", self.path, error.strerror)
        finally:
            os.close(self._file)


def _record(line: bytes) -> Record | None:
    """What a line says; None for one that is damaged, holds what cannot be written again, or was cut short."""
    try:
        record = json.loads(line)
        _line(record)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("id"), str) else None


def _line(record: Record) -> bytes:
    return json.dumps(record, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _lock(file: int) -> None:
    """Held until the process ends, however it ends; BlockingIOError where another holds it. Systems without flock go
    without.
    """
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except (ImportError, OSError) as error:
        log.info("no lock on the results: %s", error)

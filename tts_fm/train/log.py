"""The figures of a run: <run>/log.jsonl, a line for each report, and <run>/tensorboard where it is asked for."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from types import TracebackType
from typing import Any

from tts_fm import files
from tts_fm.errors import MissingDependency


class RunLog:
    """Open while a run goes on. A process that is not the main one writes nothing."""

    def __init__(self, folder: Path, main: bool, tensorboard: bool, step: int = 0) -> None:
        """step: where the run goes on; lines of later steps, which a killed run wrote after its last checkpoint, are
        dropped, for they will be written again.
        """
        self.folder, self.main, self.tensorboard = folder, main, tensorboard
        self._writer: Any = None
        path = folder / "log.jsonl"
        if main and path.exists():
            _drop_after(path, step)
        self.file = path.open("a") if main else None

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.file is not None:
            with contextlib.suppress(OSError):  # what it could not take has been told
                self.file.close()
        if self._writer is not None:
            self._writer.close()

    def write(self, step: int, **figures: float) -> None:
        """One line. Raises MissingDependency when TensorBoard is asked for and not there."""
        if self.file is None:
            return
        rounded = {k: round(v, 6) if isinstance(v, float) else v for k, v in figures.items()}
        try:
            self.file.write(json.dumps({"step": step} | rounded) + "\n")
            self.file.flush()
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.folder / "log.jsonl")) from error
        if self.tensorboard:
            for name, value in figures.items():
                self.board(step).add_scalar(name, value, step)

    def board(self, step: int) -> Any:
        """The TensorBoard writer of this run, made at its first use; figures from `step` on replace older ones."""
        if self._writer is None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise MissingDependency(
                    f"tensorboard=True needs TensorBoard ({error}): pip install tts-fm[train]"
                ) from error
            self._writer = SummaryWriter(str(self.folder / "tensorboard"), purge_step=step)
        return self._writer


def _drop_after(path: Path, step: int) -> None:
    """Keep the whole lines of steps up to `step`."""

    def good(line: bytes) -> bool:
        try:
            return int(json.loads(line)["step"]) <= step
        except (ValueError, KeyError, TypeError, RecursionError):
            return False

    lines = path.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if line.endswith(b"\n") and good(line)]
    if kept != lines:
        files.write_bytes(path, b"".join(kept))

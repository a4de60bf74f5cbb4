"""Being asked to stop: SIGTERM, Ctrl-C, the death of torchrun, or a time that has come."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator

log = logging.getLogger(__name__)


class StopRequest:
    """`asked` is the time at which somebody asked, 0 while nobody has."""

    def __init__(self) -> None:
        self._asked = 0.0
        self._parent = os.getppid() if "TORCHELASTIC_RUN_ID" in os.environ else None

    @property
    def asked(self) -> float:
        if not self._asked and self._parent is not None and os.getppid() != self._parent:
            self._asked = time.time()  # torchrun was killed: nobody else would end its processes
        return self._asked

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """While it lasts SIGTERM and SIGINT ask for a stop; another one, two seconds later or more, interrupts at once
        (Slurm and torchrun may both pass on the first one). In threads other than the main one there are no signals.
        A signal that was meant for all processes ends the compiler of torch.compile as well, which cannot be waited
        for: KeyboardInterrupt then, not the compiler's error.
        """

        def ask(number: int, _: object) -> None:
            if self._asked and time.time() > self._asked + 2:
                raise KeyboardInterrupt
            self._asked = self._asked or time.time()

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._asked = 0.0
        before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        except Exception as error:
            if not self._asked or "CompileError" not in f"{type(error).__name__}: {error}":
                raise
            log.warning("asked to stop while torch.compile was at work; the last checkpoint stands")
            raise KeyboardInterrupt from error
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

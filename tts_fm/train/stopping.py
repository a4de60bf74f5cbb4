"""Being asked to stop: SIGTERM, Ctrl-C, or a time that has come."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator


class StopRequest:
    """`asked` is the time at which somebody asked, 0 while nobody has."""

    asked = 0.0

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """While it lasts SIGTERM and SIGINT ask for a stop; another SIGINT two seconds later interrupts at once. In
        threads other than the main one there are no signals.
        """

        def ask(number: int, _: object) -> None:
            if number == signal.SIGINT and self.asked and time.time() > self.asked + 2:
                raise KeyboardInterrupt
            self.asked = self.asked or time.time()

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self.asked = 0.0
        before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

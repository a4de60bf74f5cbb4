"""Adapted voices have weights of their own: an engine for each, made once and kept for the voices used last."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from tts_fm.engines import Engine
from tts_fm.voices.adapters import Adapter

KEPT = 8  # adapted voices whose weights stay in memory, some 20 MB each


class AdaptedEngines:
    """Those of one model; safe to use from several threads."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._made: OrderedDict[str, Engine] = OrderedDict()  # by the adapter's digest
        self._lock = Lock()

    def of(self, adapter: Adapter, voice: str) -> Engine:
        """The engine of an adapted voice. ModelError when the voice belongs to another model."""
        with self._lock:
            if adapter.digest not in self._made:
                self._made[adapter.digest] = self.engine.adapted(adapter, voice)
                if len(self._made) > KEPT:
                    self._made.popitem(last=False)
            self._made.move_to_end(adapter.digest)
            return self._made[adapter.digest]

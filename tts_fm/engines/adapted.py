"""Adapted voices have weights of their own, and so has a few-step student: an engine for each, made once and kept for
those used last.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from tts_fm.audio.texture import Tables
from tts_fm.engines import Engine
from tts_fm.engines.quick import Quick
from tts_fm.settings import Settings
from tts_fm.voices.adapters import Adapter
from tts_fm.voices.stored import Voice

KEPT = 16  # engines whose weights stay in memory: two a voice where a student speaks, some 20 MB for both


class AdaptedEngines:
    """Those of one model; safe to use from several threads."""

    def __init__(self, engine: Engine, quick: Quick | None = None) -> None:
        self.engine, self.quick = engine, quick
        self._made: OrderedDict[tuple[str, ...], Engine] = OrderedDict()  # by the digests of what is changed
        self._lock = Lock()

    def of(self, voice: Voice, settings: Settings | None = None) -> Engine:
        """What speaks in a voice: the student's weights where the settings are what it was taught, then those of an
        adapted voice. ModelError when the voice belongs to another model.
        """
        changes: list[tuple[str, Adapter]] = []
        if settings is not None and (quick := self._student(settings)) is not None:
            changes.append(("quick", quick.adapter(settings.steps or 1)))
        if voice.adapter is not None:
            changes.append((voice.name, voice.adapter))
        engine = self.engine
        key: tuple[str, ...] = ()
        with self._lock:
            for name, adapter in changes:
                key = (*key, adapter.digest)
                if key not in self._made:
                    self._made[key] = engine.adapted(adapter, name)
                self._made.move_to_end(key)
                engine = self._made[key]
            while len(self._made) > KEPT:
                self._made.popitem(last=False)
        return engine

    def texture(self, settings: Settings) -> Tables:
        """What speech with these settings lacks: the student's where it speaks."""
        quick = self._student(settings)
        return self.engine.texture if quick is None else quick.texture

    def _student(self, settings: Settings) -> Quick | None:
        return self.quick if self.quick is not None and self.quick.speaks(settings) else None

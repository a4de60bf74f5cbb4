"""Counters, gauges and histograms in Prometheus' text format (version 0.0.4). Names get the prefix `tts_fm_`.
Thread-safe.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable

SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 300.0)
COUNTERS = {
    "requests_total": "HTTP requests answered, by path and status.",
    "characters_total": "Characters of text accepted for speaking.",
    "audio_seconds_total": "Seconds of audio spoken.",
    "compute_seconds_total": "Seconds the networks were at work.",
    "cancelled_total": "Requests given up because the client went away.",
    "timeouts_total": "Requests that took longer than they may.",
    "rejected_total": "Requests turned away with 429 because the queue was full.",
    "errors_total": "Requests that failed through a fault of the server.",
}
HISTOGRAMS = {
    "request_seconds": ("Seconds from a speech request to the last byte of its answer.", SECONDS),
    "first_audio_seconds": ("Seconds from a speech request to its first audio.", SECONDS),
    "batch_chunks": ("Chunks spoken in one batch.", (1, 2, 4, 8, 16, 32)),
}


class Metrics:
    """Everything that /metrics shows."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, dict[str, float]] = {
            name: {} if name == "requests_total" else {"": 0.0} for name in COUNTERS
        }
        self._gauges: dict[str, tuple[str, Callable[[], float]]] = {}
        self._histograms = {name: [0] * (len(bounds) + 1) for name, (_, bounds) in HISTOGRAMS.items()}
        self._sums = dict.fromkeys(HISTOGRAMS, 0.0)

    def count(self, name: str, by: float = 1.0, **labels: str) -> None:
        """Add to a counter. Label values are the program's own words, never a client's."""
        key = ",".join(f'{k}="{v}"' for k, v in labels.items())
        with self._lock:
            self._counts[name][key] = self._counts[name].get(key, 0.0) + by

    def observe(self, name: str, value: float) -> None:
        """Put a value into a histogram."""
        with self._lock:
            self._histograms[name][bisect_left(HISTOGRAMS[name][1], value)] += 1
            self._sums[name] += value

    def gauge(self, name: str, about: str, read: Callable[[], float]) -> None:
        """Show what `read` returns at the time."""
        self._gauges[name] = (about, read)

    def value(self, name: str, **labels: str) -> float:
        """A counter's value now."""
        return self._counts[name].get(",".join(f'{k}="{v}"' for k, v in labels.items()), 0.0)

    def text(self) -> str:
        """The page that Prometheus reads."""
        lines: list[str] = []
        with self._lock:
            for name, values in self._counts.items():
                lines += [f"# HELP tts_fm_{name} {COUNTERS[name]}", f"# TYPE tts_fm_{name} counter"]
                lines += [
                    f"tts_fm_{name}{'{' + key + '}' if key else ''} {value:.10g}"
                    for key, value in sorted(values.items())
                ]
            for name, (about, bounds) in HISTOGRAMS.items():
                lines += [f"# HELP tts_fm_{name} {about}", f"# TYPE tts_fm_{name} histogram"]
                total = 0
                for bound, number in zip([*bounds, None], self._histograms[name], strict=True):
                    total += number
                    lines.append(
                        f'tts_fm_{name}_bucket{{le="{"+Inf" if bound is None else format(bound, "g")}"}} {total}'
                    )
                lines += [f"tts_fm_{name}_sum {self._sums[name]:.10g}", f"tts_fm_{name}_count {total}"]
        for name, (about, read) in self._gauges.items():
            lines += [f"# HELP tts_fm_{name} {about}", f"# TYPE tts_fm_{name} gauge", f"tts_fm_{name} {read():.10g}"]
        return "\n".join(lines) + "\n"

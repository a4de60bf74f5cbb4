"""hypothesis for the property tests; where it is not installed they are skipped, and the tests beside them run."""

from __future__ import annotations

from typing import Any

import pytest

try:
    from hypothesis import HealthCheck, assume, given, settings
    from hypothesis import strategies as st

    # a busy machine is no fault of a test
    settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("untimed")
except ImportError:

    class _Nothing:
        """Whatever is asked of it, it gives itself."""

        def __getattr__(self, name: str) -> Any:
            return self

        def __call__(self, *args: Any, **how: Any) -> Any:
            return self

        def __or__(self, other: Any) -> Any:
            return self

    HealthCheck = assume = st = _Nothing()  # type: ignore[assignment,misc]

    def given(*args: Any, **how: Any) -> Any:  # type: ignore[no-redef]
        """A test that is skipped, before pytest looks for its arguments among the fixtures."""

        return pytest.mark.skip(reason="hypothesis is not installed")

    def settings(*args: Any, **how: Any) -> Any:  # type: ignore[no-redef]
        return lambda test: test


__all__ = ["HealthCheck", "assume", "given", "settings", "st"]

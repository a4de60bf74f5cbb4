"""Every test has folders of its own for voices and downloads, and none of the user's settings."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Generator
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="run the tests that take a device there, such as cuda")
    parser.addoption("--bare", action="store_true", help="skip tests whose packages are missing (recipes/gpu/run.sh)")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Generator[None, Any, None]:
    """With --bare, a package that is not installed is no failure."""
    outcome = yield
    error = call.excinfo.value if call.excinfo else None
    missing = type(error).__name__ in ("ModuleNotFoundError", "MissingDependency")
    if missing and item.config.getoption("--bare"):
        report = outcome.get_result()
        report.outcome, report.longrepr = "skipped", (str(item.path), item.location[1] or 0, f"Skipped: {error}")


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> str:
    """The device of --device; the test is skipped where it is not here."""
    name = str(request.config.getoption("--device"))
    if name != "cpu":
        from tts_fm.devices import pick

        try:
            pick(name)
        except ValueError as error:
            pytest.skip(str(error))
    return name


@pytest.fixture(autouse=True)
def own_surroundings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("TTS_FM_HOME", str(home / "data"))
    monkeypatch.setenv("TTS_FM_CACHE", str(home / "cache"))
    for name in (
        "TTS_FM_MODEL",
        "TTS_FM_DEVICE",
        "TTS_FM_LOG",
        "TTS_FM_OFFLINE",
        "HF_HUB_OFFLINE",
        "HF_ENDPOINT",
        "HF_TOKEN",
    ):
        monkeypatch.delenv(name, raising=False)


def pytest_unconfigure() -> None:
    """A worker that a failed test left behind must not hold up the exit of the run."""
    for child in multiprocessing.active_children():
        child.kill()


@pytest.fixture
def ray_cluster(monkeypatch):
    """Two nodes of a real Ray cluster on this machine, connected to; skipped where Ray is not installed."""
    ray, utils = pytest.importorskip("ray"), pytest.importorskip("ray.cluster_utils")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(p for p in sys.path if p))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    on_sigterm = signal.getsignal(signal.SIGTERM)  # Ray puts its own in place
    cluster = utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False)
        assert len(ray.nodes()) == 2
        yield ray
    finally:
        ray.shutdown()
        cluster.shutdown()
        signal.signal(signal.SIGTERM, on_sigterm)

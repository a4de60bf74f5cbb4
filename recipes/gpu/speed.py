"""How quickly one device trains and speaks, how often the host waits for it, and what it computes elsewhere.

Random weights, except the built-in voice's. What a shape does for the first time (choosing kernels, recording graphs,
compiling) is not counted.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from recipes.gpu.check import SYMBOLS, batch_of, model_of, networks
from recipes.gpu.table import Table
from tts_fm import devices
from tts_fm.audio.mel import FRAMES_PER_SECOND, SAMPLE_RATE
from tts_fm.config import ModelConfig, TrainConfig
from tts_fm.data.batches import Batch
from tts_fm.engines.jobs import Job, chunk_seed
from tts_fm.engines.torch import TorchEngine
from tts_fm.model.flow_model import FlowModel
from tts_fm.model.published import f5_v1
from tts_fm.settings import Settings
from tts_fm.synthesis import BUILTIN, TTS
from tts_fm.text.chunks import ChunkPlan
from tts_fm.train.optimiser import adamw
from tts_fm.voices.stored import Voice, get_voice

BUILTIN_RECIPE = Path(__file__).resolve().parents[1] / "builtin"
# dense bfloat16 products, TFLOP/s, by what is in the card's name: makers' data sheets
PEAKS = {"H200": 989, "H100 PCIe": 756, "H100 NVL": 835, "H100": 989, "A100": 312, "L40S": 362, "4090": 165, "L4": 121}
WORDS = (
    "ð ə", "k w ɪ k", "b ɹ ˈ a͡ʊ n", "f ˈ ɑː k s", "w ɛ n t", "ˈ a͡ʊ t", "ɪ n", "ð ə",
    "m ˈ ɔː ɹ n ɪ ŋ", ",",
)  # fmt: skip
UNITS = [unit for word in WORDS for unit in [*word.split(), " "]]
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy")


def speed(device: torch.device, small: bool, seconds: float, trace: Path | None = None) -> int:
    """Print the table, most wanted rows first and compiled training, which takes longest, last; returns how many rows
    failed. trace: where to leave one of a sampling, for chrome://tracing (.json.gz).
    """
    table = Table("speed", "what", "how", "figure", seconds=seconds)
    sizes = {"f5_small": (f5_v1(SYMBOLS, "small"), 64), "f5_base": (f5_v1(SYMBOLS), 32)}
    trained = {name: (c, 2) for name, c in list(networks(True).items())[:2]} if small else sizes
    fits = {
        name: training(table, name, config, items, device, small, compiled=False)
        for name, (config, items) in trained.items()
    }
    speaking(table, device, small, trace)
    builtin(table, device, small)
    for name, (config, _) in () if small else trained.items():
        training(table, name, config, fits[name], device, small, compiled=True)
    return table.end()


# ---- training


def training(
    table: Table, name: str, config: ModelConfig, items: int, device: torch.device, small: bool, compiled: bool
) -> int:
    """Whole updates on one batch, halved until it fits; returns its items."""
    how, peak = "compiled" if compiled else "eager", peak_of(device)
    with table.attempt(name, f"training, {how}"):
        while True:
            try:
                shape = (items, 96 if small else 1024)
                rate, flop = frames_a_second(config, batch_of(*shape), device, compiled, 1 if small else 3)
                break
            except torch.cuda.OutOfMemoryError:
                if items == 1:
                    raise
            torch.cuda.empty_cache()  # outside of the handler, which still holds what filled the card
            items //= 2
        share = f", {flop / peak:.0%} of {peak} TFLOP/s" if peak else ""
        table.row(name, f"training, {how}, {shape[0]} x {shape[1]}", f"{rate:,.0f} frames/s, {flop:.1f} TFLOP/s{share}")
    return items


def peak_of(device: torch.device) -> int | None:
    """TFLOP/s of the card in bfloat16, where it is known."""
    name = devices.describe(device)
    return next((peak for card, peak in PEAKS.items() if card in name), None)


def frames_a_second(
    config: ModelConfig, b: Batch, device: torch.device, compiled: bool, repeats: int
) -> tuple[float, float]:
    """Mel frames and TFLOP a second of whole updates, best of the repeats. Three forwards' work are counted for an
    update: one there, two back.
    """
    model, times = model_of(config, device).train(), []
    optimiser, b = adamw(model, TrainConfig()), b.to(device)
    if compiled:
        model.net.compile_blocks()
    generator = torch.Generator(device).manual_seed(0)
    dtype = devices.training_dtype(device, bf16=True, fp16=False)
    with devices.precision(device, tf32=True):
        for _ in range(repeats + 2):
            devices.finished(device)
            begin = time.perf_counter()
            with devices.autocast(device, dtype):
                loss = model(b.mel, b.mask, b.hidden, b.ids, b.durations, b.drop_audio, b.drop_text, generator).loss
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
            devices.finished(device)
            times.append(time.perf_counter() - begin)
    best = min(times[2:])
    return b.mask.numel() / best, 3e-12 * model.net.flops(*b.mask.shape) / best


# ---- speaking


def speaking(table: Table, device: torch.device, small: bool, trace: Path | None) -> None:
    """F5-Base from noise to mel, with guidance (two forwards a step); the vocoder is not counted."""
    frames = 192 if small else 1500
    with table.attempt("f5_v1", "speaking"):
        model = model_of(networks(small)["f5_v1"], device).eval().to(devices.speaking_dtype(device))
        for items in (1, 2) if small else (1, 16):
            for graphs in (True, False) if device.type == "cuda" else (False,):
                for steps in (2,) if small else (7, 16, 32) if graphs or items == 1 else (7,):
                    how = f"{steps} steps, batch {items}, {'CUDA graphs' if graphs else 'no graphs'}"
                    with table.attempt("f5_v1", how), recording(graphs):
                        took = best_of(partial(sampled, model, items, frames, steps), device, 3 if items == 1 else 2)
                        kept = "" if model.recordings.works else " (they cannot be recorded)"
                        table.row("f5_v1", how, f"RTF {took * FRAMES_PER_SECOND / (items * (frames - 64)):.5f}{kept}")
        for graphs in (False, True) if device.type == "cuda" else (False,):
            with table.attempt("f5_v1", "host waits per step"), recording(graphs):
                waits(table, model, frames, small, graphs, trace)
        with table.attempt("f5_v1", "operators on the CPU per step"), recording(False):
            few, many = (on_cpu(partial(sampled, model, 1, frames, steps)) for steps in (2, 6))
            each = {name: (count - few.get(name, 0)) / 4 for name, count in many.items() if count > few.get(name, 0)}
            told = ", ".join(f"{name} {count:g}" for name, count in each.items()) if device.type == "cuda" else "all"
            table.row("f5_v1", "operators on the CPU per step", told or "none")


def sampled(model: FlowModel, items: int, frames: int, steps: int) -> torch.Tensor:
    b = batch_of(items, 64)
    return model.sample(b.mel, b.ids, frames, steps=steps, cfg=2.0)


@contextlib.contextmanager
def recording(graphs: bool) -> Iterator[None]:
    """Forwards are recorded as CUDA graphs inside, or not (model/replay.py)."""
    before = os.environ.get("TTS_FM_GRAPHS")
    os.environ["TTS_FM_GRAPHS"] = "1" if graphs else "0"
    try:
        yield
    finally:
        os.environ.pop("TTS_FM_GRAPHS")
        if before is not None:
            os.environ["TTS_FM_GRAPHS"] = before


def best_of(work: Callable[[], object], device: torch.device, times: int) -> float:
    """Seconds of the quickest run, after one that is not counted."""
    found = []
    for _ in range(times + 1):
        devices.finished(device)
        begin = time.perf_counter()
        work()
        devices.finished(device)
        found.append(time.perf_counter() - begin)
    return min(found[1:])


def waits(table: Table, model: FlowModel, frames: int, small: bool, graphs: bool, trace: Path | None) -> None:
    """From two traces, of few and of many steps, what each step adds: waits for the device, copies to the host, and
    numbers read (aten::_local_scalar_dense, of the CPU's tensors too); and how long the device was at work.
    """
    cuda = model.device.type == "cuda"
    kinds = [torch.profiler.ProfilerActivity.CPU, *[torch.profiler.ProfilerActivity.CUDA] * cuda]
    few, many = (1, 2) if small else (8, 16)
    counts, how = [], f"{'CUDA graphs' if graphs else 'no graphs'}"
    for steps in (few, many):
        sampled(model, 1, frames, steps)
        devices.finished(model.device)
        with torch.profiler.profile(activities=kinds, acc_events=True) as profile:
            begin = time.perf_counter()
            sampled(model, 1, frames, steps)
            devices.finished(model.device)
            took = time.perf_counter() - begin
        found = profile.key_averages()
        waited = sum(e.count for e in found if e.key in WAITS)
        copied = sum(e.count for e in found if "DtoH" in e.key)
        read = sum(e.count for e in found if e.key == "aten::_local_scalar_dense")
        counts.append(np.array([waited, copied, read]))
    step = (counts[1] - counts[0]) / (many - few)
    once = counts[0] - few * step
    told = [f"{a:g} (once {b:g})" for a, b in zip(step, once, strict=True)]
    table.row(
        "f5_v1", f"host waits per step, {how}", f"{told[0]}; copies to the host {told[1]}; numbers read {told[2]}"
    )
    if cuda:
        busy = sum(e.self_device_time_total for e in found if str(e.device_type).endswith("CUDA"))
        table.row("f5_v1", f"share of the time at work, {how}", f"{busy * 1e-6 / took:.0%}, with the profiler on")
    if trace is not None:
        trace.parent.mkdir(parents=True, exist_ok=True)
        profile.export_chrome_trace(str(trace))


class OnCpu(TorchDispatchMode):
    """Counts operators that compute with tensors of the CPU alone."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [x for x in torch.utils._pytree.tree_leaves([args, kwargs, result]) if isinstance(x, torch.Tensor)]
        if tensors and all(x.device.type == "cpu" for x in tensors):
            self.counts[str(func)] = self.counts.get(str(func), 0) + 1
        return result


def on_cpu(work: Callable[[], object]) -> dict[str, int]:
    with OnCpu() as seen:
        work()
    return seen.counts


# ---- the built-in voice


def builtin(table: Table, device: torch.device, small: bool) -> None:
    """From phone units to waves, as `tts-fm batch` does it, and each stage alone, in hours of speech an hour."""
    many = 1 if small else 64
    with table.attempt("built-in voice", "loading"):
        stand_in_for_vocos()
        tts = TTS(TorchEngine.load(BUILTIN, str(device)))
        engine, voice = tts.engine, spoken_by()
        with table.attempt("built-in voice", "all of it"):
            jobs = jobs_of(tts, voice, many, repeats=1 if small else 4)
            hours = sum(job.frames - len(job.prompt) for job in jobs) / FRAMES_PER_SECOND / 3600
            size = many * jobs[0].shape[0]
            steps = f"{jobs[0].settings.steps} steps, batch {many}, {3600 * hours / many:.1f} s each"

            def told(what: str, work: Callable[[], object]) -> None:
                with table.attempt("built-in voice", what):
                    seconds = best_of(work, device, 1 if small else 2)
                    table.row("built-in voice", what, f"{hours / seconds * 3600:,.0f} hours of speech an hour")

            told(f"units to wave, {steps}", lambda: list(tts.spoken(jobs, size)))
            texts = [job.ids[1:] for job in jobs]
            told("durations alone", lambda: engine.all_durations(texts, jobs[0].prompt, 1.0))
            told("flow alone", lambda: engine.sample(jobs, jobs[0].settings))
            mels = [
                mel[len(job.prompt) :] for job, mel in zip(jobs, engine.sample(jobs, jobs[0].settings), strict=True)
            ]
            told("vocoder alone", lambda: engine.decode_all(mels))


def stand_in_for_vocos() -> None:
    """Where the package is not installed, the same network as recipes/builtin trains it, under the package's names."""
    if find_spec("vocos") is not None:
        return
    if str(BUILTIN_RECIPE) not in sys.path:
        sys.path.insert(0, str(BUILTIN_RECIPE))
    from generator import Backbone, Head

    def plain(dim: int, n_fft: int, hop: int, padding: str) -> nn.Module:
        head = Head(dim)
        del head.harmonics  # tts_fm/model/vocoder.py adds those that it needs
        return head

    models, heads = ModuleType("vocos.models"), ModuleType("vocos.heads")
    models.VocosBackbone = lambda mels, dim, inner, layers: Backbone(dim, layers)  # type: ignore[attr-defined]
    heads.ISTFTHead = plain  # type: ignore[attr-defined]
    sys.modules |= {"vocos.models": models, "vocos.heads": heads}


def spoken_by() -> Voice:
    """The first stored voice, or a hum of the same length where FLAC cannot be read."""
    try:
        return get_voice(None)
    except (ImportError, ValueError):
        time = np.arange(5 * SAMPLE_RATE) / SAMPLE_RATE
        tone = sum(np.sin(2 * np.pi * 120 * k * time) / k for k in range(1, 30))
        return Voice("a hum", (0.1 * tone * (1 + np.sin(6 * np.pi * time))).astype(np.float32))


def jobs_of(tts: TTS, voice: Voice, many: int, repeats: int) -> list[Job]:
    """The same phones `repeats` times over, as many times with other noise; no phonemiser is needed."""
    settings = Settings().with_defaults(tts.defaults).check()
    vocab, prompt = tts.engine.vocab, voice.mel[: len(voice.mel) // tts.engine.patch * tts.engine.patch]
    units = UNITS * repeats
    plan = ChunkPlan("", [vocab.index(unit) for unit in units], units, 0.0)
    ids, durations, frames = tts.timed([plan], voice, prompt, "en-us", 1.0)[0]
    return [
        Job(prompt, ids, durations, frames, chunk_seed(settings, k), None, plan, settings, voice, "en-us", k)
        for k in range(many)
    ]

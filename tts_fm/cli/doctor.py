"""`tts-fm doctor`: what this install is made of, what works, and what to do about what does not.

Returns 0 when speaking will work, 4 when the built-in model or its voices are missing, 5 when a package is. What it
checks never raises.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from tts_fm import __version__
from tts_fm.cli.common import OUTPUT_FORMATS
from tts_fm.cli.terminal import new_verb, result, result_json

CORE = (
    "numpy",
    "onnxruntime",
    "soundfile",
    "soxr",
    "phonemizer",
    "espeakng-loader",
    "safetensors",
    "tqdm",
)
EXTRAS = {
    "torch": ("torch", "torchaudio", "vocos"),
    "export": ("onnx", "onnxscript"),
    "train": ("accelerate", "tensorboard", "scipy", "librosa"),
    "eval": ("faster-whisper", "jiwer", "resemblyzer", "speechmos", "pesq", "pystoi"),
    "demo": ("gradio",),
    "serve": ("fastapi", "uvicorn", "python-multipart"),
    "media": ("av",),
    "book": ("lxml", "markdown-it-py", "charset-normalizer", "mutagen"),
    "zh": ("pypinyin", "rjieba"),
    "ode": ("torchdiffeq",),
    "ray": ("ray",),
}
# flags of /proc/cpuinfo worth knowing
FEATURES = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_bf16", "bf16", "asimd")
VARIABLES = (
    "TTS_FM_MODEL",
    "TTS_FM_DEVICE",
    "TTS_FM_HOME",
    "TTS_FM_CACHE",
    "TTS_FM_OFFLINE",
    "HF_HUB_OFFLINE",
    "OMP_NUM_THREADS",
)


class Finding(NamedTuple):
    """One line of the report. code: 0 when it is well or does not matter, else what the command returns for it."""

    name: str
    value: str
    code: int = 0


def add_parser(subparsers: Any) -> None:
    """The parser of the verb."""
    parser = new_verb(subparsers, "doctor", "check this install and say what is missing")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the findings as they come."""
    findings = []
    for finding in examine():
        findings.append(finding)
        if not args.json:
            result(f"{'ok  ' if finding.code == 0 else 'FAIL'}  {finding.name:<16}{finding.value}")
    code = max((f.code for f in findings), default=0)
    if args.json:
        result_json({"ok": code == 0, "findings": [f._asdict() | {"ok": f.code == 0} for f in findings]})
    elif not args.quiet:
        result("tts-fm can speak." if code == 0 else "tts-fm cannot speak yet: see FAIL above.")
    return code


def examine() -> Iterator[Finding]:
    """All findings, quick ones first."""
    yield Finding("tts-fm", f"{__version__} in {Path(__file__).parents[1]}")
    yield Finding("python", f"{platform.python_version()} in {sys.prefix}", 0 if sys.version_info >= (3, 11) else 5)
    yield Finding("system", f"{platform.system()} {platform.release()} {platform.machine()}")
    yield Finding("processor", processor())
    for name in CORE:
        found = installed(name)
        yield Finding(name, found or f"missing: pip install {name}", 0 if found else 5)
    yield guarded("espeak-ng", espeak, 5)
    yield guarded("audio formats", formats, 5)
    yield guarded("built-in model", model, 4)
    yield guarded("engine onnx", engine, 4)
    yield from torch_findings()
    yield guarded("voices", voices, 4)
    yield guarded("cache", cache)
    for extra, names in EXTRAS.items():
        lacking = [n for n in names if not installed(n)]
        yield Finding(
            f"extra {extra}",
            f'not installed ({", ".join(lacking)}): pip install "tts-fm[{extra}]"' if lacking else "installed",
        )
    given = [f"{name}={os.environ[name]}" for name in VARIABLES if name in os.environ]
    yield Finding("environment", " ".join(given) or "nothing set")


def guarded(name: str, look: Callable[[], str], code: int = 0) -> Finding:
    """A finding, with what went wrong as its value when looking fails."""
    try:
        return Finding(name, look())
    except Exception as error:
        return Finding(name, (str(error).splitlines() or [type(error).__name__])[0], code)


def installed(name: str) -> str | None:
    """Version of a package, None when it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def processor() -> str:
    """Model, cores and the features that make bf16 quick."""
    name, flags = platform.processor() or platform.machine(), set()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            name = value.strip() if key.strip() == "model name" else name
            flags |= set(value.split()) if key.strip() in ("flags", "Features") else set()
    except OSError:
        pass
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {usable} cores, {' '.join(f for f in FEATURES if f in flags) or 'no known features'}"


def torch_findings() -> Iterator[Finding]:
    """torch and torchaudio, which have to be imported to know whether they fit each other."""
    try:
        torch = importlib.import_module("torch")
    except Exception as error:
        found = installed("torch")
        missing = 'not installed, needed for training, GPUs and published weights: pip install "tts-fm[torch]"'
        yield Finding("engine torch", f"torch {found} does not load: {error}" if found else missing, 5 if found else 0)
        return
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    quick = "bf16 in hardware" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "no bf16 in hardware"
    yield Finding("engine torch", f"torch {torch.__version__}, {torch.get_num_threads()} threads, {quick}, {gpu}")
    try:
        importlib.import_module("torchaudio.functional")
        yield Finding("torchaudio", str(installed("torchaudio")))
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        advice = (
            "they must be of one build; in a fresh environment: "
            'pip install "torch>=2.11,<2.15" "torchaudio>=2.11,<2.12"'
        )
        yield Finding(
            "torchaudio",
            f"{installed('torchaudio')} does not load with torch {torch.__version__}: {first}; {advice}",
            5,
        )


def engine() -> str:
    """What the built-in voice computes with on this CPU, by a frame of speech."""
    import numpy as np

    from tts_fm.devices import sums_of_products_fit
    from tts_fm.engines.onnx import OnnxEngine
    from tts_fm.synthesis import BUILTIN

    found = OnnxEngine(BUILTIN)
    found.decode(np.zeros((2, 100), np.float32))
    bits = "" if found.kind != "int8" else ", 8 bit weights" if sums_of_products_fit() else ", 7 bit weights (no VNNI)"
    return f"{found.kind}, {found.threads} threads{bits}; speaks without torch"


def espeak() -> str:
    """Version of espeak-ng, and proof that it speaks phones."""
    from tts_fm.text.phonemes import espeak_version, phoneme_units

    return f"{espeak_version()}, hello = {''.join(phoneme_units('hello'))}"


def formats() -> str:
    """Formats that can be written, by writing them."""
    import numpy as np

    from tts_fm.audio.files import write_audio

    present = [form for form in OUTPUT_FORMATS if form != "aac" or find_spec("av")]
    for form in present:
        write_audio(io.BytesIO(), np.zeros(2400, np.float32), 24_000, form)
    return " ".join(present)


def model() -> str:
    """The built-in model's files."""
    from tts_fm.cli.models import ASSETS, built_in

    rows = built_in(ASSETS)
    if not rows:
        raise FileNotFoundError(f"there is none in {ASSETS}; reinstall, or give --model")
    return "; ".join(f"{row['name']}: {row['kind']}, {row['bytes'] / 1e6:.1f} MB" for row in rows)


def voices() -> str:
    """The named voices."""
    from tts_fm.voices.stored import catalogue

    known = catalogue()
    if not known:
        raise FileNotFoundError("there are none; give recordings with --ref-audio, or add one with tts-fm voice add")
    return ", ".join(known)


def cache() -> str:
    """The folder of downloads, and the room there is."""
    from tts_fm.checkpoint.names import cache_dir, is_offline

    folder = cache_dir()
    there = next(p for p in (folder, *folder.parents) if p.exists())
    state = "" if os.access(there, os.W_OK) else ", not writable: set TTS_FM_CACHE"
    return f"{folder}, {shutil.disk_usage(there).free / 1e9:.0f} GB free{state}{', offline' if is_offline() else ''}"

"""Where and in which numbers things are computed: the one place that chooses a device, a type, the precision of float32
products, how tensors get to a device, and how many threads the libraries under us start.

bfloat16 is chosen where the hardware multiplies it in matrix units (GPUs since Ampere, CPUs with AVX-512 BF16 or AMX);
else float16 on GPUs that have it, for speaking only; else float32. torch is imported when a function is called. Nothing
here knows networks.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tts_fm.errors import MissingDependency

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# Libraries start a thread for every core and let it spin at each barrier; when another program uses one of the cores,
# all wait for it, and speech takes up to 16 times as long. Threads that sleep lose nothing on a quiet machine.
QUIET = {
    "OMP_WAIT_POLICY": "PASSIVE",  # torch
    "KMP_BLOCKTIME": "0",  # torch with Intel's OpenMP
    "OPENBLAS_NUM_THREADS": "1",  # numpy: its products are small, a second thread would only be waited for
}
SPIN = ("OMP_WAIT_POLICY", "KMP_BLOCKTIME")  # those of QUIET that cost a quiet machine something
IDLE = 0.5  # programs that want to run, in the mean of a minute


def pick(name: str | torch.device | None = None) -> torch.device:
    """The device of that name. None or "auto": $TTS_FM_DEVICE, or a GPU if there is one, or the CPU.

    ValueError for a device that is not here, with the reason.
    """
    import torch

    if name is None or str(name) == "auto":
        name = os.environ.get("TTS_FM_DEVICE") or "auto"
    if str(name) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0].split(". ")[0]
        raise ValueError(f"the device {str(name)!r} cannot be used ({first}); cpu works everywhere") from None
    if device.type == "meta":
        raise ValueError("the device 'meta' computes nothing; cpu works everywhere")
    return device


def name_of(name: str | None = None) -> str:
    """`pick` by name, without torch where the CPU is asked for, or where nothing is and the machine has no GPU."""
    if name is None or name == "auto":
        name = os.environ.get("TTS_FM_DEVICE") or "auto"
    if name == "cpu" or (name == "auto" and not (may_have_gpu() and find_spec("torch"))):
        return "cpu"
    need_torch(f"the device {name}")
    return str(pick(name))


def need_torch(what: str) -> None:
    """Raise MissingDependency, which says what needs it, where torch is not installed."""
    if find_spec("torch") is None:
        raise MissingDependency(f'{what} needs torch, which is not installed: pip install "tts-fm[torch]"')


@contextlib.contextmanager
def importing(what: str, extra: str) -> Iterator[None]:
    """Around the imports of what needs torch: MissingDependency, in one line, where it is not here or does not load."""
    try:
        yield
    except (ImportError, OSError, RuntimeError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise MissingDependency(
            f'{what} needs torch ({first}); install it with: pip install "tts-fm[{extra}]"'
        ) from error


def may_have_gpu() -> bool:
    """Whether there is a driver of a GPU that torch could use, as files tell."""
    drivers = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd", "C:/Windows/System32/nvcuda.dll")
    return any(Path(driver).exists() for driver in drivers)


def has_bf16(device: str | torch.device) -> bool:
    """Whether a device multiplies bfloat16 in matrix units."""
    import torch

    device = torch.device(device)
    if device.type == "cpu":
        features: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
        return bool(features.get("avx512_bf16") or features.get("amx_bf16"))
    if device.type == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return False


def speaking_dtype(device: str | torch.device) -> torch.dtype:
    """What a network computes in when nobody says otherwise."""
    import torch

    device = torch.device(device)
    if has_bf16(device):
        return torch.bfloat16
    if device.type == "cuda" and torch.cuda.is_available() and torch.cuda.get_device_capability(device) >= (7, 0):
        return torch.float16
    return torch.float32


def training_dtype(device: str | torch.device, bf16: bool, fp16: bool) -> torch.dtype:
    """The type of autocast in training. ValueError for a GPU that has no bfloat16 where it is asked for."""
    import torch

    device = torch.device(device)
    if fp16:
        return torch.float16
    if bf16 and device.type == "cuda" and torch.cuda.is_available() and not has_bf16(device):
        raise ValueError(f"{torch.cuda.get_device_name(device)} has no bfloat16: train with bf16=false and fp16=true")
    return torch.bfloat16 if bf16 else torch.float32


def autocast(device: str | torch.device, dtype: torch.dtype) -> contextlib.AbstractContextManager[object]:
    """Inside, products and convolutions are computed in `dtype`; float32 means that no autocast is on, whatever was
    outside.
    """
    import torch

    kind = torch.device(device).type
    if dtype == torch.float32:
        return torch.autocast(kind, enabled=False)
    return torch.autocast(kind, dtype)


@contextlib.contextmanager
def precision(device: str | torch.device, tf32: bool) -> Iterator[None]:
    """Inside, float32 products and convolutions of a GPU run as TF32 (10 bits of mantissa), or in full. As it was
    afterwards; nothing on other devices.
    """
    import torch

    if torch.device(device).type != "cuda":
        yield
        return
    places = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)  # type: ignore[attr-defined]
    before = [place.fp32_precision for place in places]
    try:
        for place in places:
            place.fp32_precision = "tf32" if tf32 else "ieee"
        yield
    finally:
        for place, was in zip(places, before, strict=True):
            place.fp32_precision = was


@contextlib.contextmanager
def repeatable(device: str | torch.device) -> Iterator[None]:
    """Inside, a GPU's sums are in a fixed order (no atomic additions), so that the same work gives the same bits;
    somewhat slower. CPUs do that anyway.
    """
    import torch

    if torch.device(device).type != "cuda":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        torch.use_deterministic_algorithms(True, warn_only=True)
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def send(x: Tensor, device: str | torch.device) -> Tensor:
    """The tensor on a device. From the CPU to a GPU through pinned memory, without waiting for it to arrive."""
    import torch

    device = torch.device(device)
    if device.type == "cuda" and x.device.type == "cpu" and torch.cuda.is_available():
        return (x if x.is_pinned() else x.pin_memory()).to(device, non_blocking=True)
    return x.to(device)


@contextlib.contextmanager
def seeded(device: str | torch.device, seed: int) -> Iterator[None]:
    """Inside, torch's own generators (of the CPU and of this device, no other) begin at `seed`; afterwards they are as
    they were.
    """
    import torch

    device = torch.device(device)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def finished(device: str | torch.device) -> None:
    """Wait until a device has done all that it was told: before a clock is read."""
    import torch

    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def free_bytes(device: str | torch.device) -> int | None:
    """Free memory of a GPU; None for other devices."""
    import torch

    device = torch.device(device)
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" and torch.cuda.is_available() else None


def describe(device: str | torch.device) -> str:
    """The device for people: a GPU's name and memory, or "cpu"."""
    import torch

    device = torch.device(device)
    if device.type == "cuda" and torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(device).total_memory / 2**30
        return f"{torch.cuda.get_device_name(device)}, {memory:.0f} GiB"
    return str(device)


def be_quiet(training: bool = False) -> None:
    """Set the environment for this process, before numpy and torch are imported; what the user has set stays.

    training: it will be at work for minutes. Where nothing else has been in the last one, threads may spin, which is a
    third faster (docs/light.md).
    """
    alone = training and hasattr(os, "getloadavg") and os.getloadavg()[0] < IDLE
    for name, value in QUIET.items():
        if not (alone and name in SPIN):
            os.environ.setdefault(name, value)


def onnxruntime() -> Any:
    """The package onnxruntime, with its telemetry off unless $ORT_DISABLE_TELEMETRY says otherwise: left alone, it
    tells its makers about every session and leaves a file in the temporary folder. Raises MissingDependency.
    """
    be_unobserved()
    try:
        return import_module("onnxruntime")
    except (ImportError, OSError) as error:
        raise MissingDependency(f"onnxruntime does not load ({error}): pip install onnxruntime") from error


def be_unobserved() -> None:
    """Nothing is sent by packages that are imported after this."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def usable_cores() -> int:
    """Cores that this process may use: $OMP_NUM_THREADS, or those of its affinity and its control group."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            cores = min(cores, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass
    return cores


def sums_of_products_fit() -> bool:
    """Whether this CPU adds products of 8 bit numbers in 32 bits. x86 without VNNI adds pairs of them in 16 bits and
    cuts off what is above; there weights are quantised to 7 bits, whose pairs always fit: 2 * 255 * 63 < 2^15.
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    try:
        flags = Path("/proc/cpuinfo").read_text().partition("\nflags")[2].partition("\n")[0].split()
    except OSError:
        return False
    return any(flag in flags for flag in ("avx512_vnni", "avx_vnni"))


def return_memory() -> None:
    """Give freed memory back to the system, where the C library is glibc: batches of ever other sizes leave holes that
    it would keep.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)

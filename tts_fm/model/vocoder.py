"""Mel to waveform: Vocos (the `vocos` package's network with our weights or the published ones) and Griffin-Lim without
weights.

B batch, T mel frames, S = (T - 1) * 256 samples, C channels. Both take log-mels (B, T, 100) of audio/mel.py's
convention and nothing else. A folder holds vocoder.safetensors (the package's own key names) and vocoder.json (sizes
and the mel convention). Vocos: Siuzdak 2023, arXiv
2306.00814. Nothing here knows where weights come from (hub.py) or how they were trained (recipes/builtin).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tts_fm.audio.mel import HOP, MEL_CONVENTION, N_FFT, N_MELS, SAMPLE_RATE
from tts_fm.errors import ModelError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

WEIGHTS, CONFIG = "vocoder.safetensors", "vocoder.json"


def check_convention(found: Mapping[str, Any], where: str = "this vocoder") -> None:
    """ValueError naming every field in which a stored mel convention differs from audio.MEL_CONVENTION."""
    if not isinstance(found, Mapping):
        raise ValueError(f"{where}: mel is {found!r}; an object with {', '.join(MEL_CONVENTION)} is needed")
    absent = object()
    wrong = [
        f"{key} {'is missing' if (got := found.get(key, absent)) is absent else f'is {got!r}'} (needs {want!r})"
        for key, want in MEL_CONVENTION.items()
        if found.get(key, absent) != want
    ]
    if wrong:
        raise ValueError(
            f"{where} was made for another mel: {'; '.join(wrong)}; use a vocoder trained on the mel of audio/mel.py"
        )


def _checked_mel(mel: Tensor, lengths: Sequence[int] | None) -> list[int]:
    """Shape and range checks of a decode() call; returns the frames of each item."""
    if mel.ndim != 3 or mel.shape[2] != N_MELS or mel.shape[1] < 2:
        raise ValueError(f"decode takes log-mels (B, T, {N_MELS}) with T >= 2 frames, not {tuple(mel.shape)}")
    frames = [mel.shape[1]] * mel.shape[0] if lengths is None else [int(n) for n in lengths]
    if len(frames) != mel.shape[0] or any(not 2 <= n <= mel.shape[1] for n in frames):
        raise ValueError(f"lengths are {frames}; {mel.shape[0]} numbers from 2 to {mel.shape[1]} frames are needed")
    return frames


def _by_item(decode: Any, mel: Tensor, lengths: Sequence[int] | None) -> Tensor:
    """decode() on whole batches when all items are as long as the batch, else item by item, zeros after each end.

    One by one is what makes padding exact: each item sees its own edges only.
    """
    frames = _checked_mel(mel, lengths)
    if all(n == mel.shape[1] for n in frames):
        return decode(mel)
    out = mel.new_zeros(mel.shape[0], (mel.shape[1] - 1) * HOP, dtype=_float32())
    for b, n in enumerate(frames):
        out[b, : (n - 1) * HOP] = decode(mel[b : b + 1, :n])[0]
    return out


def _float32() -> torch.dtype:
    import torch

    return torch.float32


class Vocoder:
    """Vocos: a ConvNeXt backbone at frame rate, then a magnitude-and-phase head and an inverse STFT (in float32
    always).
    """

    def __init__(self, dim: int, layers: int, intermediate: int | None = None, compute: str = "float32") -> None:
        """dim, layers: size of the backbone; intermediate: width inside its blocks (3 dim); compute: its type, float32
        or bfloat16.
        """
        from torch import nn
        from vocos.heads import ISTFTHead
        from vocos.models import VocosBackbone

        if compute not in ("float32", "bfloat16"):
            raise ValueError(f"vocoder compute is {compute!r}; float32 or bfloat16 works")
        width = intermediate or 3 * dim
        self.config = {
            "dim": dim,
            "intermediate": width,
            "layers": layers,
            "compute": compute,
            "mel": dict(MEL_CONVENTION),
        }
        self.backbone = VocosBackbone(N_MELS, dim, width, layers)
        self.head = ISTFTHead(dim, N_FFT, HOP, padding="center")
        self.module = nn.ModuleDict({"backbone": self.backbone, "head": self.head}).eval().requires_grad_(False)
        self.compute = compute

    @property
    def device(self) -> torch.device:
        return self.head.out.weight.device

    def to(self, device: torch.device | str) -> Vocoder:
        self.module.to(device)
        return self

    def _decode(self, mel: Tensor) -> Tensor:
        import torch

        with torch.autocast(mel.device.type, torch.bfloat16, enabled=self.compute == "bfloat16"):
            hidden = self.backbone(mel.float().transpose(1, 2))  # (B, 100, T) -> (B, T, C)
        with torch.autocast(mel.device.type, enabled=False):
            return self.head(hidden.float())  # (B, (T - 1) 256)

    def decode(self, mel: Tensor, lengths: Sequence[int] | None = None) -> Tensor:
        """Log-mel (B, T, 100) -> waves (B, (T - 1) * 256) float32 on the vocoder's device, not limited (peaks may
        exceed 1).

        lengths: real frames of each item; what lies behind them is ignored, and the wave is zero there. An item gives
        the same wave alone, in any batch and with any padding (1e-5). ValueError for other shapes.
        """
        import torch

        with torch.no_grad():
            return _by_item(self._decode, mel.to(self.device), lengths)


class GriffinLim:
    """The fallback without weights: least-squares mel inversion, then phases by fast Griffin-Lim (Perraudin 2013).
    Deterministic.
    """

    config: dict[str, Any] = {"kind": "griffin-lim", "mel": dict(MEL_CONVENTION)}

    def __init__(self, iterations: int = 32, momentum: float = 0.99) -> None:
        """iterations: rounds of phase estimation (16 is quick, 60 is as good as it gets)."""
        if iterations < 1 or not 0 <= momentum < 1:
            raise ValueError(
                f"iterations {iterations} and momentum {momentum}: at least 1, and from 0 to below 1, work"
            )
        self.iterations, self.momentum = iterations, momentum
        self._basis: np.ndarray | None = None

    def to(self, device: torch.device | str) -> GriffinLim:
        """Runs on the device of its input; here for the interface of Vocoder."""
        return self

    def _magnitudes(self, mel: Tensor) -> Tensor:
        """exp(log-mel) (B, T, 100) -> non-negative magnitudes (B, 513, T) that give these mels, by multiplicative
        updates.
        """
        import torch
        from torchaudio.functional import melscale_fbanks

        # (513, 100)
        basis = melscale_fbanks(N_FFT // 2 + 1, 0.0, SAMPLE_RATE / 2, N_MELS, SAMPLE_RATE, None, "htk").to(mel.device)
        target = mel.float().clamp(max=12).exp()  # (B, T, 100)
        spec = (target @ torch.linalg.pinv(basis)).clamp(min=1e-5)  # (B, T, 513)
        for _ in range(20):  # Lee and Seung 2001, Euclidean, one factor fixed: stays non-negative, never gets worse
            spec = spec * ((target @ basis.T) / (spec @ basis @ basis.T).clamp(min=1e-10))
        return spec.transpose(1, 2)

    def _decode(self, mel: Tensor) -> Tensor:
        import torch

        magnitude = self._magnitudes(mel)
        window = torch.hann_window(N_FFT, device=mel.device)
        phase = (
            torch.rand(magnitude.shape[1:], generator=torch.Generator().manual_seed(0)).to(mel.device) * 2 * torch.pi
        )
        angles, last = (
            torch.polar(torch.ones_like(phase), phase).expand(magnitude.shape),
            torch.zeros((), dtype=torch.complex64),
        )
        size = (mel.shape[1] - 1) * HOP
        for _ in range(self.iterations):
            wave = torch.istft(magnitude * angles, N_FFT, HOP, window=window, length=size)
            rebuilt = torch.stft(wave, N_FFT, HOP, window=window, return_complex=True, pad_mode="constant")
            angles = rebuilt - last * (self.momentum / (1 + self.momentum))
            angles = angles / angles.abs().clamp(min=1e-16)
            last = rebuilt
        return torch.istft(magnitude * angles, N_FFT, HOP, window=window, length=size)

    def decode(self, mel: Tensor, lengths: Sequence[int] | None = None) -> Tensor:
        """Log-mel (B, T, 100) -> waves (B, (T - 1) * 256) float32; the contract of Vocoder.decode."""
        import torch

        with torch.no_grad():
            return _by_item(self._decode, mel, lengths)


# --- files


def _sizes(state: Mapping[str, Tensor], where: str) -> dict[str, int]:
    """Sizes read from the shapes of a state dict; ModelError when it is not a Vocos of our form."""
    try:
        dim, bins, _ = state["backbone.embed.weight"].shape
        layers = 1 + max(int(k.split(".")[2]) for k in state if k.startswith("backbone.convnext."))
        intermediate = state["backbone.convnext.0.pwconv1.weight"].shape[0]
        out = state["head.out.weight"].shape[0]
    except (KeyError, ValueError, IndexError) as error:
        raise ModelError(
            f"{where} is not a Vocos vocoder (no {error}); keys backbone.* and head.* are needed"
        ) from None
    if (bins, out) != (N_MELS, N_FFT + 2):
        raise ModelError(
            f"{where} takes {bins} mel bins and gives {out} values a frame; {N_MELS} and {N_FFT + 2} are needed"
        )
    return {"dim": dim, "intermediate": intermediate, "layers": layers}


def vocoder_from_state(state: Mapping[str, Tensor], compute: str = "float32", where: str = "the state dict") -> Vocoder:
    """Build a Vocoder from `vocos` weights of any float type: sizes from shapes, feature_extractor.* dropped, cast to
    float32.
    """
    import torch

    state = {k: v for k, v in state.items() if not k.startswith("feature_extractor.")}
    vocoder = Vocoder(**_sizes(state, where), compute=compute)
    state["head.istft.window"] = torch.hann_window(N_FFT)  # exact, whatever type the file keeps
    wanted = vocoder.module.state_dict()
    missing, extra = sorted(set(wanted) - set(state)), sorted(set(state) - set(wanted))
    shape = [k for k in wanted if k in state and state[k].shape != wanted[k].shape]
    if missing or extra or shape:
        raise ModelError(f"{where} does not fit: missing {missing[:3]}, not known {extra[:3]}, other shape {shape[:3]}")
    if bad := [k for k, v in state.items() if not torch.isfinite(v).all()]:
        raise ModelError(f"{where} holds NaN or infinite weights in {bad[0]}; take an earlier checkpoint")
    vocoder.module.load_state_dict({k: v.float() for k, v in state.items()})
    return vocoder


def load_vocoder(source: str | os.PathLike[str], compute: str | None = None) -> Vocoder:
    """Read a folder (vocoder.safetensors + vocoder.json) or one .safetensors file of Vocos weights.

    compute: "float32" or "bfloat16" for the backbone, by default what vocoder.json says. A lone file has no convention
    to check; its shapes must fit. ModelError for missing or damaged files, ValueError for another mel convention.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(source)
    file = path / WEIGHTS if path.is_dir() else path
    if not file.is_file():
        raise ModelError(f"no vocoder at {file}; give a folder with {WEIGHTS} and {CONFIG}, or a .safetensors file")
    if file.suffix != ".safetensors":
        raise ModelError(f"{file} is not .safetensors; convert it first: tts-fm convert {file} OUT")
    config: dict[str, Any] = {}
    if path.is_dir():
        try:
            config = json.loads((path / CONFIG).read_text(encoding="utf-8"))
            check_convention(config["mel"], str(path))
        except (OSError, json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            raise ModelError(
                f"{path / CONFIG} cannot be used ({type(error).__name__}: {error}); it needs dim, layers and mel"
            ) from None
    try:
        state = load_file(file)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file} is damaged or not safetensors ({error}); fetch it again") from None
    vocoder = vocoder_from_state(state, compute or config.get("compute", "float32"), str(file))
    wrong = [k for k in ("dim", "layers", "intermediate") if k in config and config[k] != vocoder.config[k]]
    if wrong:
        raise ModelError(
            f"{path}: {CONFIG} says {wrong[0]} {config[wrong[0]]}, the weights have {vocoder.config[wrong[0]]}"
        )
    return vocoder


def save_vocoder(
    folder: str | os.PathLike[str],
    state: Mapping[str, Tensor],
    config: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> Path:
    """Write vocoder.safetensors and vocoder.json into `folder` (made if missing), each in one rename; returns the
    folder.

    state: `vocos` keys backbone.*, head.*; dtype: how floats are stored (float32; bfloat16 halves the file); config:
    extra fields such as compute, licence, steps; sizes and mel convention are put in from the weights and audio/mel.py.
    """
    import torch
    from safetensors.torch import save

    folder = Path(folder)
    keep = {k: v.detach().cpu() for k, v in state.items() if not k.startswith("feature_extractor.")}
    sizes = _sizes(keep, "the state dict to save")
    if config and "mel" in config:
        check_convention(config["mel"], "the config to save")
    tensors = {k: v.to(dtype or torch.float32).contiguous() for k, v in keep.items()}
    tensors["head.istft.window"] = torch.hann_window(N_FFT)
    text = json.dumps({**(config or {}), **sizes, "kind": "vocos", "mel": dict(MEL_CONVENTION)}, indent=2) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in ((WEIGHTS, save(tensors, {"format": "pt"})), (CONFIG, text.encode())):
        part = folder / f"{name}.part"
        try:
            part.write_bytes(data)
            os.replace(part, folder / name)
        finally:
            part.unlink(missing_ok=True)
    return folder


def convert_vocos(
    bin_path: str | os.PathLike[str], out: str | os.PathLike[str], dtype: torch.dtype | None = None
) -> Path:
    """The published vocos-mel-24khz (pytorch_model.bin, a pickle read with weights_only, or .safetensors) -> our folder
    form.

    ModelError for files that are missing, damaged, or need more than tensors to be read.
    """
    import pickle

    import torch
    from safetensors.torch import load_file

    path = Path(bin_path)
    try:
        state = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except FileNotFoundError:
        raise ModelError(f"no file {path}; give the pytorch_model.bin of vocos-mel-24khz") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise ModelError(f"{path} is damaged, or holds more than tensors, which is not read ({reason})") from None
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise ModelError(f"{path} is not a flat state dict; the pytorch_model.bin of vocos-mel-24khz is needed")
    vocoder_from_state(state, where=str(path))
    return save_vocoder(out, state, {"source": path.name}, dtype)

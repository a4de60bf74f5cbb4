"""Mel to waveform: Vocos (the `vocos` package's network with our weights or the published ones) and Griffin-Lim without
weights.

B batch, T mel frames, S = (T - 1) * 256 samples, C channels. Both take log-mels (B, T, 100) of audio/mel.py's
convention and nothing else. A folder holds vocoder.safetensors (the package's own key names) and vocoder.json (sizes
and the mel convention). Vocos: Siuzdak 2023, arXiv 2306.00814. Nothing here knows where weights come from (checkpoint/)
or how they were trained (recipes/builtin).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from tts_fm import devices
from tts_fm.audio.mel import HOP, LOUDEST, MEL_CONVENTION, N_FFT, N_MELS, SAMPLE_RATE
from tts_fm.errors import ModelError
from tts_fm.model.folder import (
    Field,
    check_fields,
    check_shapes,
    members,
    meta_shapes,
    read_config,
    read_pickle,
    read_shapes,
    read_tensors,
    save,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor

WEIGHTS, CONFIG = "vocoder.safetensors", "vocoder.json"
WINDOW = "head.istft.window"
T = TypeVar("T")


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
    """Vocos: a ConvNeXt backbone at frame rate, then a magnitude-and-phase head, whose low phases may be those of
    harmonics (harmonics.py), and an inverse STFT (in float32 always).
    """

    def __init__(
        self,
        dim: int,
        layers: int,
        intermediate: int | None = None,
        compute: str = "float32",
        harmonic: bool = False,
    ) -> None:
        """dim, layers: size of the backbone; intermediate: width inside its blocks (3 dim); compute: its type, float32
        or bfloat16; harmonic: whether the head reads the pitch too.
        """
        from torch import nn
        from vocos.heads import ISTFTHead
        from vocos.models import VocosBackbone

        from tts_fm.model.harmonics import Harmonics

        if compute not in COMPUTE:
            raise ValueError(f"vocoder compute is {compute!r}; {' or '.join(COMPUTE)} works")
        width = intermediate or 3 * dim
        self.config = {
            "dim": dim,
            "intermediate": width,
            "layers": layers,
            "harmonic": harmonic,
            "compute": compute,
            "mel": dict(MEL_CONVENTION),
        }
        self.backbone = VocosBackbone(N_MELS, dim, width, layers)
        self.head = ISTFTHead(dim, N_FFT, HOP, padding="center")
        if harmonic:
            self.head.harmonics = Harmonics(dim)
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

        from tts_fm.model.harmonics import spectrum

        dtype = torch.bfloat16 if self.compute == "bfloat16" else torch.float32
        with devices.autocast(mel.device, dtype), devices.precision(mel.device, tf32=False):
            hidden = self.backbone(mel.float().transpose(1, 2))  # (B, 100, T) -> (B, T, C)
        with devices.autocast(mel.device, torch.float32):
            real = torch.ones_like(mel[..., :1], dtype=torch.bool)
            return _overlapped(spectrum(self.head, hidden.float()), real, self.head.istft.window)  # (B, (T - 1) 256)

    def decode(self, mel: Tensor, lengths: Sequence[int] | None = None) -> Tensor:
        """Log-mel (B, T, 100) -> waves (B, (T - 1) * 256) float32 on the vocoder's device, not limited (peaks may
        exceed 1).

        lengths: real frames of each item; what lies behind them is ignored, and the wave is zero there. An item gives
        the same wave alone, in any batch and with any padding (1e-5; with harmonics, whose phases are sums over all
        frames before, 1e-4). ValueError for other shapes.
        """
        import torch

        with torch.no_grad():
            mel = devices.send(mel, self.device)
            if lengths is None or self.device.type == "cpu":
                return _by_item(self._decode, mel, lengths)
            return self._decode_padded(mel, _checked_mel(mel, lengths))

    def _decode_padded(self, mel: Tensor, frames: Sequence[int]) -> Tensor:
        """Items of unlike length in one forward, for GPUs, which one item does not fill: what is padded is zero before
        every convolution, and has no share in the sums behind the network.
        """
        import torch

        from tts_fm.model.harmonics import spectrum

        count = devices.send(torch.tensor(frames), mel.device)
        real = (torch.arange(mel.shape[1], device=mel.device) < count[:, None])[..., None]  # (B, T, 1)
        dtype = torch.bfloat16 if self.compute == "bfloat16" else torch.float32
        net, across = self.backbone, real.transpose(1, 2)
        with devices.autocast(mel.device, dtype), devices.precision(mel.device, tf32=False):
            x = net.norm(net.embed(mel.float().masked_fill(~real, 0.0).transpose(1, 2)).transpose(1, 2)).transpose(1, 2)
            for block in net.convnext:
                x = block(x.masked_fill(~across, 0.0))
            hidden = net.final_layer_norm(x.transpose(1, 2))  # (B, T, C)
        with devices.autocast(mel.device, torch.float32):
            return _overlapped(spectrum(self.head, hidden.float()), real, self.head.istft.window)


def _overlapped(spectrum: Tensor, real: Tensor, window: Tensor) -> Tensor:
    """What Vocos' head makes of a spectrum (logarithms of magnitudes, then phases, (B, T, 1026)), of the frames that
    are `real` (B, T, 1) alone: waves (B, (T - 1) * 256), zero behind the end of each. audio.mel.from_spectrum for
    batches.
    """
    import torch
    from torch.nn.functional import fold

    count = spectrum.shape[1]
    sizes: dict[str, Any] = {"kernel_size": (1, N_FFT), "stride": (1, HOP)}
    sizes["output_size"] = (1, (count - 1) * HOP + N_FFT)
    magnitude, phase = spectrum.chunk(2, dim=-1)
    frames = torch.fft.irfft(torch.polar(magnitude.exp().clip(max=LOUDEST), phase), N_FFT) * window  # (B, T, 1024)
    kept = slice(N_FFT // 2, N_FFT // 2 + (count - 1) * HOP)
    wave = fold((frames * real).transpose(1, 2), **sizes)[:, 0, 0, kept]
    weight = fold((window.square() * real).transpose(1, 2), **sizes)[:, 0, 0, kept]
    ends = (real.sum((1, 2)) - 1) * HOP  # (B,)
    inside = torch.arange(wave.shape[1], device=wave.device) < ends[:, None]
    return torch.where(inside, wave / weight.clamp(min=1e-11), 0.0)


class GriffinLim:
    """The fallback without weights: least-squares mel inversion, then phases by fast Griffin-Lim (Perraudin 2013).
    Deterministic.
    """

    config: ClassVar[dict[str, Any]] = {"kind": "griffin-lim", "mel": dict(MEL_CONVENTION)}

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


FIELDS = {
    "dim": Field(int, 1, 8192),
    "layers": Field(int, 1, 1000),
    "intermediate": Field(int, 1, 65536),
}
COMPUTE = ("float32", "bfloat16")


def _sizes(shapes: Mapping[str, tuple[int, ...]], where: str) -> dict[str, int]:
    """Sizes read from the shapes of weights; ModelError when they are not those of a Vocos of our form."""
    try:
        dim, bins, _ = shapes["backbone.embed.weight"]
        layers = members(shapes, "backbone.convnext")
        intermediate = shapes["backbone.convnext.0.pwconv1.weight"][0]
        out = shapes["head.out.weight"][0]
    except (KeyError, ValueError, IndexError) as error:
        raise ModelError(
            f"{where} is not a Vocos vocoder (no {error}); keys backbone.* and head.* are needed"
        ) from None
    if (bins, out) != (N_MELS, N_FFT + 2):
        raise ModelError(
            f"{where} takes {bins} mel bins and gives {out} values a frame; {N_MELS} and {N_FFT + 2} are needed"
        )
    harmonic = any(name.startswith("head.harmonics.") for name in shapes)
    return {"dim": dim, "intermediate": intermediate, "layers": layers, "harmonic": harmonic}


def _own(tensors: Mapping[str, T]) -> dict[str, T]:
    """What is the vocoder's own: no feature extractor, no window, which is computed."""
    return {k: v for k, v in tensors.items() if not k.startswith("feature_extractor.") and k != WINDOW}


def vocoder_from_state(state: Mapping[str, Tensor], compute: str = "float32", where: str = "the state dict") -> Vocoder:
    """Build a Vocoder from `vocos` weights of any float type: sizes from shapes, feature_extractor.* dropped, cast to
    float32. ModelError for weights of anything else.
    """
    import torch

    state = _own(state)
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    sizes: dict[str, Any] = dict(_sizes(shapes, where))
    check_shapes(_own(meta_shapes(lambda: Vocoder(**sizes).module)), shapes, where)
    if bad := [k for k, v in state.items() if not torch.isfinite(v).all()]:
        raise ModelError(f"{where} holds NaN or infinite weights in {bad[0]}; take an earlier checkpoint")
    with torch.random.fork_rng([]):
        vocoder = Vocoder(**sizes, compute=compute)
    window = {WINDOW: torch.hann_window(N_FFT)}  # exact, whatever type the file keeps
    vocoder.module.load_state_dict({k: v.float() for k, v in state.items()} | window)
    return vocoder


def load_vocoder(source: str | os.PathLike[str], compute: str | None = None) -> Vocoder:
    """Read a folder (vocoder.safetensors + vocoder.json) or one .safetensors file of Vocos weights.

    compute: "float32" or "bfloat16" for the backbone, by default what vocoder.json says. A lone file has no convention
    to check; its shapes must fit. ModelError for missing or damaged files, ValueError for another mel convention.
    """
    path = Path(source)
    file = path / WEIGHTS if path.is_dir() else path
    if not file.is_file():
        raise ModelError(f"no vocoder at {file}; give a folder with {WEIGHTS} and {CONFIG}, or a .safetensors file")
    if file.suffix != ".safetensors":
        raise ModelError(f"{file} is not .safetensors; convert it first: tts-fm convert {file} OUT")
    config: dict[str, Any] = {}
    shapes = _own(read_shapes(file))
    if path.is_dir():
        config = _checked_config(path / CONFIG, _sizes(shapes, str(file)))
    return vocoder_from_state(read_tensors(file, float32=False), compute or config.get("compute", "float32"), str(file))


def _checked_config(path: Path, sizes: Mapping[str, int]) -> dict[str, Any]:
    """vocoder.json, whose sizes must be those of the weights; other fields are free."""
    config = read_config(path)
    if "mel" not in config:
        raise ModelError(f"{path} does not say which mel it was made for: mel, dim and layers are needed")
    check_convention(config["mel"], str(path))
    check_fields({name: config[name] for name in FIELDS if name in config}, FIELDS, path)
    if config.get("compute", COMPUTE[0]) not in COMPUTE:
        raise ModelError(f"{path}: compute is {config['compute']!r}; {' or '.join(COMPUTE)} works")
    wrong = [name for name in sizes if name in config and config[name] != sizes[name]]
    if wrong:
        raise ModelError(f"{path}: {wrong[0]} is {config[wrong[0]]}, the weights have {sizes[wrong[0]]}")
    return config


def save_vocoder(
    folder: str | os.PathLike[str],
    state: Mapping[str, Tensor],
    config: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> Path:
    """Write vocoder.safetensors and vocoder.json into `folder` (made if missing); returns the folder.

    state: `vocos` keys backbone.*, head.*; dtype: how floats are stored (float32; bfloat16 halves the file); config:
    extra fields such as compute, licence, steps; sizes and mel convention are put in from the weights and audio/mel.py.
    """
    import torch

    state = _own(state)
    sizes = _sizes({name: tuple(value.shape) for name, value in state.items()}, "the state dict to save")
    if config and "mel" in config:
        check_convention(config["mel"], "the config to save")
    about = {**(config or {}), **sizes, "kind": "vocos", "mel": dict(MEL_CONVENTION)}
    tensors = {k: v.detach().to("cpu", dtype or torch.float32) for k, v in state.items()}
    save(folder, tensors | {WINDOW: torch.hann_window(N_FFT)}, about, names=(WEIGHTS, CONFIG))
    return Path(folder)


def convert_vocos(
    bin_path: str | os.PathLike[str], out: str | os.PathLike[str], dtype: torch.dtype | None = None
) -> Path:
    """The published vocos-mel-24khz (pytorch_model.bin, a pickle read with weights_only, or .safetensors) -> our folder
    form.

    ModelError for files that are missing, damaged, or hold more than tensors.
    """
    path = Path(bin_path)
    if path.suffix == ".safetensors":
        read_shapes(path)
        state = read_tensors(path, float32=False)
    else:
        state = read_pickle(path)
    vocoder_from_state(state, where=str(path))
    return save_vocoder(out, state, {"source": path.name}, dtype)

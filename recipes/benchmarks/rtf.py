"""How fast: real-time factor from text to wave, time to first audio, memory; and F5-Base against the published package.

    python recipes/benchmarks/rtf.py                      the built-in model, 2 threads, default steps
    python recipes/benchmarks/rtf.py --size f5-base       our DiT with F5TTS_v1_Base's sizes and random weights, fp32
      and bf16, beside the
                                                          f5-tts package on the same weights, noise and steps, in one
                                                            run (about 5 minutes
                                                          on 2 cores; pip install f5-tts, else ours alone is timed)

Real-time factor = seconds of computation / seconds of speech, lower is faster. Run it with nothing else running. B = 1,
T mel frames.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tts_fm.audio.mel import FRAMES_PER_SECOND, N_MELS
from tts_fm.errors import TtsFmError
from tts_fm.evaluate.report import hardware

if TYPE_CHECKING:
    import torch

    from tts_fm.config import ModelConfig
    from tts_fm.model.flow_model import FlowModel

SENTENCE = "The birch canoe slid on the smooth planks, and the boy was there when the sun rose above the quiet lake."
TEN_WORDS = "The old man walked slowly down to the grey sea."
SIZES = ("f5-base", "f5-small", "f5-tiny")  # the last one only shows that the script works


def peak_gb() -> float:
    """Largest resident memory of this process so far, in GB."""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    return kilobytes * 1024 / 1e9


def timed(work: Callable[[], Any], repeats: int = 1) -> tuple[Any, float]:
    """The last result and the median seconds."""
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - begin)
    return result, statistics.median(seconds)


# --- the built-in model


def builtin(args: argparse.Namespace) -> dict[str, Any]:
    """Text to wave of one sentence and first chunk of another, after a warm-up."""
    from tts_fm.synthesis import TTS

    options = {key: value for key, value in (("steps", args.steps), ("cfg", args.cfg)) if value is not None}
    tts, load_seconds = timed(lambda: TTS.load(args.model))
    _, first_seconds = timed(lambda: tts.say(SENTENCE, args.voice, **options))
    speech, seconds = timed(lambda: tts.say(SENTENCE, args.voice, **options), args.repeats)
    _, first_audio = timed(lambda: next(iter(tts.stream(TEN_WORDS, args.voice, **options))), args.repeats)
    return {
        "model": str(args.model or "built in"), "voice": speech.voice, "steps": speech.settings.steps,
        "cfg": speech.settings.cfg,
        "forwards": speech.forwards, "speech_seconds": round(speech.seconds, 2), "load_seconds": round(load_seconds, 2),
        "first_call_seconds": round(first_seconds, 3), "seconds": round(seconds, 3),
        "rtf": round(seconds / speech.seconds, 4),
        "first_audio_seconds": round(first_audio, 3), "peak_gb": round(peak_gb(), 2),
    }  # fmt: skip


# --- F5-Base


def network_config(size: str, vocab: int) -> ModelConfig:
    """F5TTS_v1_Base or Small, or the same shape in tiny."""
    import dataclasses

    from tts_fm.model.published import f5_v1

    if size == "f5-tiny":
        return dataclasses.replace(f5_v1(vocab, "small"), dim=128, depth=2, heads=2, text_dim=64, text_layers=1)
    return f5_v1(vocab, size.removeprefix("f5-"))


def random_model(config: ModelConfig) -> FlowModel:
    """A network whose layers all do something: what starts at zero (adaLN, the output) is drawn too, so that errors can
    show.
    """
    import torch

    from tts_fm.model.flow_model import FlowModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = FlowModel(config, [chr(32 + i) for i in range(config.vocab)])
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1 and not parameter.any():
                parameter.normal_(0, 0.5 * parameter.shape[1] ** -0.5, generator=generator)
    return model.eval()


def published_sampler(model: FlowModel, config: ModelConfig) -> Any | None:
    """The f5-tts package's CFM with our weights in it, or None when it is not installed."""
    try:
        from f5_tts.model import CFM, DiT
    except ImportError as error:
        print(f"f5-tts is not installed, so ours is timed alone ({error}); pip install f5-tts", file=sys.stderr)
        return None
    sizes = {
        "dim": config.dim,
        "depth": config.depth,
        "heads": config.heads,
        "ff_mult": int(config.ff_mult),
        "text_dim": config.text_dim,
    }
    theirs = DiT(**sizes, conv_layers=config.text_layers, text_num_embeds=config.vocab, mel_dim=N_MELS)
    missing, extra = theirs.load_state_dict(model.net.state_dict(), strict=False)
    if extra or any("rotary" not in name for name in missing):
        raise ValueError(
            f"this version of f5-tts names its weights otherwise: it lacks {extra[:3]}, has {missing[:3]}; 1.1.x works"
        )
    return CFM(theirs).eval()


def compare(args: argparse.Namespace) -> dict[str, Any]:
    """One generation with each of: the package in fp32, ours in fp32, ours in bf16. Mels of the same weights, noise,
    grid and guidance.
    """
    import torch

    from tts_fm import devices

    config, device = network_config(args.size, vocab=2545), devices.pick()
    steps, cfg = args.steps if args.steps is not None else 8, args.cfg if args.cfg is not None else 2.0
    prompt, new = round(3 * FRAMES_PER_SECOND), round(args.seconds * FRAMES_PER_SECOND)
    frames, seed = prompt + new, 0
    generator = torch.Generator().manual_seed(2)
    cond = torch.randn(1, prompt, N_MELS, generator=generator)
    ids = torch.randint(0, 90, (1, round(15 * (3 + args.seconds))), generator=generator)  # 15 symbols a second
    # (T, 100), what the package draws with this seed
    noise = torch.randn(frames, N_MELS, generator=torch.Generator().manual_seed(seed))
    model = random_model(config)
    published = published_sampler(model, config)
    published = None if published is None else published.to(device)
    model, cond, ids = model.to(device), cond.to(device), ids.to(device)
    report: dict[str, Any] = {
        "size": args.size, "parameters_m": round(sum(p.numel() for p in model.parameters()) / 1e6, 1), "steps": steps,
        "cfg": cfg,
        "forwards": steps * (2 if cfg else 1), "prompt_seconds": 3, "speech_seconds": args.seconds,
        "scope": "text and prompt to mel",
    }  # fmt: skip
    mels: dict[str, torch.Tensor] = {}

    def run(name: str, work: Callable[[int, int], torch.Tensor]) -> None:
        work(max(prompt, ids.shape[1]) + 1, 1)  # warm-up: one step, as short as the package allows
        mel, seconds = timed(lambda: work(frames, steps).cpu(), args.repeats)
        mels[name] = mel.detach().float()[:, prompt:frames]
        report[name] = {"seconds": round(seconds, 2), "rtf": round(seconds / args.seconds, 3)}

    def ours(frames: int, steps: int) -> torch.Tensor:
        return model.sample(
            cond.to(model.dtype), text=ids, frames=frames, steps=steps, sway=-1.0, cfg=cfg, noise=noise[:frames]
        )

    def theirs(frames: int, steps: int) -> torch.Tensor:
        assert published is not None
        with torch.random.fork_rng(devices=[]):  # its seed is the global one
            return published.sample(
                cond, ids, frames, steps=steps, cfg_strength=cfg, sway_sampling_coef=-1.0, seed=seed
            )[0]

    if published is not None:
        run("published_fp32", theirs)
    run("ours_fp32", ours)
    model = model.to(torch.bfloat16)
    run("ours_bf16", ours)
    spread = mels["ours_fp32"].std().item()
    report["mel_error_bf16"] = _errors(mels["ours_bf16"], mels["ours_fp32"], spread)
    if published is not None:
        report["mel_error_to_published_fp32"] = _errors(mels["ours_fp32"], mels["published_fp32"], spread)
        slow = report["published_fp32"]["seconds"]
        report["times_faster"] = {kind: round(slow / report[kind]["seconds"], 2) for kind in ("ours_fp32", "ours_bf16")}
    return report | {"peak_gb": round(peak_gb(), 2)}


def _errors(mel: torch.Tensor, truth: torch.Tensor, spread: float) -> dict[str, float]:
    gap = (mel - truth).abs()
    figures = {"mean": gap.mean().item(), "max": gap.max().item(), "mean_over_std": gap.mean().item() / spread}
    return {name: float(f"{value:.3g}") for name, value in figures.items()}


def main() -> int:
    from device import parsed

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("builtin", *SIZES), default="builtin")
    parser.add_argument("--model", type=Path, help="a model folder instead of the built-in one")
    parser.add_argument("--voice", help="name or recording (default: the first built-in voice)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, help="default: the model's; 8 for the f5 sizes")
    parser.add_argument("--cfg", type=float, help="default: the model's; 2 for the f5 sizes")
    parser.add_argument("--seconds", type=float, default=10.0, help="speech to generate, f5 sizes only")
    parser.add_argument("--repeats", type=int, help="the median of so many runs counts (default 5; 1 for the f5 sizes)")
    parser.add_argument("--out", type=Path, help="write the figures here as JSON")
    args = parsed(parser)
    import torch

    torch.set_num_threads(args.threads)
    if args.repeats is None:
        args.repeats = 5 if args.size == "builtin" else 1
    try:
        report = builtin(args) if args.size == "builtin" else compare(args)
    except (TtsFmError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 2)
    report |= {"hardware": hardware(), "torch": torch.__version__}
    for key, value in report.items():
        print(f"{key:<28} {value}")
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

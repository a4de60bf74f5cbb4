"""How soon, how fast and how large, without torch: every figure beside the same of the torch path, in one run.

    python recipes/benchmarks/light.py                 cold start, real-time factor, first audio, a busy core, memory,
      and what each part of speaking takes beside a step of the solver
    python recipes/benchmarks/light.py --install       and an empty clone to the first wave (`make say`): seconds, MB
    python recipes/benchmarks/light.py --f5            and F5-Base's sizes with random weights, 16 forwards: int8 and
      float32 graphs beside our torch in float32 and bfloat16 and the f5-tts package (about 10 minutes, 6 GB of disk)

Medians; run it with nothing else running. Every figure comes from a process of its own. "before" is torch in the type
that suits the CPU, 8 steps, threads that spin, as it was until graphs came; "torch" is the same today.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SENTENCE = "The birch canoe slid on the smooth planks, and the boy was there when the sun rose above the quiet lake."
TEN_WORDS = "The old man walked slowly down to the grey sea."
STEP = "one step of the solver"
#: name -> engine, dtype, steps (None: the model's), whether threads spin
PATHS: dict[str, tuple[str, str | None, int | None, bool]] = {
    "before": ("torch", None, 8, True),
    "torch": ("torch", None, None, False),
    "onnx float32": ("onnx", "float32", None, False),
    "onnx int8": ("onnx", "int8", None, False),
}


def main() -> int:
    from device import parsed

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7, help="of every figure (default: 7)")
    parser.add_argument("--install", action="store_true", help="also an empty clone to the first wave")
    parser.add_argument("--f5", nargs="?", const="base", choices=("base", "small"), help="also F5-TTS's sizes")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parsed(parser)
    if args.child:
        print(json.dumps(CHILDREN[args.child](**json.loads(sys.stdin.read()))))
        return 0
    report: dict[str, Any] = {}
    for name, (engine, dtype, steps, loud) in PATHS.items():
        how = {"engine": engine, "dtype": dtype, "steps": steps, "repeats": args.repeats}
        row = report[name] = child("speak", loud, **how)
        row["cold"] = cold(engine, dtype, steps, loud, max(3, args.repeats // 2))
        with busy_core():
            row["busy"] = child("speak", loud, **how)["rtf"]
    report["parts"] = child("parts", False, repeats=args.repeats)
    if args.install:
        report["install"] = install()
    if args.f5:
        report["f5"] = child("f5", False, size=args.f5)
    print(json.dumps(report) if args.json else "\n".join(table(report)))
    return 0


def table(report: dict[str, Any]) -> Iterator[str]:
    """The report for people, as Markdown."""
    columns = [name for name in report if name in PATHS]
    yield f"| two threads, medians | {' | '.join(columns)} | wanted |"
    yield "|---" * (len(columns) + 2) + "|"
    before, ours = report["before"], report["onnx int8"]
    rows = {
        "steps": ("steps", 1, "{:.0f}", ""),
        "`tts-fm say` of a sentence, cold, s": ("cold", 1, "{:.2f}", "1.2"),
        "real-time factor": ("rtf", 1, "{:.3f}", "a third of before"),
        "the same, one core busy": ("busy", 1, "{:.3f}", "twice the quiet"),
        "first audio of ten words, ms": ("first", 1e3, "{:.0f}", "150, a third of before"),
        "resident, MB": ("resident", 1, "{:.0f}", "250"),
    }
    for what, (key, scale, form, wanted) in rows.items():
        yield f"| {what} | {' | '.join(form.format(report[c][key] * scale) for c in columns)} | {wanted} |"
    yield ""
    yield (
        f"int8 against before: RTF {before['rtf'] / ours['rtf']:.1f} times lower, first audio "
        f"{before['first'] / ours['first']:.1f} times sooner; with a core busy {ours['busy'] / ours['rtf']:.1f} times "
        f"its quiet RTF (before: {before['busy'] / before['rtf']:.1f})."
    )
    yield "\n| part of speaking (int8) | ms, ten words | ms, a sentence |\n|---|---|---|"
    for name, pair in report["parts"].items():
        yield f"| {name} | {pair[0] * 1e3:.1f} | {pair[1] * 1e3:.1f} |"
    slow = [
        name for name, pair in report["parts"].items()
        if name != STEP and any(took > step for took, step in zip(pair, report["parts"][STEP], strict=True))
    ]  # fmt: skip
    yield f"\nlonger than {STEP}: {', '.join(slow) or 'nothing'}\n"
    if "install" in report:
        yield "an empty clone to the first wave: {seconds:.0f} s, {megabytes:.0f} MB (wanted: 30 s, 400 MB)".format(
            **report["install"]
        )
    for name, value in report.get("f5", {}).items():
        yield f"f5 {name}: {value if isinstance(value, str) else round(value, 3)}"


# ---- what is measured, from outside


def environment(loud: bool) -> dict[str, str]:
    """Of a process with two threads: libraries as they come, or as the command line sets them."""
    from tts_fm.devices import QUIET

    clean = {name: value for name, value in os.environ.items() if name not in QUIET}
    return clean | {"OMP_NUM_THREADS": "2", "PYTHONPATH": str(ROOT)} | ({} if loud else QUIET)


def child(what: str, loud: bool, **how: Any) -> dict[str, Any]:
    """One of CHILDREN in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--child", what], input=json.dumps(how), env=environment(loud), text=True,
        stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def cold(engine: str, dtype: str | None, steps: int | None, loud: bool, repeats: int) -> float:
    """Seconds of `tts-fm say`, from nothing."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tts_fm", "say", TEN_WORDS, "-q", "-o", f"{folder}/a.wav", "--engine", engine]
        command += ["--dtype", str(dtype)] * (dtype is not None) + ["--steps", str(steps)] * (steps is not None)
        seconds = []
        for _ in range(repeats + 1):  # the first one fills the disk's cache
            began = time.perf_counter()
            subprocess.run(command, env=environment(loud), check=True, stdout=subprocess.DEVNULL)
            seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[1:])


@contextmanager
def busy_core() -> Iterator[None]:
    """Another program computes on one core."""
    other = subprocess.Popen([sys.executable, "-c", "while True: sum(range(10000))"])
    try:
        time.sleep(0.5)
        yield
    finally:
        other.kill()
        other.wait()


def install() -> dict[str, float]:
    """`make say` in an empty clone: seconds, and MB of what it installed."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        began = time.perf_counter()
        subprocess.run(["make", "say"], cwd=clone, env=clean, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
        size = sum(path.lstat().st_size for path in (clone / ".venv").rglob("*") if path.is_file())
        return {"seconds": seconds, "megabytes": size / 1e6}


# ---- what is measured, inside


def speak(engine: str, dtype: str | None, steps: int | None, repeats: int) -> dict[str, float]:
    """Real-time factor from text to wave, seconds to the first chunk of ten words, memory."""
    from tts_fm import TTS

    tts = TTS.load(engine=engine, dtype=dtype)
    how = {} if steps is None else {"steps": steps}
    tts.say(SENTENCE, **how)  # opens the sessions
    factors, firsts, speech = [], [], None
    for _ in range(repeats):
        began = time.perf_counter()
        speech = tts.say(SENTENCE, **how)
        factors.append((time.perf_counter() - began) / speech.seconds)
        began = time.perf_counter()
        next(iter(tts.stream(TEN_WORDS, **how)))
        firsts.append(time.perf_counter() - began)
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert speech is not None
    return {
        "rtf": statistics.median(factors), "first": statistics.median(firsts), "steps": speech.settings.steps or 0,
        "resident": kilobytes / 1024,
    }  # fmt: skip


def parts(repeats: int) -> dict[str, list[float]]:
    """Seconds that each part of speaking takes, for both texts: medians of calls, the graphs by their names."""
    from tts_fm import TTS
    from tts_fm.engines import sound
    from tts_fm.engines.onnx import OnnxEngine
    from tts_fm.text import chunks

    took: dict[str, list[float]] = {}

    def watched(name: str, work: Any) -> Any:
        def timed(*args: Any, **how: Any) -> Any:
            began = time.perf_counter()
            found = work(*args, **how)
            took.setdefault(name, []).append(time.perf_counter() - began)
            return found

        return timed

    tts = TTS.load(engine="onnx")
    run, called = OnnxEngine.run, {"velocity": STEP}

    def graph(engine: Any, name: str, **inputs: Any) -> Any:
        return watched(called.get(name, f"graph {name}"), run)(engine, name, **inputs)

    tts.say(TEN_WORDS)  # opens the sessions
    OnnxEngine.run = graph  # type: ignore[method-assign, assignment]  # a student's too
    tts.engine.decode = watched("vocoder and inverse STFT", tts.engine.decode)
    # the names that sound and chunks call them by
    for module, name, part in (
        (chunks, "spoken_units", "phonemes"), (sound, "matched", "match"), (sound, "lifted", "level"),
        (sound, "limit", "limiter"), (sound, "word_times", "word times"),
    ):  # fmt: skip
        setattr(module, name, watched(part, getattr(module, name)))
    tts.plan = watched("all before the flow", tts.plan)
    columns = []
    for text in (TEN_WORDS, SENTENCE):
        tts.say(text)
        took.clear()
        for _ in range(repeats):
            tts.say(text)
        columns.append({name: statistics.median(times) for name, times in took.items()})
    return {name: [column[name] for column in columns] for name in columns[0]}


def f5(size: str) -> dict[str, Any]:
    """Seconds of 16 forwards over 3 s of prompt and 5 s of speech, with F5-TTS's sizes and random weights."""
    import numpy as np
    import torch

    sys.path.insert(0, str(Path(__file__).parent))
    from rtf import network_config, published_sampler, random_model

    from tts_fm.audio.mel import FRAMES_PER_SECOND, N_MELS
    from tts_fm.checkpoint.load import save_flow_model
    from tts_fm.engines import Utterance
    from tts_fm.engines.export import export_onnx
    from tts_fm.engines.onnx import OnnxEngine
    from tts_fm.engines.torch import TorchEngine
    from tts_fm.settings import Settings

    torch.set_num_threads(2)
    model = random_model(network_config(f"f5-{size}", vocab=2545))
    generator = np.random.default_rng(0)
    prompt, frames = round(3 * FRAMES_PER_SECOND), round(8 * FRAMES_PER_SECOND)
    asked = Utterance(
        generator.normal(-3, 2, (prompt, N_MELS)).astype(np.float32), generator.integers(0, 90, 120).tolist(), None,
        frames, 0,
    )  # fmt: skip
    how = Settings(steps=16, cfg=0.0).with_defaults({})
    result: dict[str, Any] = {}

    def timed(name: str, work: Any) -> Any:
        work(1)  # warm-up
        began = time.perf_counter()
        found = work(16)
        result[f"{name}, s"] = time.perf_counter() - began
        return found

    def ours(engine: Any) -> Any:
        return lambda steps: engine.sample([asked], Settings(steps=steps, cfg=0.0).with_defaults({}))[0]

    assert how.forwards() == 16
    published = published_sampler(model, model.config)
    if published is not None:
        noise = torch.random.fork_rng(devices=[])

        def theirs(steps: int) -> Any:
            with noise:
                return published.sample(
                    torch.from_numpy(asked.prompt)[None], torch.tensor([asked.ids]), frames, steps=steps,
                    cfg_strength=0.0, sway_sampling_coef=-1.0, seed=0,
                )  # fmt: skip

        timed("f5-tts package, float32", theirs)
    vocoder = ROOT / "tts_fm" / "assets" / "builtin" / "vocoder"
    with tempfile.TemporaryDirectory() as folder:
        from tts_fm.model.vocoder import load_vocoder

        save_flow_model(folder, model, {"name": "char"})
        exact = timed("torch float32", ours(TorchEngine(model, load_vocoder(vocoder))))
        timed("torch bfloat16", ours(TorchEngine(model.to(dtype=torch.bfloat16), load_vocoder(vocoder))))
        del model
        export_onnx(folder, folder, int8=True, vocoder=vocoder)
        for kind in ("float32", "int8"):
            found = timed(f"onnx {kind}", ours(OnnxEngine(Path(folder), kind)))
            error = np.square(found - exact)[prompt:].mean() / np.square(exact[prompt:]).mean()
            result[f"onnx {kind}, relative error of the mel"] = float(error**0.5)
    return result


CHILDREN: dict[str, Any] = {"speak": speak, "parts": parts, "f5": f5}

if __name__ == "__main__":
    sys.exit(main())

"""The ceiling that a vocoder sets: true mels through it, measured against the recordings they came from.

    python recipes/builtin/copy_synthesis.py tts_fm/assets/builtin/vocoder --steady --corpus ../shared/corpus
      --prompts ../shared/eval/dev.jsonl
    python recipes/builtin/copy_synthesis.py runs/builtin/vocoder/last.pt --corpus ../shared/corpus        (a training
      checkpoint: its EMA)
    python recipes/builtin/copy_synthesis.py griffin-lim --corpus ../shared/corpus

For 40 validation clips of a corpus (manifest.jsonl) and for the prompts of an evaluation list: PESQ-wb, STOI, DNSMOS of
the original, of the copy and their difference, WER of both, speaker similarity of the two, L1 of the log-mels, and the
vocoder's real-time factor. S samples. Needs the extra `eval`; about 4 minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from tts_fm.audio.files import load, write_audio
from tts_fm.audio.mel import MIN_SAMPLES, N_MELS, SAMPLE_RATE, log_mel
from tts_fm.audio.steady import steadied
from tts_fm.errors import ModelError, TtsFmError
from tts_fm.evaluate import metrics
from tts_fm.evaluate.lists import read_eval_list
from tts_fm.evaluate.report import hardware

MEASURES = (
    "pesq",
    "stoi",
    "dnsmos_original",
    "dnsmos_copy",
    "dnsmos_difference",
    "wer_original",
    "wer_copy",
    "similarity",
    "mel_l1",
)


def open_vocoder(source: str) -> Any:
    """A vocoder folder, a .safetensors file, the last.pt of recipes/builtin/vocoder.py, or the word griffin-lim."""
    from tts_fm.model.vocoder import GriffinLim, load_vocoder, vocoder_from_state

    if source == "griffin-lim":
        return GriffinLim()
    if not source.endswith(".pt"):
        return load_vocoder(source)
    import torch

    try:
        state = torch.load(source, map_location="cpu", weights_only=True, mmap=True)["ema"]
    except (OSError, RuntimeError, KeyError) as error:
        raise ModelError(
            f"{source} is not a checkpoint of recipes/builtin/vocoder.py ({type(error).__name__}: {error})"
        ) from None
    return vocoder_from_state(state, where=source)


def corpus_clips(root: Path, split: str, count: int) -> list[tuple[Path, str]]:
    """`count` clips of a split, evenly spread over the manifest: (audio file, text) each."""
    with (root / "manifest.jsonl").open(encoding="utf-8") as file:
        rows = [
            row
            for row in map(json.loads, file)
            if row["split"] == split and row["seconds"] * SAMPLE_RATE >= MIN_SAMPLES
        ]
    if len(rows) < count:
        raise ValueError(
            f"{root}/manifest.jsonl has {len(rows)} clips of split {split!r}; ask for at most as many (--clips)"
        )
    return [(root / rows[i * len(rows) // count]["audio"], rows[i * len(rows) // count]["text"]) for i in range(count)]


def prompt_clips(path: Path) -> list[tuple[Path, str]]:
    """Every prompt of an evaluation list that has a transcript, once."""
    return sorted({(item.ref_audio, item.ref_text) for item in read_eval_list(path) if item.ref_text})


class Judge:
    """All measures of a copy against its original."""

    def __init__(self, asr: str | None) -> None:
        self.asr = None if asr == "none" else metrics.Whisper(asr or metrics.WHISPER_FOLDER)
        self.encoder = metrics.SpeakerEncoder()

    def __call__(self, truth: np.ndarray, copy: np.ndarray, text: str) -> dict[str, Any]:
        """(S,), (S,) at 24 kHz -> a value for each measure; those of WER are metrics.Errors."""
        before, after = (metrics.dnsmos(wave, SAMPLE_RATE)["overall"] for wave in (truth, copy))
        row: dict[str, Any] = {
            "pesq": metrics.pesq_wb(truth, copy, SAMPLE_RATE),
            "stoi": metrics.stoi(truth, copy, SAMPLE_RATE),
            "dnsmos_original": before,
            "dnsmos_copy": after,
            "dnsmos_difference": after - before,
            "similarity": float(self.encoder.embed(truth, SAMPLE_RATE) @ self.encoder.embed(copy, SAMPLE_RATE)),
        }
        if self.asr is not None:
            row["wer_original"] = metrics.word_errors(text, self.asr(truth, SAMPLE_RATE))
            row["wer_copy"] = metrics.word_errors(text, self.asr(copy, SAMPLE_RATE))
        return row


def measure(
    vocoder: Any, clips: list[tuple[Path, str]], judge: Judge, audio: Path | None, steady: bool = False
) -> list[dict[str, Any]]:
    """Copy every clip, steady the copy if asked to, and judge it; waves go to `audio` as NAME.wav and
    NAME.original.wav.
    """
    import torch
    from tqdm import tqdm

    rows = []
    vocoder.decode(torch.full((1, 94, N_MELS), -11.5))  # warm-up, not timed
    for path, text in tqdm(clips, unit="clip"):
        truth = load(path)
        mel = torch.from_numpy(log_mel(truth))[None]
        begin = time.perf_counter()
        copy = vocoder.decode(mel)[0].numpy()
        copy = steadied(copy, mel[0].numpy()) if steady else copy
        compute = time.perf_counter() - begin
        again = torch.from_numpy(log_mel(copy))[None]
        row = {"clip": path.name, "seconds": len(copy) / SAMPLE_RATE, "compute": compute}
        row["mel_l1"] = (again - mel[:, : again.shape[1]]).abs().mean().item()
        rows.append(row | judge(truth, copy, text))
        if audio is not None:
            audio.mkdir(parents=True, exist_ok=True)
            write_audio(audio / f"{path.stem}.wav", copy, SAMPLE_RATE)
            write_audio(audio / f"{path.stem}.original.wav", truth, SAMPLE_RATE)
    return rows


def summary(rows: list[dict[str, Any]]) -> dict[str, metrics.Figure]:
    """One figure with its interval for each measure taken: means, but rates of the whole for WER and RTF."""
    out = {"rtf": metrics.figure([row["compute"] for row in rows], [row["seconds"] for row in rows])}
    for name in MEASURES:
        if name in rows[0] and name.startswith("wer"):
            out[name] = metrics.figure([row[name].edits for row in rows], [row[name].length for row in rows])
        elif name in rows[0]:
            out[name] = metrics.figure([row[name] for row in rows])
    return out


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vocoder", help="folder, .safetensors file, training checkpoint .pt, or griffin-lim")
    parser.add_argument("--corpus", type=Path, help="folder with manifest.jsonl")
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--split", default="valid")
    parser.add_argument("--prompts", type=Path, help="evaluation list whose prompts are copied too")
    parser.add_argument("--asr", help="Whisper folder or size name (default ~/.cache/whisper-base-ct2); none: no WER")
    parser.add_argument("--out", type=Path, help="write a JSON here")
    parser.add_argument("--steady", action="store_true", help="mend phases and magnitudes, as the voice does")
    parser.add_argument("--audio", type=Path, help="write the waves into this folder")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    if args.corpus is None and args.prompts is None:
        parser.error("give --corpus, --prompts, or both")
    return args


def run(args: argparse.Namespace) -> None:
    import torch

    torch.set_num_threads(args.threads)
    sets: dict[str, list[tuple[Path, str]]] = {}
    if args.corpus is not None:
        sets[f"{args.clips} clips of {args.split}"] = corpus_clips(args.corpus, args.split, args.clips)
    if args.prompts is not None:
        sets["prompts"] = prompt_clips(args.prompts)
    vocoder, judge = open_vocoder(args.vocoder), Judge(args.asr)
    asr = judge.asr.name if judge.asr else "none"
    report: dict[str, Any] = {
        "vocoder": args.vocoder,
        "steady": args.steady,
        "asr": asr,
        "speaker_encoder": judge.encoder.name,
        "hardware": hardware(),
    }
    for name, clips in sets.items():
        rows = measure(vocoder, clips, judge, args.audio, args.steady)
        figures = summary(rows)
        print(f"{name} ({len(rows)}), {args.vocoder}{', steadied' if args.steady else ''}")
        for key, f in figures.items():
            print(f"  {key:<18} {f.value:8.4f}  [{f.low:.4f}, {f.high:.4f}]")
        plain = [{k: v._asdict() if isinstance(v, metrics.Errors) else v for k, v in row.items()} for row in rows]
        report[name] = {"figures": {k: f._asdict() for k, f in figures.items()}, "items": plain}
    print(f"  asr: {asr}; {report['hardware']}")
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    try:
        run(parse())
    except TtsFmError as error:
        print(f"error: {error}")
        return error.exit_code
    except ValueError as error:
        print(f"error: {error}")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

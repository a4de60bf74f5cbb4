"""What each choice of flow matching is worth on speech: one small network, trained again and again with one thing
changed, judged by what is heard.

    python recipes/builtin/cache.py CORPUS runs/builtin/cache
    nice -n 10 python recipes/lab/ablate.py runs/builtin/cache runs/lab/ablate --list dev.jsonl --updates 4000
    python recipes/lab/ablate.py runs/builtin/cache runs/lab/ablate --list dev.jsonl --plot docs/flow/ablation.png \\
        --into docs/flow.md

All variants (--only names some) share data, order of batches, seed, first weights and number of updates; the network
has 6 million parameters. Each speaks the list's sentences at each of --forwards (Euler, no guidance; the prompt's
colour is not carried over) with the built-in voice's durations and vocoder: word error rate, speaker similarity and
DNSMOS, with bootstrap 95 % intervals, and whether the difference from the first variant is sure. Run it again to go on
where it was stopped; results.jsonl has a line for each variant and number of forwards, and those that are there are not
made again. Where there is a GPU it trains; --train-only there, and the same folder is judged elsewhere. --plot and
--into train nothing: they draw what is there, and write it as a table with a line for each variant into a page, between
two marks.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import shutil
import statistics
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

from tts_fm.evaluate.metrics import Figure, figure

RECIPES = Path(__file__).parents[1] / "builtin"
BASE = "ot, uniform times, independent noise"
# name -> what differs from BASE, in ModelConfig ("path") or TrainConfig
VARIANTS: dict[str, dict[str, Any]] = {
    BASE: {},
    "path ot(1e-4)": {"path": "ot(1e-4)"},
    "path ot(0.01)": {"path": "ot(0.01)"},
    "path cosine": {"path": "cosine"},
    "path vp(0.1, 20)": {"path": "vp(0.1, 20)", "weighting": "unit"},
    "path ve(0.01, 50)": {"path": "ve(0.01, 50)", "weighting": "unit"},
    "times logit_normal(0, 1)": {"time_law": "logit_normal(0, 1)"},
    "times mode(1.29)": {"time_law": "mode(1.29)"},
    "times sway(-1)": {"time_law": "sway(-1)"},
    "times shift(0.5)": {"time_law": "shift(0.5)"},
    "coupling ot": {"coupling": "ot"},
    "weighting data": {"weighting": "data"},
    "weighting noise": {"weighting": "noise"},
    "drop_both 0.1": {"drop_both": 0.1},  # can be guided when it speaks
    "guidance 0.5": {"drop_both": 0.1, "guidance": 0.5},  # need not
}
MEASURES = ("wer", "sim", "dnsmos")
MARKS = ("<!-- ablation -->", "<!-- end of the ablation -->")  # between which --into writes
# of the plot, by what differs
LINES = {"path": "-", "times": "--", "coupling": "-.", "weighting": ":", "drop_both": "-", "guidance": ":"}


def file_name(variant: str) -> str:
    """The variant's folder: letters, digits and dashes."""
    return "-".join("".join(c if c.isalnum() else " " for c in variant).split())


def train(args: argparse.Namespace, variant: str) -> Path:
    """Train a variant to args.updates, from its last checkpoint if there is one, and export it; returns the model's
    folder.
    """
    import torch
    from flow import Corpus, make_vocab, model_config

    from tts_fm.checkpoint.load import save_flow_model
    from tts_fm.config import TrainConfig
    from tts_fm.model.flow_model import FlowModel
    from tts_fm.synthesis import BUILTIN
    from tts_fm.train.trainer import Trainer

    run = args.out / file_name(variant)
    folder = run / "model"
    if (folder / "model.safetensors").is_file():
        return folder
    changed = dict(VARIANTS[variant])
    small = {"dim": args.dim, "heads": max(1, args.dim // 64), "depth": args.depth, "style": 0, "style_rank": 0}
    vocab = make_vocab(args.cache)
    network = dataclasses.replace(model_config(len(vocab)), **small, path=changed.pop("path", "ot"))
    config = TrainConfig(
        steps=args.updates, warmup=args.updates // 10, decay=args.updates // 3, learning_rate=args.lr, seed=args.seed,
        batch_frames=args.batch_frames, span=(0.5, 1.0), drop_audio=0.0, valid_every=max(1, args.updates // 2),
        save_every=max(1, args.updates // 20), **{"drop_both": 0.0} | changed,
    )  # fmt: skip
    torch.manual_seed(config.seed)  # the first weights: the same for all
    model = FlowModel(network, vocab, tokenizer={"name": "phoneme", "lang": "en-us"})
    run.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    train, valid = Corpus(args.cache, "train", vocab), Corpus(args.cache, "valid", vocab)
    trainer = Trainer(model, train, valid, config, run, compiled=not args.eager)
    trainer.run(until=time.time() + 60 * args.minutes)
    logging.info("%s: %.1f minutes", variant, (time.perf_counter() - began) / 60)
    state = torch.load(run / "last.pt", map_location="cpu", weights_only=True)
    if state["step"] < args.updates:
        raise SystemExit(
            f"{variant}: {state['step']} of {args.updates} updates after --minutes; run the same line again"
        )
    model.load_state_dict(state["average"])
    defaults = {"steps": 8, "cfg": 0.0, "temperature": args.temperature, "match": 0.0}
    save_flow_model(folder, model.cpu(), dtype=torch.float16, extra={"defaults": defaults})
    for part in ("duration", "vocoder"):
        shutil.copytree(BUILTIN / part, folder / part, dirs_exist_ok=True)
    return folder


def judge(args: argparse.Namespace, folder: Path, forwards: int) -> dict[str, Any]:
    """`tts-fm eval` of one model at one number of forwards."""
    command = [sys.executable, "-m", "tts_fm", "eval", str(args.list), "--model", str(folder), "--engine", "torch"]
    command += ["--steps", str(forwards), "--measures", ",".join(args.measures), "--json", "-q"]
    command += ["--asr", args.asr] if args.asr else []
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    report = json.loads(done.stdout)
    return report["overall"] | {"of_items": of_items(report["items"])}


def of_items(items: list[dict[str, Any]]) -> dict[str, list[float]]:
    """What `against` compares: of each sentence of an evaluation its word errors and words, similarity and DNSMOS, as
    far as they were measured.
    """
    errors, found = ("substitutions", "deletions", "insertions"), {}
    if all(item["words"] for item in items):
        found["edits"] = [sum(item["words"][kind] for kind in errors) for item in items]
        found["words"] = [item["words"]["length"] for item in items]
    if any(item["sim"] is not None for item in items):
        found["sim"] = [item["sim"] or 0.0 for item in items]
    if any(item["dnsmos"] for item in items):
        found["dnsmos"] = [(item["dnsmos"] or {"overall": 1.0})["overall"] for item in items]
    return found


def against(row: dict[str, Any], base: dict[str, Any], measure: str) -> Figure:
    """How far a row is from another, sentence by sentence, with the interval of the differences: the sentences are the
    same and so is their noise, so that it is much narrower than those of the two rows.
    """
    mine, other = row["of_items"], base["of_items"]
    key = "edits" if measure == "wer" else measure
    difference = [a - b for a, b in zip(mine[key], other[key], strict=True)]
    return figure(difference, mine["words"] if measure == "wer" else None)


def ordered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """In the order of VARIANTS, then of the number of forwards; of several lines of one the last."""
    places = list(VARIANTS)
    last = {(row["variant"], row["forwards"]): row for row in rows}
    return sorted(last.values(), key=lambda row: (places.index(row["variant"]), row["forwards"]))


def summary(rows: list[dict[str, Any]]) -> str:
    """Markdown: a line for each variant, with a figure for each number of forwards, marked where it is surely another
    one than BASE's, and how wide intervals are.
    """
    counts = sorted({row["forwards"] for row in rows})
    found = {(row["variant"], row["forwards"]): row for row in rows}

    def cell(row: dict[str, Any] | None, measure: str) -> str:
        if row is None or row[measure] is None:
            return "-"
        base = found.get((BASE, row["forwards"]), row)
        off = against(row, row if base[measure] is None else base, measure)
        digits = 2 if measure == "dnsmos" else 3
        return f"{row[measure]['value']:.{digits}f}" + ("*" if off.low > 0 or off.high < 0 else "")

    at = "/".join(map(str, counts))
    lines = [f"| at {at} forwards | WER | similarity | DNSMOS |", "|---|---|---|---|"]
    for variant in dict.fromkeys(row["variant"] for row in rows):
        mine = [found.get((variant, count)) for count in counts]
        cells = ["/".join(cell(row, m) for row in mine) for m in MEASURES]
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    known = {m: [row[m] for row in rows if row[m] is not None] for m in MEASURES}
    widths = {m: statistics.median((f["high"] - f["low"]) / 2 for f in its) for m, its in known.items() if its}
    said = ", ".join(f"{m.upper()} {width:.3f}" for m, width in widths.items())
    told = f"95 % intervals reach about so far to either side: {said}. `*`: the interval of the differences from the "
    return "\n".join([*lines, "", textwrap.fill(f"{told}first line, sentence by sentence, leaves out zero.", 118)])


def write_into(page: Path, text: str) -> None:
    """Put the text between MARKS of a page, in place of what is there. ValueError without the marks."""
    whole = page.read_text("utf-8")
    if not all(mark in whole for mark in MARKS):
        raise ValueError(f"{page} has no {' ... '.join(MARKS)}")
    before, rest = whole.split(MARKS[0], 1)
    page.write_text(f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{rest.split(MARKS[1], 1)[1]}", "utf-8")


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: a line for each variant and number of forwards."""
    lines = ["| variant | forwards | WER | similarity | DNSMOS |", "|---|---|---|---|---|"]
    for row in rows:
        its = [row[m] for m in MEASURES]
        cells = ["-" if f is None else f"{f['value']:.3f} [{f['low']:.3f}, {f['high']:.3f}]" for f in its]
        lines.append(f"| {row['variant']} | {row['forwards']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Quality against forwards, a line for each variant, a panel for each measure."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(MEASURES), figsize=(15, 4.5), layout="constrained")
    for panel, measure in zip(panels, MEASURES, strict=True):
        for variant in dict.fromkeys(row["variant"] for row in rows):
            its = [row for row in rows if row["variant"] == variant and row[measure] is not None]
            if not its:
                continue
            mine = sorted((row["forwards"], row[measure]["value"]) for row in its)
            look = {"color": "black", "linewidth": 2.5} if variant == BASE else {"linewidth": 1.2}
            line = "-" if variant == BASE else LINES[variant.split()[0]]
            panel.plot(*zip(*mine, strict=True), marker=".", label=variant, linestyle=line, **look)
        panel.set(xscale="log", xlabel="forwards of the network", title=measure)
        panel.set_xticks(
            sorted({row["forwards"] for row in rows}), sorted({str(row["forwards"]) for row in rows}, key=int)
        )
        panel.minorticks_off()
    figure.legend(*panels[-1].get_legend_handles_labels(), loc="outside right center", fontsize=7)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--list", type=Path, required=True, help="JSONL of sentences and prompts, as for tts-fm eval")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="NAME")
    parser.add_argument("--forwards", nargs="+", type=int, default=[2, 4, 8, 16, 32])
    parser.add_argument("--updates", type=int, default=4000, help="of each variant")
    parser.add_argument("--minutes", type=float, default=1e6, help="stop a variant (and save it) after this long")
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("--batch-frames", type=int, default=8000)
    parser.add_argument("--lr", type=float, default=3e-3, help="peak rate; of a run of many thousand updates less")
    parser.add_argument("--eager", action="store_true", help="do not compile")
    parser.add_argument("--temperature", type=float, default=0.6, help="of the noise when speaking")
    parser.add_argument("--train-only", action="store_true", help="judge nothing yet, on a machine without --asr")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--asr", help="a Whisper for CTranslate2, or a size")
    parser.add_argument("--measures", nargs="+", choices=MEASURES, default=list(MEASURES), metavar="M")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw what is there, and train nothing")
    parser.add_argument("--into", type=Path, metavar="MD", help="write what is there into a page, and train nothing")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    sys.path.insert(0, str(RECIPES))
    args.out.mkdir(parents=True, exist_ok=True)
    results = args.out / "results.jsonl"
    rows = [json.loads(line) for line in results.read_text("utf-8").splitlines()] if results.is_file() else []
    if args.plot is None and args.into is None:
        import torch

        torch.set_num_threads(args.threads)
        for variant in args.only:
            folder = train(args, variant)
            for forwards in () if args.train_only else args.forwards:
                its = [row for row in rows if (row["variant"], row["forwards"]) == (variant, forwards)]
                if not any(all(row[m] is not None for m in args.measures) for row in its):
                    row = {"variant": variant, "forwards": forwards} | judge(args, folder, forwards)
                    rows.append(row)
                    with results.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(row) + "\n")
    rows = ordered(rows)
    if args.plot is not None:
        plot(rows, args.plot)
    if args.into is not None:
        write_into(args.into, summary(rows))
    print(table(rows))


if __name__ == "__main__":
    main()

"""Do graphs and 8 bits cost anything that can be heard? `tts-fm eval` for both engines, in one table.

    python recipes/benchmarks/engines_eval.py dev.jsonl --asr WHISPER [--first 64]

Word error rate, speaker similarity and DNSMOS with their 95 % confidence intervals, for torch float32, onnx float32 and
onnx int8, at 8 and 4 steps and the model's own number. A path is as good as torch's where the intervals overlap.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ENGINES = [("torch", "float32"), ("onnx", "float32"), ("onnx", "int8")]
MEASURES = ("wer", "sim", "dnsmos", "rtf")


def main() -> int:
    from device import parsed

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("list", type=Path, help="JSONL of sentences and prompts, as for tts-fm eval")
    parser.add_argument("--asr", help="a Whisper for CTranslate2, or a size")
    parser.add_argument("--first", type=int, help="only so many sentences")
    parser.add_argument("--steps", default="8,4,", help="numbers of steps; nothing = the model's (default: 8,4,)")
    parser.add_argument("--measures", default="wer,sim,dnsmos")
    parser.add_argument("-o", "--output", type=Path, help="also write the reports as JSON")
    args = parsed(parser)
    lines = [line for line in args.list.read_text("utf-8").splitlines() if line.strip()][: args.first]
    reports: dict[str, Any] = {}
    print(f"| | {' | '.join(MEASURES)} |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        some = Path(folder) / "list.jsonl"
        some.write_text("\n".join(absolute(line, args.list.parent) for line in lines) + "\n", "utf-8")
        for steps in args.steps.split(","):
            for engine, dtype in ENGINES:
                command = [sys.executable, "-m", "tts_fm", "eval", str(some), "--json", "-q", "--engine", engine]
                command += ["--dtype", dtype, "--measures", args.measures] + ["--steps", steps] * bool(steps)
                command += ["--asr", args.asr] if args.asr else []
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                name = f"{engine} {dtype}, {steps or 'default'} steps"
                reports[name] = json.loads(done.stdout)["overall"]
                print(row(name, reports[name]), flush=True)
    if args.output is not None:
        args.output.write_text(json.dumps(reports, indent=1) + "\n", "utf-8")
    return 0


def absolute(line: str, folder: Path) -> str:
    """A line of the list that means the same from anywhere."""
    item = json.loads(line)
    if item.get("ref_audio"):
        item["ref_audio"] = str((folder / item["ref_audio"]).resolve())
    return json.dumps(item, ensure_ascii=False)


def row(name: str, overall: dict[str, Any]) -> str:
    """One line of the table: value and interval of every measure."""
    cells = []
    for measure in MEASURES:
        value = overall.get(measure)
        cells.append("-" if value is None else cell(value))
    return f"| {name} | {' | '.join(cells)} |"


def cell(value: Any) -> str:
    if isinstance(value, dict):
        return f"{value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})"
    return f"{value:.3f}"


if __name__ == "__main__":
    sys.exit(main())

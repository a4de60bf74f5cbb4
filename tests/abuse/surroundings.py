"""What may be missing or damaged around every verb: streams, home, disk, and each file that somebody may have edited.

    make abuse            or: python tests/abuse/surroundings.py [--places 2000] [--seed 0] [--only damage|verbs]

Prints two tables; exit code 1 where something hung, lost what was there, ended in a traceback or called itself a bug.
Verbs run in processes forked from this one (world.py); damaged files are read by a few processes, a kind of file each.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import world as worlds
from world import KNOWN, Taken

from tts_fm.cli import main as cli
from tts_fm.errors import TtsFmError

HEAVY = {"export", "eval", "adapt", "score", "serve", "demo", "train"}  # seconds each: only under HEAVY_CASES
HEAVY_CASES = {"all streams closed", "HOME unset", "disk full", "folders read-only"}
CASES = {
    "stdin closed": Taken(streams=(0,)),
    "stdout closed": Taken(streams=(1,)),
    "stderr closed": Taken(streams=(2,)),
    "all streams closed": Taken(streams=(0, 1, 2)),
    "stdout full": Taken(full=(1,)),
    "stderr full": Taken(full=(2,)),
    "HOME unset": Taken(home=True),
    "ASCII locale": Taken(locale="C"),
    "disk full": Taken(most=0),
    "disk full soon": Taken(most=3000),
    "1 MB disk, full": Taken(),  # a file system of its own, where we may make one
    "folders read-only": Taken(),
}
PATIENCE = 20  # seconds after which a damaged file hangs whoever reads it
LEFT = 16 << 10  # bytes free on the small disk


# --- damage


@dataclass(frozen=True)
class Kind:
    """A file that may be damaged, and what reads it: arguments of tts-fm, or a function."""

    file: Path
    read: list[str] | Callable[[], object]
    share: float = 1.0  # of the places that are tried


def kinds(world: Path, out: Path) -> dict[str, Kind]:
    """Every file of a user's, by a name."""
    from tts_fm.batch.journal import Results
    from tts_fm.book.scripts import read_cast
    from tts_fm.data.manifest import read_manifest
    from tts_fm.files import read_state
    from tts_fm.serve.config import read_key

    w, model = str(world), world / "model"
    say = ["say", "Hello there.", "--dry-run", "-m", str(model), "--json"]
    listing = ["batch", "-o", str(out / "batch"), "-m", str(model), "--dry-run"]
    work = out / "work"
    work.mkdir(parents=True, exist_ok=True)
    row = '{"id": "%s", "status": "ok", "file": "%s.wav", "hash": "1", "model": "m", "warnings": []}\n'
    (work / "results.jsonl").write_text("".join(row % (name, name) for name in "abc"))
    (work / "book.json").write_text('{"title": "t", "file": "f"}\n')
    _states(work)

    def journal() -> None:
        results = Results(work)
        results.close(["a", "b", "c"])
        (work / "results.damaged.txt").unlink(missing_ok=True)

    return {
        "voices.json": Kind(world / "home" / "voices" / "voices.json", ["voices", "--json"]),
        "voice.json": Kind(world / "mine" / "voice.json", ["voice", "pack", f"{w}/mine", f"{out}/m.zip"]),
        "adapter": Kind(world / "mine" / "adapter.safetensors", ["voice", "pack", f"{w}/mine", f"{out}/m.zip"]),
        "prompt.flac": Kind(world / "mine" / "prompt.flac", [*say, "--voice", f"{w}/mine"], 0.1),
        "model: config": Kind(model / "config.json", say),
        "model: vocab": Kind(model / "vocab.txt", say, 0.5),
        "model: durations": Kind(model / "duration" / "config.json", say, 0.5),
        "model: vocoder": Kind(model / "vocoder" / "vocoder.json", say, 0.5),
        "model: weights": Kind(model / "model.safetensors", say, 0.5),
        "lexicon": Kind(world / "lexicon.tsv", [*say, "--lexicon", f"{w}/lexicon.tsv"], 0.5),
        "cast": Kind(world / "cast.toml", lambda: read_cast(world / "cast.toml")),
        "book": Kind(world / "book.txt", ["book", f"{w}/book.txt", "--list"]),
        "script": Kind(world / "play.txt", ["book", f"{w}/play.txt", "--list", "--cast", f"{w}/cast.toml"]),
        "subtitles": Kind(world / "film.srt", ["book", f"{w}/film.srt", "--list"]),
        **{f"list: {end}": Kind(world / f"list.{end}", [*listing, f"{w}/list.{end}"])
           for end in ("jsonl", "csv", "toml", "txt")},
        "manifest": Kind(world / "manifest.jsonl", lambda: read_manifest(world / "manifest.jsonl")),
        "results": Kind(work / "results.jsonl", journal),
        "API key": Kind(world / "key", lambda: read_key(str(world / "key"))),
        "training state": Kind(work / "last.pt", lambda: read_state(work / "last.pt")),
    }  # fmt: skip


def _states(work: Path) -> None:
    import torch

    from tts_fm.files import write_state

    for step in (1, 2):
        write_state(work / "last.pt", {"step": step, "model": {"a": torch.ones(30)}})


def damaged(data: bytes, random: random.Random) -> bytes:
    """The same with a byte changed, a bit turned, some bytes gone, or cut, at a random place."""
    at = random.randrange(len(data))
    how = random.random()
    if how < 0.5:
        return data[:at] + bytes([random.randrange(256)]) + data[at + 1 :]
    if how < 0.7:
        return data[:at] + bytes([data[at] ^ (1 << random.randrange(8))]) + data[at + 1 :]
    if how < 0.85:
        return data[:at] + data[at + random.randrange(1, 9) :]
    if how < 0.95:
        return data[:at] + random.randbytes(random.randrange(1, 9)) + data[at:]
    return data[:at]


def damage(kind: Kind, world: Path, places: int, seed: int) -> tuple[Counter[str], list[str]]:
    """How often reading ended how, and what was wrong; the file as it is must be read."""
    whole, chance, ends, faults = kind.file.read_bytes(), random.Random(seed), Counter(), []
    others = {path: path.stat().st_mtime_ns for path in world.rglob("*") if path.is_file() and path != kind.file}
    end, fault = _read(kind)
    if end not in ("read", "code 0"):
        faults.append(f"undamaged: {end}, {fault}")
    for _ in range(max(1, round(places * kind.share))):
        bad = damaged(whole, chance)
        kind.file.write_bytes(bad)
        end, fault = _read(kind)
        ends[end] += 1
        if not callable(kind.read) and kind.file.read_bytes() != bad:
            fault = "the damaged file was written over"
        if fault:
            faults.append(f"{fault} ({bad[:80]!r})")
    kind.file.write_bytes(whole)
    now = {path: path.stat().st_mtime_ns for path in others if path.exists()}
    lost = [str(path.relative_to(world)) for path in others if now.get(path) != others[path]]
    return ends, [*faults, *(f"{name} was changed or is gone" for name in lost)]


class Hang(BaseException):
    """Reading took longer than PATIENCE."""


def _read(kind: Kind) -> tuple[str, str | None]:
    def late(number: int, frame: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(PATIENCE)
    try:
        return _ended(kind)
    except Hang:
        return "hang", f"hangs: more than {PATIENCE} s"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _ended(kind: Kind) -> tuple[str, str | None]:
    if callable(kind.read):
        try:
            kind.read()
        except (ValueError, OSError, TtsFmError) as error:
            return type(error).__name__, None
        except Exception as error:
            return "fault", f"{type(error).__name__}: {error}"
        return "read", None
    said = io.StringIO()
    with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO(), "utf-8")), contextlib.redirect_stderr(said):
        code = cli.main(kind.read)
    wrong = code not in KNOWN or worlds.BUG in said.getvalue() or worlds.TRACE in said.getvalue()
    return f"code {code}", said.getvalue().strip()[-300:] if wrong else None


Row = tuple[str, Counter[str], list[str], float]  # name of a file, how reading it ended, faults, seconds


def shared_out(world: Path, places: int, seed: int, workers: int) -> Iterator[Row]:
    """The damage of every kind of file, by processes with a copy of the world each."""
    names = list(kinds(world, world.parent / "out"))
    with ProcessPoolExecutor(workers, get_context("fork"), _settle, (world,)) as pool:
        for made in [pool.submit(_damaged_kind, name, places, seed) for name in names]:
            yield made.result()


_own = Path()  # of this process: its copy of the world


def _settle(world: Path) -> None:
    global _own  # noqa: PLW0603
    _own = Path(shutil.copytree(world, world.parent / f"world{os.getpid()}"))
    os.environ |= {"TTS_FM_HOME": str(_own / "home"), "TTS_FM_CACHE": str(_own / "cache")}


def _damaged_kind(name: str, places: int, seed: int) -> Row:
    began = time.monotonic()
    ends, faults = damage(kinds(_own, _own.parent / f"out{os.getpid()}")[name], _own, places, seed)
    return name, ends, faults, time.monotonic() - began


# --- verbs


def deprived(world: Path, out: Path, wanted: str | None = None) -> Iterator[tuple[str, Counter[str], list[str]]]:
    """(case, how often verbs ended with which code, what was wrong) for every case, with every verb."""
    home = worlds.state(world / "home")
    works = worlds.works(world, out)
    for case, taken in CASES.items():
        ends, faults = Counter(), []
        for name, work in works.items():
            if (name in HEAVY and case not in HEAVY_CASES) or (wanted and name != wanted):
                continue
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            out.chmod(0o777)
            try:
                with _folders(case, world, out):
                    ended = worlds.forked(work, world, taken, 300)
                    left = worlds.leftovers(out)
            except PermissionError as error:
                ends[f"not tried ({error})"] += 1
                break
            ends[f"{ended.code}"] += 1
            fault = ended.fault or (f"left {left}" if left else None)
            if fault:
                faults.append(f"{name}: {fault}")
            _restore(world / "home", home)
        yield case, ends, faults


@contextlib.contextmanager
def _folders(case: str, world: Path, out: Path) -> Iterator[None]:
    """The folder for results and that of the voices as a case has them. PermissionError where we may not."""
    with contextlib.ExitStack() as stack:
        if "1 MB" in case:
            disk = stack.enter_context(worlds.small_disk(out))
            (disk / "filler").write_bytes(bytes((1 << 20) - LEFT))
        for shut in (out, world / "home") if "read-only" in case else ():
            stack.enter_context(worlds.read_only(shut))
        yield


def _restore(home: Path, files: dict[str, bytes]) -> None:
    if worlds.state(home) == files:
        return
    shutil.rmtree(home)
    for name, data in files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(data)
    for path in [home, *home.rglob("*")]:
        path.chmod(0o777 if path.is_dir() else 0o666)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--places", type=int, default=2000, help="damages of each file (default 2000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="default: one a core")
    parser.add_argument("--only", choices=("damage", "verbs"))
    parser.add_argument("--verb", help="of world.verbs: only this one")
    args = parser.parse_args()
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        place.chmod(0o755)
        worlds_made = os.fork()
        if not worlds_made:  # so that this process has run no network before it is forked
            worlds.make_world(place / "world")
            os._exit(0)
        os.waitpid(worlds_made, 0)
        world, out = place / "world", place / "out"
        if args.only != "damage":
            import tts_fm.engines.align
            import tts_fm.engines.torch

            print("| Surroundings | Verbs | Codes | |\n|---|---|---|---|")
            for case, ends, faults in deprived(world, out, args.verb):
                bad += told(case, ends, faults)
        if args.only != "verbs":
            print("\n| File | Places | Ends | |\n|---|---|---|---|")
            for name, ends, faults, seconds in shared_out(world, args.places, args.seed, args.workers):
                bad += told(name, ends, faults)
                print(f"  {seconds:.0f} s", file=sys.stderr)
    return 1 if bad else 0


def told(name: str, ends: Counter[str], faults: list[str]) -> bool:
    """Print a row; returns whether something was wrong."""
    codes = ", ".join(f"{count} x {end}" for end, count in ends.most_common())
    print(
        f"| {name} | {ends.total()} | {codes} | {'as it should' if not faults else f'{len(faults)} WRONG'} |",
        flush=True,
    )
    for fault in faults[:10]:
        print(f"  {name}: {fault}", file=sys.stderr)
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())

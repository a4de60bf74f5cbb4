"""A folder with all that the verbs of tts-fm ask for, those verbs, and a way to run one in a process of its own with
its surroundings taken away: forked from this one, so that nothing is imported anew.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import resource
import select
import shutil
import signal
import sys
import threading
import time
import traceback
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tts_fm.voices.stored import BUILTIN

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]
BUG, TRACE = "this is a bug", "Traceback"
#: exit codes of work that was done, refused or left; 1 is a bug of ours
KNOWN = {0, 2, 3, 4, 5, 130, 141, 143}


@dataclass(frozen=True)
class Outcome:
    """How a process ended; code: negative = of a signal, None = it hung and was killed."""

    code: int | None
    out: bytes
    err: str

    @property
    def fault(self) -> str | None:
        """What was wrong with how it ended."""
        if self.code is None:
            return "hang"
        if BUG in self.err or TRACE in self.err or "Exception ignored" in self.err:
            return (self.err.strip().splitlines() or [""])[-1][:200]
        return None if self.code in KNOWN else f"code {self.code}: {self.err.strip()[-200:]}"


def make_world(place: Path) -> Path:
    """Write everything into the folder `place`, which is made; readable and writable by all. Returns it."""
    import numpy as np
    import soundfile
    import torch
    from safetensors.torch import load_file

    from tts_fm.audio.files import load

    place.mkdir(parents=True, exist_ok=True)
    tiny_model(place)
    entries = json.loads((BUILTIN / "voices.json").read_text("utf-8"))
    names, rows = list(entries)[:3], []
    (place / "recordings").mkdir()
    for name in names:
        wave = load(BUILTIN / f"{name}.flac").astype(np.float32)
        soundfile.write(place / "recordings" / f"{name}.wav", wave, 24_000)
        (place / "recordings" / f"{name}.txt").write_text(entries[name]["text"])
        rows.append({"id": name, "audio": f"recordings/{name}.wav", "text": entries[name]["text"], "speaker": name,
                     "seconds": round(len(wave) / 24_000, 3), "split": "train"})  # fmt: skip
    first = place / "recordings" / f"{names[0]}.wav"
    shutil.copy(first, place / "me.wav")
    (place / "one").mkdir()
    shutil.copy(first, place / "one" / "me.wav")
    shutil.copy(first.with_suffix(".txt"), place / "one" / "me.txt")
    (place / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    items = [{"id": f"item{k}", "text": f"Number {k} is here.", "ref_audio": "me.wav"} for k in range(3)]
    (place / "list.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    (place / "list.csv").write_text("id,text,seed\na,Hello there.,1\nb,Good bye.,2\n")
    two = '[voices.two]\nref_audio = "me.wav"\n'
    (place / "list.toml").write_text(f'ref_audio = "me.wav"\ngen_text = "One. [two] Two."\nseed = 3\n{two}')
    (place / "list.txt").write_text("Hello there.\nGood bye.\n")
    (place / "book.txt").write_text("CHAPTER I\n\nIt was late, and Ahab sat.\n\nCHAPTER II\n\nThe morning came.\n")
    (place / "play.txt").write_text("ALICE: Who are you?\n\nBOB: I am late.\n")
    (place / "film.srt").write_text("1\n00:00:00,500 --> 00:00:02,000\nHello there.\n\n")
    (place / "cast.toml").write_text('narrator = "nova"\n\n[cast]\nALICE = "heart"\nBOB = "nova"\n')
    (place / "lexicon.tsv").write_text("Ahab\tAY hab\nlate\t/lˈeɪt/\n")
    (place / "key").write_text("0123456789abcdef\n")
    weights = load_file(TESTS / "golden" / "f5_v1.weights.safetensors")
    torch.save({"ema_model_state_dict": weights}, place / "weights.pt")
    for path in [place, *place.rglob("*")]:
        path.chmod(0o777 if path.is_dir() else 0o666)
    return place


def tiny_model(place: Path) -> None:
    from adapted_toys import adapted
    from tiny_model import tiny_tts_folder

    from tts_fm.voices.stored import add_adapted, add_voice

    tiny_tts_folder(place / "model")
    adapted(place / "mine", place / "model", 1)
    before = os.environ.get("TTS_FM_HOME")
    os.environ["TTS_FM_HOME"] = str(place / "home")
    try:
        add_voice("amy", BUILTIN / "nova.flac", None, "en-us")
        add_adapted("mine", place / "mine")
    finally:
        os.environ.pop("TTS_FM_HOME")
        if before is not None:
            os.environ["TTS_FM_HOME"] = before


def verbs(world: Path, out: Path) -> dict[str, list[str]]:
    """Command lines by a name, every verb at least once; what they make goes into the folder `out`."""
    w, model = str(world), ["-m", str(world / "model"), "--steps", "1"]
    text = (world / "one" / "me.txt").read_text()
    new = text.replace("first", "last") if "first" in text else text + " Again."
    return {
        "say": ["say", "Hello there.", "-o", f"{out}/say.wav", *model],
        "say mp3": ["say", "Hello there.", "-o", f"{out}/say.mp3", "--subtitles", "srt", *model],
        "say -": ["say", "Hello there.", "-o", "-", *model],
        "say --json": ["say", "Hello there.", "-o", f"{out}/j.flac", "--json", "--voice", "amy", *model],
        "say adapted": ["say", "Hello there.", "-o", f"{out}/a.opus", "--voice", "mine", *model],
        "batch": ["batch", f"{w}/list.jsonl", "-o", f"{out}/batch", "--format", "mp3", *model],
        "batch subtitles": ["batch", f"{w}/list.csv", "-o", f"{out}/csv", "--subtitles", "vtt", *model],
        "book": ["book", f"{w}/book.txt", "-o", f"{out}/book.m4b", *model],
        "book folder": ["book", f"{w}/book.txt", "-o", f"{out}/book", "--subtitles", "srt", *model],
        "book play": ["book", f"{w}/play.txt", "-o", f"{out}/play.opus", "--cast", f"{w}/cast.toml", *model],
        "book epub": ["book", f"{w}/book.txt", "-o", f"{out}/book.epub", *model],
        "book dub": ["book", f"{w}/film.srt", "-o", f"{out}/film.m4a", *model],
        "book list": ["book", f"{w}/book.txt", "--list", *model],
        "words": ["words", f"{w}/book.txt", "-o", f"{out}/words.tsv"],
        "adapt": ["adapt", f"{w}/one", "-o", f"{out}/voice", "-m", f"{w}/model", "--updates", "2"],
        "edit": ["edit", f"{w}/me.wav", "--text", text, "--new", new, "-o", f"{out}/edit.wav", *model],
        "edit -": ["edit", f"{w}/me.wav", "--text", text, "--new", new, "-o", "-", *model],
        "voices": ["voices"],
        "voice list": ["voice", "list", "--json"],
        "voice add": ["voice", "add", "new", f"{w}/me.wav"],
        "voice add adapted": ["voice", "add", "other", f"{w}/mine"],
        "voice pack": ["voice", "pack", f"{w}/mine", f"{out}/mine.zip"],
        "voice remove": ["voice", "remove", "amy"],
        "models": ["models"],
        "eval": ["eval", f"{w}/list.jsonl", "--measures", "dnsmos", "-o", f"{out}/eval.json", *model],
        "align": ["align", f"{w}/manifest.jsonl", "-o", f"{out}/aligned.jsonl"],
        "score": ["score", f"{w}/manifest.jsonl", "-o", f"{out}/score.tsv", "-m", f"{w}/model"],
        "convert": ["convert", f"{w}/weights.pt", f"{out}/weights.safetensors"],
        "export": ["export", "onnx", f"{w}/model", f"{out}/graphs"],
        "doctor": ["doctor"],
        "version": ["version"],
    }


def works(world: Path, out: Path) -> dict[str, Callable[[], int]]:
    """The verbs as they are run, and what runs until it is told to end: the server and the demo, each asked for one
    page and sent SIGTERM, and training for two updates.
    """
    from tts_fm.cli import main as cli

    def line(argv: list[str]) -> Callable[[], int]:
        return lambda: cli.main(argv)

    def until_asked(argv: list[str], page: str) -> Callable[[], int]:
        def work() -> int:
            threading.Thread(target=ask_and_end, args=(page,), daemon=True).start()
            return cli.main(argv)

        return work

    def train() -> int:
        from data_prep.shared import run
        from recipes.libritts.train import main

        sizes = ["model.dim=64", "model.depth=1", "train.steps=2", "train.warmup=1"]
        changes = [part for size in sizes for part in ("--set", size)]
        return run(main, ["tiny", f"{world}/manifest.jsonl", f"{out}/run", "--device", "cpu", *changes])

    model = ["-m", str(world / "model")]
    return {name: line(argv) for name, argv in verbs(world, out).items()} | {
        "serve": until_asked(["serve", "--port", "0", *model], "/health"),
        "demo": until_asked(["demo", *model], "/"),
        "train": train,
    }


def ask_and_end(page: str) -> None:
    """Wait until this process answers for a page, then send it SIGTERM."""
    while True:
        time.sleep(0.2)
        for port in listening():
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}{page}", timeout=5):
                os.kill(os.getpid(), signal.SIGTERM)
                return


def listening() -> list[int]:
    """The ports at which this process waits for callers (Linux)."""
    own = set()
    for number in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            own.add(os.readlink(number))
    rows = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    return [int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in own]


@dataclass(frozen=True)
class Taken:
    """What is taken away from a process."""

    streams: tuple[int, ...] = ()  # closed
    home: bool = False  # HOME unset, and nobody knows the user
    most: int | None = None  # bytes in a file, as if the disk were full
    locale: str | None = None  # of the environment; "C" = ASCII
    full: tuple[int, ...] = ()  # streams that lead to a full device


def run(world: Path, argv: Sequence[str], taken: Taken = Taken(), seconds: float = 120.0, **env: str) -> Outcome:
    """Run `tts-fm` with these arguments in a forked child, so deprived."""
    from tts_fm.cli import main as cli

    return forked(lambda: cli.main(list(argv)), world, taken, seconds, **env)


def forked(work: Callable[[], int], world: Path, taken: Taken = Taken(), seconds: float = 120.0, **env: str) -> Outcome:
    """The same for any function that returns an exit code."""
    pipes = [os.pipe(), os.pipe()]
    child = os.fork()
    if not child:
        code = 99
        try:
            os.setpgid(0, 0)
            _deprive(world, taken, [w for _, w in pipes], env)
            code = work()
        except BaseException:  # as the interpreter would tell it
            with contextlib.suppress(BaseException):
                traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(BaseException):
                    stream.flush()
            os._exit(code)
    for _, w in pipes:
        os.close(w)
    return _watched(child, [r for r, _ in pipes], seconds)


def _deprive(world: Path, taken: Taken, ends: list[int], env: dict[str, str]) -> None:
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, end in zip((1, 2), ends, strict=True):
        os.dup2(os.open("/dev/full", os.O_WRONLY) if number in taken.full else end, number)
    os.closerange(3, 200)
    os.environ.update({"TTS_FM_HOME": str(world / "home"), "TTS_FM_CACHE": str(world / "cache")} | env)
    if taken.locale is not None:
        os.environ["LC_ALL"] = taken.locale
    encoding = "ascii" if taken.locale == "C" else "utf-8"
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if number in taken.streams:
            os.close(number)
            setattr(sys, name, None)
        else:
            stream = open(number, "r" if number == 0 else "w", encoding=encoding, closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
    if taken.home:
        for name in ("HOME", "TTS_FM_HOME", "TTS_FM_CACHE", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
            os.environ.pop(name, None)
        pwd.getpwuid = _nobody  # and not by another user id, who may not read where Python is installed
    if taken.most is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (taken.most, resource.RLIM_INFINITY))


def _nobody(number: int) -> None:
    raise KeyError(f"getpwuid(): uid not found: {number}")


def _watched(child: int, ends: list[int], seconds: float) -> Outcome:
    said: dict[int, bytes] = dict.fromkeys(ends, b"")
    until, hung = time.monotonic() + seconds, False
    left = list(ends)
    while left and time.monotonic() < until:
        for end in select.select(left, [], [], 0.2)[0]:
            piece = os.read(end, 1 << 16)
            said[end] += piece
            if not piece:
                left.remove(end)
    status = 0
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() > until:
            hung = True
            os.killpg(child, signal.SIGKILL)
        time.sleep(0.01)
    for end in ends:
        os.close(end)
    out, err = (said[end] for end in ends)
    return Outcome(None if hung else os.waitstatus_to_exitcode(status), out, err.decode("utf-8", "replace"))


@contextlib.contextmanager
def small_disk(place: Path, size: str = "1m") -> Iterator[Path]:
    """A file system of that size at the folder `place`; PermissionError where we may not make one."""
    import subprocess

    place.mkdir(parents=True, exist_ok=True)
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=777", "tmpfs", place], capture_output=True)
    if made.returncode:
        raise PermissionError(made.stderr.decode().strip())
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@contextlib.contextmanager
def read_only(place: Path) -> Iterator[None]:
    """A folder that nobody may write in, and what is below it: by its rights, for root by a mount over itself."""
    import subprocess

    if os.getuid():
        folders = [place, *(path for path in place.rglob("*") if path.is_dir())]
        modes = [path.stat().st_mode for path in folders]
        for path in folders:
            path.chmod(0o555)
        try:
            yield
        finally:
            for path, mode in zip(folders, modes, strict=True):
                path.chmod(mode)
        return
    for how in (["--bind", place, place], ["-o", "remount,ro,bind", place]):
        made = subprocess.run(["mount", *how], capture_output=True)
        if made.returncode:
            raise PermissionError(made.stderr.decode().strip())
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def leftovers(place: Path) -> list[str]:
    """Temporary files, wherever below a folder."""
    found = [p for p in place.rglob("*") if p.name.endswith((".part", ".tmp")) or p.name.startswith(".tts-fm-")]
    return sorted(str(p.relative_to(place)) for p in found)


def state(place: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(p.relative_to(place)): p.read_bytes() for p in sorted(place.rglob("*")) if p.is_file()}

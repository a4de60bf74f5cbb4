"""Runs the commands of Markdown pages in order, as tests/newcomer.sh wants it; needs nothing but Python's library.

A command is a line of a block `sh` (or, after "$ ", of a block `console`), or a whole block `python`. All run in one
folder, each in a shell of its own that takes over what the one before exported. Servers are started, asked and ended.
What cannot run here is named, with the reason.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
import wave
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

PAGES = ("README.md", "docs/start.md")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LIMIT = 900  # seconds for one command
#: verb -> the module that it needs, and the extra that brings it
NEEDS = {
    "demo": ("gradio", "demo"),
    "serve": ("fastapi", "serve"),
    "book": ("lxml", "book"),
    "adapt": ("accelerate", "train"),
    "eval": ("faster_whisper", "eval"),
}
LIGHT = ("demo", "serve", "book")  # extras without torch: they are installed when they are first needed
#: what is never run here -> why, and where it is run
ELSEWHERE = {
    r"^make test\b": "the whole suite takes minutes and torch; CI runs it",
    r"^(bash )?recipes/libritts/run\.sh": "needs LibriTTS; tests/test_recipe_run.py runs all its stages in small",
    r"^(bash )?recipes/builtin/run\.sh": "takes hours; tests/test_recipe_run.py runs it in small",
    r"load_flow_model": "needs published weights of 1.3 GB; tests/test_docs_run.py runs it on a small network",
    r"--sharpen": "needs [train], and Whisper to write the transcript; tests/test_sharpen.py runs it in small",
    r"pip install .*\[torch": "3 GB, or 0.2 from another index; --full VENV has it",
}
STORY = "It was late when Alice came home. The lamp was lit, and nobody had eaten the cake. She sat down and waited."


@dataclass(frozen=True)
class Command:
    """A line of a shell block, or a block of Python."""

    page: str
    kind: str  # "sh" or "python"
    text: str

    @property
    def words(self) -> list[str]:
        """The words of a line; its pipes and signs are words like any other."""
        return self.text.split()

    @property
    def verb(self) -> str:
        """What follows `tts-fm`, or nothing."""
        found = re.search(r"(?:^|[|;&] ?)tts-fm (\w+)", self.text)
        return found[1] if found and self.kind == "sh" else ""

    @property
    def outputs(self) -> list[str]:
        """The files that -o names."""
        return [name for name in re.findall(r"\s-o (\S+)", self.text) if name != "-"] if self.kind == "sh" else []


def commands(markdown: str, page: str = "") -> list[Command]:
    """The commands of a page, in order; lines that end in a backslash are joined, comments are dropped."""
    found = []
    for kind, body in BLOCK.findall(markdown):
        if kind == "python":
            found.append(Command(page, "python", body))
        elif kind in ("sh", "bash", "console"):
            for line in body.replace("\\\n", " ").splitlines():
                if kind == "console":
                    if not line.startswith("$ "):
                        continue  # what the command prints
                    line = line[2:]
                line = re.sub(r"(^|\s)#(?=\s).*$", "", line).strip()
                if line:
                    found.append(Command(page, "sh", line))
    return found


@dataclass
class Newcomer:
    """A folder, the environments that there are, and what has run."""

    folder: Path
    full: Path | None = None  # an environment with all extras
    ran: int = 0
    skipped: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.state, self.heard = self.folder / ".newcomer.env", self.folder / ".heard"
        bin_folder = self.folder / ".newcomer-bin"  # stands for the sound card
        bin_folder.mkdir(exist_ok=True)
        for name in ("paplay", "aplay"):
            (bin_folder / name).write_text(f'#!/bin/sh\ncat >> "{self.heard}"\n')
            (bin_folder / name).chmod(0o755)
        self.players = bin_folder

    def environment(self, full: bool = False) -> dict[str, str]:
        """What a command sees: the clone's own environment first, or the one with all extras, on the clone's code."""
        home = (self.full if full else self.folder / ".venv") or self.folder / ".venv"
        env = {k: v for k, v in os.environ.items() if not k.startswith(("TTS_FM_", "HF_"))}
        path = [str(self.players), str(Path(home) / "bin"), os.environ.get("PATH", "/usr/bin:/bin")]
        env |= {"PATH": os.pathsep.join(path), "TTS_FM_HOME": str(self.folder / ".home"), "PYTHONUNBUFFERED": "1"}
        return env | ({"PYTHONPATH": str(self.folder)} if full else {})

    def has(self, module: str, full: bool = False) -> bool:
        """Whether an environment can import it."""
        if full and self.full is None:
            return False
        asked = f"import importlib.util as u, sys; sys.exit(u.find_spec({module!r}) is None)"
        return subprocess.run(["python", "-c", asked], env=self.environment(full), cwd="/").returncode == 0

    def place(self, command: Command) -> bool | str:
        """False: the light environment; True: the full one; else why it is not run."""
        for pattern, why in ELSEWHERE.items():
            if re.search(pattern, command.text):
                return why
        if command.verb not in NEEDS:
            return False
        module, extra = NEEDS[command.verb]
        if self.has(module):
            return False
        if self.has(module, full=True):
            return True
        if extra not in LIGHT:
            return f"needs [{extra}], which brings torch; --full VENV runs it"
        install = Command(command.page, "sh", f'pip install -q -e ".[{extra}]"')
        began = time.monotonic()
        self.run(install, self.environment())
        print(f"  {time.monotonic() - began:5.1f} s  {install.text}  (README, Install)", flush=True)
        return False

    def do(self, command: Command) -> None:
        """Run one command, or say why not."""
        shown = command.text if command.kind == "sh" else command.text.strip().splitlines()[0] + " ..."
        try:
            place = self.place(command)
            if isinstance(place, str):
                self.skipped.append(shown)
                print(f"  skipped  {shown}\n           {place}", flush=True)
                return
            began = time.monotonic()
            (self.serve if command.verb in ("serve", "demo") else self.run)(command, self.environment(place))
        except (AssertionError, OSError, subprocess.SubprocessError) as error:
            self.failed.append(shown)
            print(f"  FAILED   {shown}\n           {error}", flush=True)
        else:
            self.ran += 1
            print(f"  {time.monotonic() - began:5.1f} s  {shown}{'  [full]' if place else ''}", flush=True)

    def run(self, command: Command, env: dict[str, str]) -> None:
        """A command that ends. AssertionError where it fails, or a file that it names is not there."""
        self.heard.unlink(missing_ok=True)
        if command.kind == "python":
            called, given = ["python", "-"], command.text
        else:
            line = f"{command.text}\ncode=$?; export -p > {self.state}; exit $code"
            before = f"[ ! -f {self.state} ] || . {self.state}; export PATH='{env['PATH']}'\n"
            called, given = ["bash", "-o", "pipefail", "-c", before + line], None
        done = subprocess.run(called, input=given, cwd=self.folder, env=env, capture_output=True, text=True,
                              timeout=LIMIT, errors="replace")  # fmt: skip
        assert done.returncode == 0, f"code {done.returncode}: {(done.stderr or done.stdout).strip()[-2000:]}"
        for name in command.outputs:
            check_output(self.folder / name)
        if "--play" in command.words or "aplay" in command.words:
            assert self.heard.exists() and self.heard.stat().st_size > 20_000, "nothing was heard"

    def speak(self, text: str, name: str) -> None:
        """A recording of somebody, which the built-in voice makes."""
        words = ["tts-fm", "say", text, "--voice", "michael", "-q", "-o", name]
        subprocess.run(words, check=True, cwd=self.folder, env=self.environment(), stdout=subprocess.DEVNULL)

    def serve(self, command: Command, env: dict[str, str]) -> None:
        """A server: it must answer, speak if it is the speech server, and end in order when it is told to."""
        with open(self.folder / ".server.log", "w+b") as log:
            server = subprocess.Popen(command.words, cwd=self.folder, env=env, stdout=log, stderr=log)
            try:
                url = self.address(server, log.name)
                with urllib.request.urlopen(url, timeout=60) as answer:
                    assert command.verb == "serve" or b"<html" in answer.read().lower()
                if command.verb == "serve":
                    ask_for_speech(url)
            finally:
                server.send_signal(signal.SIGTERM)
                try:
                    code = server.wait(30)
                except subprocess.TimeoutExpired:
                    server.kill()
                    raise
        assert code in (0, 143), f"ended with code {code}"

    def address(self, server: subprocess.Popen[bytes], log: str) -> str:
        """The address that a server tells, once it answers there."""
        for _ in range(600):
            told = Path(log).read_text("utf-8", "replace")
            assert server.poll() is None, told.strip()[-2000:]
            found = re.search(r"http://127\.0\.0\.1:\d+", told)
            if found:
                url = found[0] + ("/health" if server.args[1] == "serve" else "/")  # type: ignore[index]
                try:
                    urllib.request.urlopen(url, timeout=5).close()
                    return url
                except OSError:
                    pass
            time.sleep(0.2)
        raise AssertionError("the server tells no address, or does not answer there")


def check_output(path: Path) -> None:
    """AssertionError unless something is there: sound in a WAV, files in a folder."""
    assert path.exists(), f"{path.name} is not there"
    if path.is_dir():
        assert any(path.iterdir()), f"{path.name} is empty"
    elif path.suffix == ".wav":
        with wave.open(str(path)) as file:
            assert file.getnframes() > 0.2 * file.getframerate(), f"{path.name} holds {file.getnframes()} samples"
    else:
        assert path.stat().st_size > 0, f"{path.name} is empty"


def ask_for_speech(health: str) -> None:
    """One request of OpenAI's form."""
    body = json.dumps({"input": "Hello there.", "voice": "alloy", "response_format": "wav"}).encode()
    url = health.replace("/health", "/v1/audio/speech")
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.read()[:4] == b"RIFF", "the server sent no WAV"


def provide(folder: Path, speak: Callable[[str, str], object]) -> Iterator[str]:
    """What the pages take for granted that a reader has: texts, a book, recordings. Yields what was made.

    speak(text, name): writes a recording of that text to that file of the folder.
    """
    texts = {
        "chapter.txt": STORY,
        "letter.txt": "Dear Anna,\n\nthe garden is finished. Come and see it.\n\nYours, Tom",
        "lines.txt": "The first line.\nAnd a second one.\n",
        "novel.txt": f"Chapter 1\n\n{STORY}\n\nChapter 2\n\nIn the morning Alice met the Gryphon again.\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
        yield name
    book(folder / "novel.epub")
    yield "novel.epub"
    (folder / "recordings").mkdir(exist_ok=True)
    told = {"me.wav": "The quick brown fox jumps over the lazy dog by the river.", "talk.wav": "We meet on Monday."}
    told |= {f"recordings/{n}.wav": f"{STORY} This is recording number {n}." for n in ("one", "two")}
    for name, text in told.items():
        speak(text, name)
        yield name


def book(path: Path) -> None:
    """An EPUB of two chapters."""
    page = (
        '<?xml version="1.0" encoding="utf-8"?><html xmlns="http://www.w3.org/1999/xhtml"><head><title>{0}</title>'
        "</head><body><h1>{0}</h1><p>{1}</p></body></html>"
    )
    contents = {"Chapter 1": STORY, "Chapter 2": "In the morning Alice met the Gryphon again."}
    items = "".join(f'<item id="c{n}" href="c{n}.xhtml" media-type="application/xhtml+xml"/>' for n in (1, 2))
    links = "".join(f'<li><a href="c{n}.xhtml">{title}</a></li>' for n, title in enumerate(contents, 1))
    nav = page.format("Contents", "").replace("<p></p>", f'<nav epub:type="toc"><ol>{links}</ol></nav>')
    package = (
        '<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id">'
        '<metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:identifier id="id">urn:x:novel</dc:identifier>'
        "<dc:title>A Novel</dc:title><dc:language>en</dc:language>"
        '<meta property="dcterms:modified">2026-01-01T00:00:00Z</meta></metadata><manifest>'
        '<item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>'
        f'{items}</manifest><spine><itemref idref="c1"/><itemref idref="c2"/></spine></package>'
    )
    container = (
        '<?xml version="1.0"?><container xmlns="urn:oasis:names:tc:opendocument:xmlns:container" version="1.0">'
        '<rootfiles><rootfile full-path="book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>'
    )
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("mimetype", "application/epub+zip", zipfile.ZIP_STORED)
        file.writestr("META-INF/container.xml", container)
        file.writestr("book.opf", package)
        file.writestr("nav.xhtml", nav.replace("<html ", '<html xmlns:epub="http://www.idpf.org/2007/ops" '))
        for number, (title, text) in enumerate(contents.items(), 1):
            file.writestr(f"c{number}.xhtml", page.format(title, text))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", type=Path, metavar="VENV", help="an environment that has all extras")
    args = parser.parse_args()
    began = time.monotonic()
    newcomer = Newcomer(Path.cwd(), args.full and args.full.resolve())
    for page in PAGES:
        print(page, flush=True)
        for command in commands(Path(page).read_text("utf-8"), page):
            newcomer.do(command)
            if command.text.startswith("make say") and not newcomer.failed:
                made = list(provide(newcomer.folder, newcomer.speak))
                print(f"  (what a reader has: {' '.join(made)})", flush=True)
    total = newcomer.ran + len(newcomer.skipped) + len(newcomer.failed)
    print(
        f"newcomer: {total} commands, {newcomer.ran} ran, {len(newcomer.skipped)} skipped, {len(newcomer.failed)} "
        f"failed, {time.monotonic() - began:.0f} s"
    )
    return 1 if newcomer.failed or not newcomer.ran else 0


if __name__ == "__main__":
    sys.exit(main())

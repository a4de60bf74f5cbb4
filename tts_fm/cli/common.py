"""What the verbs of the command line share: the options of speaking and of models, and the files that results go to.

Nothing heavy is imported before it is used. An option that was not given is None; 0 is a value.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tts_fm import files
from tts_fm.cli.terminal import stdout_named
from tts_fm.errors import ModelError
from tts_fm.settings import Setting, Settings, offered

if TYPE_CHECKING:
    from tts_fm.audio.stream import AudioStream
    from tts_fm.synthesis import TTS

DTYPES = ("int8", "float32", "bfloat16", "float16")
ENGINES = ("auto", "onnx", "torch")
OUTPUT_FORMATS = ("wav", "flac", "mp3", "opus", "ogg", "pcm", "aac")


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """--model, --variant, --vocab, --device, --engine, --dtype."""
    group = parser.add_argument_group("model")
    where = "folder, .safetensors file or hf://owner/repo/file (default: $TTS_FM_MODEL, or the built-in one)"
    group.add_argument("-m", "--model", metavar="M", help=where)
    group.add_argument("--variant", metavar="NAME", help="for published weights: f5-v1, f5-v0 or e2")
    group.add_argument("--vocab", metavar="FILE", help="for published weights: their vocab.txt")
    group.add_argument(
        "--device", metavar="D", help="cpu, cuda, cuda:1, mps (default: $TTS_FM_DEVICE, or a GPU if there is one)"
    )
    group.add_argument(
        "--engine", choices=ENGINES, default="auto", help="what computes: onnx (CPUs, no torch), torch (default: auto)"
    )
    group.add_argument(
        "--lexicon",
        metavar="FILE",
        help="how words are said: word TAB respelling or /ipa/, or W3C PLS (default: lexicon.tsv in ~/.config/tts_fm)",
    )
    group.add_argument("--dtype", choices=DTYPES, help="precision of the network: int8 of onnx only (default: auto)")


def add_speaking_options(parser: argparse.ArgumentParser, place: str = "cli") -> None:
    """The settings that a place of the table offers ("cli", or "edit"), as options."""
    group = parser.add_argument_group("speaking")
    for setting in offered(place):
        group.add_argument(
            setting.option, type=_reader(setting), metavar=setting.metavar, help=setting.description.replace("%", "%%")
        )
        if setting.name == "normalise":
            off: dict[str, Any] = {"dest": "normalise", "action": "store_const", "const": "off"}
            group.add_argument("--no-normalise", "--no-normalize", help="the same as --normalise off", **off)


def _reader(setting: Setting) -> Callable[[str], Any]:
    def read(given: str) -> Any:
        value = setting.read(given)
        try:
            setting.check(given if value is None else value)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return value

    return read


def settings_from(args: argparse.Namespace) -> dict[str, Any]:
    """The speaking options that were given, as fields of Settings. ValueError for values that do not fit together."""
    given = {s.name: value for s in offered("cli") if (value := getattr(args, s.name, None)) is not None}
    Settings(**given).check()
    return given


def settings_facts(settings: Settings) -> dict[str, Any]:
    """What --json prints of the settings."""
    return {setting.name: getattr(settings, setting.name) for setting in offered("cli")}


def engine_from(args: argparse.Namespace) -> str:
    """ "onnx" or "torch": what computes with the model that the model options ask for. ModelError."""
    from tts_fm.checkpoint.load import find_model
    from tts_fm.engines.load import engine_of
    from tts_fm.synthesis import BUILTIN

    spec = model_from(args)
    place = BUILTIN if spec is None else find_model(spec)
    return engine_of(place, engine_asked(args), device_from(args), args.dtype, **published(args))


def model_from(args: argparse.Namespace) -> str | None:
    """--model, $TTS_FM_MODEL, or None: the built-in one."""
    return args.model or os.environ.get("TTS_FM_MODEL") or None


def published(args: argparse.Namespace) -> dict[str, Any]:
    """What the model options say of published weights."""
    return {name: getattr(args, name) for name in ("variant", "vocab") if getattr(args, name) is not None}


def engine_asked(args: argparse.Namespace) -> str:
    """--engine; "auto" is torch where a guide is given, which needs it."""
    return "torch" if args.engine == "auto" and getattr(args, "guide", None) else args.engine


def load_tts(args: argparse.Namespace, threads: int | None = None) -> TTS:
    """The model that the model options ask for; threads: as for TTS.load. ModelError; MissingDependency for a library
    that does not load.
    """
    try:
        from tts_fm import TTS
        from tts_fm.text.lexicon import find_lexicon

        lexicon = find_lexicon(getattr(args, "lexicon", None))
        tts = TTS.load(
            model_from(args),
            device=device_from(args),
            dtype=args.dtype,
            engine=engine_asked(args),
            threads=threads,
            **published(args),
        )
        tts.lexicon = lexicon
        return tts
    except FileNotFoundError as error:
        raise ModelError(
            f"the model has no file {error.filename or error}; tts-fm doctor checks this install"
        ) from error


def device_from(args: argparse.Namespace) -> str:
    """--device, $TTS_FM_DEVICE, or a GPU if there is one. ValueError for a device that is not here."""
    from tts_fm.devices import name_of

    return name_of(args.device)


class Output:
    """Where a result goes: a path, or stdout for "-". Made, and so checked, before any work is done; ValueError when it
    cannot be written.

    format: one of OUTPUT_FORMATS, None = by the suffix (wav for stdout and devices). extra_suffix: of a second file
    beside the first.
    """

    def __init__(self, name: str, format: str | None = None, extra_suffix: str | None = None) -> None:
        self.path = None if name == "-" else Path(name)
        self.extra: Path | None = None
        self.is_stream = self.path is None or (
            self.path.exists() and not self.path.is_file() and not self.path.is_dir()
        )
        self.format = format or ("wav" if self.is_stream else self._by_suffix())
        if extra_suffix is not None:
            if self.path is None or self.is_stream:
                raise ValueError(f"{extra_suffix} is written beside the audio; give -o a file name")
            self.extra = self.path.with_suffix(extra_suffix)
            if self.extra == self.path:
                raise ValueError(f"the audio and the subtitles would both be {self.path}")
        if self.path is None and getattr(sys.stdout, "name", None) == os.devnull:
            raise ValueError("standard output is closed; give -o a file name")
        if self.path is None and sys.stdout.isatty():
            raise ValueError("the audio would go to the terminal; redirect it, or give -o a file name")
        for path in (self.path, self.extra):
            if path is not None and not self.is_stream:
                check_writable(path)

    def _by_suffix(self) -> str:
        assert self.path is not None
        if self.path.is_dir():
            raise ValueError(f"cannot write {self.path}: it is a folder; name a file in it")
        suffix = self.path.suffix.lower().removeprefix(".")
        if suffix not in OUTPUT_FORMATS:
            raise ValueError(
                f"{self.path} has no known suffix; end it in .{', .'.join(OUTPUT_FORMATS)}, or give --format"
            )
        return suffix

    def write(self, speech: Any) -> None:
        """Write a Speech: a file appears whole or not at all."""
        if self.path is not None and not self.is_stream:
            speech.save(self.path.resolve(), self.format)  # resolved, so that a link stays and its target is replaced
            return
        with tempfile.TemporaryDirectory(prefix="tts-fm-") as folder:
            speech.save(Path(folder) / "speech", self.format)
            data = (Path(folder) / "speech").read_bytes()
        from tts_fm.audio.stream import write_all

        if self.path is None:
            with stdout_named():
                write_all(sys.stdout.buffer, data)
                sys.stdout.buffer.flush()
            return
        try:
            with open(self.path, "wb") as device:
                device.write(data)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from error

    @contextlib.contextmanager
    def stream(self, metadata: dict[str, str], samples: int | None = None) -> Iterator[AudioStream]:
        """An AudioStream to write to chunk by chunk; samples: how many will come, where that is known."""
        from tts_fm.audio.stream import AudioStream

        with contextlib.ExitStack() as stack:
            target: Any
            if self.path is None:
                target = sys.stdout.buffer
            elif self.is_stream:
                target = stack.enter_context(open(self.path, "wb", buffering=0))
            else:
                target = self.path.resolve()  # so that a link stays and its target is replaced
            yield stack.enter_context(AudioStream(target, self.format, metadata, samples))

    def write_extra(self, text: str) -> None:
        """Write the second file."""
        assert self.extra is not None
        files.write_text(self.extra, text)


def must_be_file(name: str, what: str) -> None:
    """ValueError when there is no file of that name; what: "recording", "text file"."""
    if not Path(name).is_file():
        raise ValueError(
            f"{name} is a folder; a {what} is needed" if Path(name).is_dir() else f"there is no {what} {name}"
        )


def check_writable(path: Path) -> None:
    """ValueError, before any work is done, when a file cannot be put at `path`."""
    folder = path.parent
    if path.is_dir():
        raise ValueError(f"cannot write {path}: it is a folder; name a file in it")
    if not folder.is_dir():
        raise ValueError(f"cannot write {path}: there is no folder {folder}; make it first")
    try:
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(13, "the file is write-protected")
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".tts-fm-", suffix=files.PART):
            pass
        if len(os.fsencode(path.name)) > 250:
            raise OSError(36, "the name is too long")
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error.strerror or error}; choose another place with -o") from None

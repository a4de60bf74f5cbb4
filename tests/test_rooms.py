"""The rules of the house, read off the source: which room may use which, how long a file may be, and calls that nobody
makes.
"""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec, resolve_name
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tts_fm"

# In the order in which data flows. A room (a module, or a folder) uses rooms above it, and its own files; rooms on one
# line are neighbours that do not use each other. A new room goes here. FRONT is the package's door, not a room: it may
# use any.
FRONT = ("__main__", "lazy")
ORDER = """
errors
flow
files devices settings config
audio
text
voices
data
model
checkpoint
engines
synthesis
evaluate edit
train
batch serve
book
demo
cli
""".strip().split("\n")
LEVEL = {room: level for level, line in enumerate(ORDER) for room in line.split()}
SPEAKS = ("cli/",)  # where print is allowed


def sources() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*.py") if "__pycache__" not in p.parts)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def module_parts(path: Path) -> tuple[str, ...]:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def imports(path: Path) -> Iterator[tuple[int, tuple[str, ...]]]:
    """(line, dotted parts) of all that is imported from tts_fm, wherever in the file; relative imports are resolved."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, tuple(alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = (*above, *(part for part in (node.module or "").split(".") if part))
            for alias in node.names:
                yield node.lineno, (*base, alias.name)


def room_of(parts: tuple[str, ...]) -> str | None:
    """The room that ("tts_fm", "text", "split", "pack") is in; None for the package itself (tts_fm.TTS,
    tts_fm.__version__).
    """
    if parts[0] != "tts_fm" or len(parts) < 2:
        return None
    inside = (PACKAGE / parts[1]).is_dir() or (PACKAGE / f"{parts[1]}.py").is_file()
    return parts[1] if inside else None


def test_every_room_has_a_place_in_the_order() -> None:
    rooms = {module_parts(path)[1] for path in sources() if len(module_parts(path)) > 1}
    assert not rooms - {*LEVEL, *FRONT}, "put these rooms into ORDER, below what they use"
    assert not set(LEVEL) - rooms, "these rooms are gone"
    assert len(list(PACKAGE.glob("*.py"))) <= 14, "a module at the root belongs into a room"


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_room_uses_only_rooms_above_it(path: Path) -> None:
    parts = module_parts(path)
    if len(parts) < 2 or parts[1] not in LEVEL:
        return
    room, wrong = parts[1], []
    for line, target in imports(path):
        used = room_of(target)
        if used is None or used == room or used in FRONT:
            continue
        if room == "flow" or LEVEL.get(used, len(ORDER)) >= LEVEL[room]:
            wrong.append(f"{path.relative_to(ROOT)}:{line}: {room} uses {used}")
    assert not wrong, "\n".join(wrong)


def uses(path: Path) -> set[str]:
    """Modules of tts_fm that one module imports, wherever in the file and for types alone too."""
    named = {".".join(module_parts(source)): source for source in sources()}
    found = {".".join(target) for _, target in imports(path)}
    return {name if name in named else name.rpartition(".")[0] for name in found} & set(named) - {
        ".".join(module_parts(path))
    }


def test_nothing_goes_in_circles() -> None:
    """Modules are taken away as long as there is one that uses none of those left; what stays goes in a circle."""
    left = {".".join(module_parts(path)): uses(path) for path in sources()}
    while free := [name for name, used in left.items() if not used & left.keys()]:
        for name in free:
            del left[name]
    assert not left, {name: sorted(used & left.keys()) for name, used in left.items()}


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*/__init__.py")), ids=lambda p: p.parent.name)
def test_packages_tell_type_checkers_what_they_offer(path: Path) -> None:
    """The names under TYPE_CHECKING are those that `offer` gives at run time, from the same modules."""
    package = importlib.import_module(f"tts_fm.{path.parent.name}")
    offered = getattr(package, "NAMES", None)
    if offered is not None:
        names = {(".".join(base), name) for _, (*base, name) in imports(path) if base[0] == "tts_fm" and len(base) > 2}
        homes = {module: resolve_name(f".{module}", package.__name__) for module in offered}
        assert names == {(homes[module], name) for module, its in offered.items() for name in its.split()}
        if find_spec("torch") is not None:  # half of them are networks
            assert all(getattr(package, name) is not None for _, name in names)


def test_the_checker_sees_what_it_should(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    file = tmp_path / "tts_fm" / "text" / "x.py"
    file.parent.mkdir(parents=True)
    file.write_text(
        "from . import split\nfrom ..audio import load\nimport tts_fm.cli\ndef f():\n    from tts_fm.text.split import "
        "pack\n"
    )
    assert [target for _, target in imports(file)] == [
        ("tts_fm", "text", "split"),
        ("tts_fm", "audio", "load"),
        ("tts_fm", "cli"),
        ("tts_fm", "text", "split", "pack"),
    ]


def test_no_file_is_longer_than_400_lines() -> None:
    files = [p for folder in ("tts_fm", "recipes", "data_prep", "demo") for p in (ROOT / folder).rglob("*.py")]
    long = {str(p.relative_to(ROOT)): n for p in files if (n := len(p.read_text("utf-8").splitlines())) > 400}
    assert not long


NOT_WRAPPED = ("*.json", "*.jsonl")  # written by programs


def test_no_line_is_longer_than_120_bytes() -> None:
    """Of text that people read."""
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT)
    if listed.returncode:
        pytest.skip("this is no checkout")
    long = []
    for path in (ROOT / name for name in listed.stdout.splitlines()):
        if path.is_symlink() or not path.is_file() or any(path.match(form) for form in NOT_WRAPPED):
            continue
        data = path.read_bytes()
        if b"\0" in data:
            continue
        for number, line in enumerate(data.split(b"\n"), 1):
            if len(line) > 120:
                long.append(f"{path.relative_to(ROOT)}:{number}: {len(line)}")
    assert not long, "\n".join(long)


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """("torch.load", node) for every call by a dotted name."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if all(part.isidentifier() for part in name.split(".")):
                yield name, node


def found(names: set[str]) -> list[str]:
    return [
        f"{p.relative_to(ROOT)}:{node.lineno}: {name}" for p in sources() for name, node in calls(p) if name in names
    ]


def test_nothing_reads_pickles() -> None:
    for path in sources():
        for name, node in calls(path):
            if name == "torch.load":
                safe = [
                    k
                    for k in node.keywords
                    if k.arg == "weights_only" and isinstance(k.value, ast.Constant) and k.value.value is True
                ]
                assert safe, f"{path.relative_to(ROOT)}:{node.lineno}: torch.load without weights_only=True"
    assert not found({"pickle.load", "pickle.loads", "joblib.load", "dill.load"})


def test_audio_files_go_through_audio_py() -> None:
    assert not found({"torchaudio.load", "torchaudio.save", "torchaudio.info", "librosa.load"})


def test_no_global_seeding() -> None:
    """The global generators are left alone; where torch itself draws from one (dropout), the seeding is undone by
    fork_rng.
    """
    assert not found(
        {"torch.seed", "np.random.seed", "numpy.random.seed", "random.seed", "set_seed", "seed_all", "seed_everything"}
    )
    for path in sources():
        forked = [
            node
            for node in ast.walk(tree(path))
            if isinstance(node, ast.With) and "fork_rng(" in ast.unparse(node.items[0])
        ]
        undone = {id(inner) for node in forked for inner in ast.walk(node)}
        for name, node in calls(path):
            if name.startswith("torch.") and name.endswith((".manual_seed", ".manual_seed_all")):
                assert id(node) in undone, f"{path.relative_to(ROOT)}:{node.lineno}: {name}; use a torch.Generator"


def test_only_the_command_line_prints() -> None:
    talkers = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sources()
        for name, node in calls(path)
        if name == "print" and not str(path.relative_to(PACKAGE)).startswith(SPEAKS)
        # into a file
        if not any(k.arg == "file" and ast.unparse(k.value) not in ("sys.stdout", "sys.stderr") for k in node.keywords)
    ]
    assert not talkers, "use logging, or terminal.note and terminal.result"


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_every_module_says_what_it_is(path: Path) -> None:
    assert not path.read_text("utf-8").strip() or ast.get_docstring(tree(path)), "the module docstring is missing"


HEAVY = ("torch", "torchaudio", "librosa", "gradio", "vocos", "phonemizer", "scipy", "soundfile", "fastapi", "numpy")


@pytest.mark.parametrize(
    "code",
    [
        "import tts_fm",
        "from tts_fm.cli.main import main; assert main(['--help']) == 0",
        "from tts_fm.cli.main import main; assert main(['say', '--help']) == 0",
        "from tts_fm.cli.main import main; assert main(['version']) == 0",
    ],
)
def test_importing_and_helping_import_nothing_heavy(code: str) -> None:
    check = f"import sys; {code}; heavy = [m for m in {HEAVY!r} if m in sys.modules]; assert not heavy, heavy"
    run = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert run.returncode == 0, run.stderr


def test_the_help_imports_little() -> None:
    """What each run of `tts-fm --help` waits for: no room but the door, and none of the slower standard modules."""
    slow = {"dataclasses", "difflib", "inspect", "json", "logging", "pathlib", "tempfile", "typing"}
    code = (
        "import sys; before = set(sys.modules); from tts_fm.cli.main import main; assert main(['--help']) == 0; "
        f"print(*(m for m in set(sys.modules) - before if m.startswith('tts_fm') or m in {slow!r}), file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    rooms = {"tts_fm", "tts_fm.errors", "tts_fm.cli", "tts_fm.cli.main", "tts_fm.cli.terminal"}
    assert run.returncode == 0 and set(run.stderr.split()) == rooms

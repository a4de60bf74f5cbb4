"""Files appear whole or not at all, errors name the file that was wanted, and no other module renames."""

from __future__ import annotations

import ast
import errno
import hashlib
import multiprocessing
import resource
from pathlib import Path

import pytest

from tts_fm import files


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    place = tmp_path / "a.txt"
    place.write_text("old")
    with files.writing(place, sync=True) as part:
        part.write_text("new")
        assert place.read_text() == "old"
    assert place.read_text() == "new" and names(tmp_path) == {"a.txt"}


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), OSError(errno.ENOSPC, "full")])
def test_nothing_stays_of_what_failed(tmp_path: Path, error: BaseException) -> None:
    place = tmp_path / "a.txt"
    place.write_text("old")
    with pytest.raises(type(error)) as raised, files.writing(place) as part:
        part.write_text("half")
        raise error
    assert place.read_text() == "old" and names(tmp_path) == {"a.txt"}
    if isinstance(error, OSError):
        assert raised.value.filename == str(place) and raised.value.errno == errno.ENOSPC


def test_a_missing_folder_is_named_or_made(tmp_path: Path) -> None:
    place = tmp_path / "none" / "a.txt"
    with pytest.raises(FileNotFoundError) as raised:
        files.write_text(place, "x")
    assert raised.value.filename == str(place)
    with files.writing(place, parents=True) as part:
        part.write_text("x")
    assert place.read_text() == "x"


def test_text_and_json(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a", "ä\r\n")
    assert (tmp_path / "a").read_bytes() == "ä\r\n".encode()
    files.write_json(tmp_path / "b", {"ä": [1]})
    assert (tmp_path / "b").read_text("utf-8") == '{\n "ä": [\n  1\n ]\n}\n'
    with pytest.raises(ValueError):
        files.write_json(tmp_path / "c", float("nan"))
    assert names(tmp_path) == {"a", "b"}
    assert files.digest(tmp_path / "a") == hashlib.sha256("ä\r\n".encode()).hexdigest()


def test_several_files_together(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with files.writing_together(folder) as beside:
        (beside / "a").write_text("1")
        (beside / "b").write_text("1")
    (folder / "other").write_text("stays")
    with pytest.raises(RuntimeError), files.writing_together(folder) as beside:
        (beside / "a").write_text("2")
        raise RuntimeError
    assert (folder / "a").read_text() == "1" and names(folder) == {"a", "b", "other"}


def test_a_new_folder(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), files.making_folder(tmp_path / "x") as part:
        (part / "a").write_text("1")
        raise RuntimeError
    assert not names(tmp_path)
    with files.making_folder(tmp_path / "x") as part:
        (part / "a").write_text("1")
    assert names(tmp_path) == {"x"} and names(tmp_path / "x") == {"a"}
    with pytest.raises(FileExistsError), files.making_folder(tmp_path / "x"):
        pass


def test_leftovers_of_given_names_only(tmp_path: Path) -> None:
    for name in ("a.wav.part", "b.wav.part", "a.wav"):
        (tmp_path / name).write_text("")
    files.remove_parts(tmp_path, ["a.wav", "c.wav"])
    assert names(tmp_path) == {"b.wav.part", "a.wav"}


def _hold(path: str, ready: multiprocessing.Event, leave: multiprocessing.Event) -> None:  # type: ignore[valid-type]
    with files.locked(path):
        ready.set()
        leave.wait(60)


def test_one_process_holds_a_lock(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, leave = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(str(tmp_path / "lock"), ready, leave))
    holder.start()
    try:
        assert ready.wait(60)
        with pytest.raises(BlockingIOError), files.locked(tmp_path / "lock", wait=False):
            pass
        holder.kill()
        holder.join()
        with files.locked(tmp_path / "lock", wait=False):  # the system has freed it
            pass
    finally:
        holder.kill()


def _write_too_much(path: str, out: multiprocessing.Queue) -> None:  # type: ignore[type-arg]
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    try:
        files.write_bytes(path, bytes(5000))
    except OSError as error:
        out.put((error.errno, error.filename, str(error)))


def test_a_disk_that_takes_no_more(tmp_path: Path) -> None:
    """A real failure of write(2) in the middle of a file."""
    context = multiprocessing.get_context("spawn")
    out = context.Queue()
    process = context.Process(target=_write_too_much, args=(str(tmp_path / "a"), out))
    process.start()
    number, filename, told = out.get(timeout=60)
    process.join()
    assert number == errno.EFBIG and filename == str(tmp_path / "a") and str(tmp_path / "a") in told
    assert not names(tmp_path)


ROOT = Path(__file__).parents[1]
RENAMES = {"os.replace", "os.rename", "os.renames", "shutil.move"}


def suffix(value: str) -> bool:
    """Whether a string names a temporary file, rather than telling of one."""
    return ".part" in value and " " not in value


def test_no_other_module_renames_or_names_temporary_files() -> None:
    """`.replace(x)` with one argument and `.rename(x)` are pathlib's."""
    wrong = []
    for path in sorted(p for folder in ("tts_fm", "recipes", "data_prep") for p in (ROOT / folder).rglob("*.py")):
        if path == ROOT / "tts_fm" / "files.py":
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and suffix(node.value):
                wrong.append(f"{where}: {node.value[:60]!r}")
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                name, plain = ast.unparse(node.func), len(node.args) == 1 and not node.keywords
                if name in RENAMES or node.func.attr == "rename" or (node.func.attr == "replace" and plain):
                    wrong.append(f"{where}: {name}")
    assert not wrong, "use tts_fm.files: " + "\n".join(wrong)


def test_two_states_are_kept_and_a_damaged_one_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch = pytest.importorskip("torch")
    last = tmp_path / "last.pt"
    assert files.read_state(last) is None
    for step in (1, 2, 3):
        files.write_state(last, {"step": step, "weights": torch.arange(1000.0) + step})
    assert names(tmp_path) == {"last.pt", "last.before.pt"} and files.read_state(last)["step"] == 3
    good = last.read_bytes()
    at = good.index(torch.arange(1000.0).add(3).numpy().tobytes()) + 400
    flipped = good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]
    for damaged, fault in ((flipped, "checksum"), (good[: len(good) // 2], "not a zip"), (b"", "not a zip")):
        last.write_bytes(damaged)
        caplog.clear()
        state = files.read_state(last)
        assert state["step"] == 2 and torch.equal(state["weights"], torch.arange(1000.0) + 2)
        assert str(last) in caplog.text and fault in caplog.text and "last.before.pt" in caplog.text
        assert names(tmp_path) == {"last.pt.damaged", "last.before.pt"}
    files.write_state(last, {"step": 4})  # the good one before it was not written over by the damaged one
    assert files.read_state(files.before_of(last))["step"] == 2


def test_a_damaged_state_without_one_before_it_is_named(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    last = tmp_path / "last.pt"
    last.write_bytes(b"x")
    with pytest.raises(ValueError, match="last.pt is damaged .* remove it"):
        files.read_state(last)
    files.before_of(last).write_bytes(b"y")
    with pytest.raises(ValueError, match="last.before.pt .* remove both"):
        files.read_state(last)

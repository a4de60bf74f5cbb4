"""LibriTTS (Zen 2019, arXiv 1904.02882; CC BY 4.0) and LibriTTS-R (Koizumi 2023, arXiv 2305.18802; CC BY 4.0): 585 h,
2,456 speakers.

    python -m data_prep.libritts download data --parts dev-clean test-clean train-clean-100      (--restored:
      LibriTTS-R)
    python -m data_prep.libritts prepare data data/libritts.jsonl

Read English at 24 kHz. A recording is LibriTTS/<part>/<speaker>/<chapter>/<id>.wav, beside it <id>.normalized.txt and
<id>.original.txt. Splits: train-* train, dev-* valid, test-* test. 83 GB packed; 585 h of 16 bit at 24 kHz are 101 GB
unpacked, some 110 with what files take. https://openslr.org/60 and https://openslr.org/141.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from data_prep.archives import Archive, get
from data_prep.shared import Candidate, Dropped, corpus_parser, log, prepare_found, prepare_options, run
from tts_fm.data.manifest import Utterance

RATE = 24_000
# part -> (GB, GB of LibriTTS-R, recordings as published, SHA-256 of LibriTTS: the sums that torchaudio 2.11 has too).
# Sizes are about.
PARTS: dict[str, tuple[float, float, int, str]] = {
    "dev-clean": (1.3, 1.3, 5736, "da0864e1bd26debed35da8a869dd5c04dfc27682921936de7cff9c8a254dbe1a"),
    "dev-other": (0.9, 1.0, 4613, "d413eda26f3a152ac7c9cf3658ef85504dfb1b625296e5fa83727f5186cca79c"),
    "test-clean": (1.2, 1.2, 4837, "234ea5b25859102a87024a4b9b86641f5b5aaaf1197335c95090cde04fe9a4f5"),
    "test-other": (1.0, 1.0, 5120, "33a5342094f3bba7ccc2e0500b9e72d558f72eb99328ac8debe1d9080402f10d"),
    "train-clean-100": (7.7, 8.1, 33236, "c5608bf1ef74bb621935382b8399c5cdd51cd3ee47cec51f00f885a64c6c7f6b"),
    "train-clean-360": (27.0, 28.0, 116500, "ce7cff44dcac46009d18379f37ef36551123a1dc4e5c8e4eb73ae57260de4886"),
    "train-other-500": (44.0, 46.0, 205044, "e35f7e34deeb2e2bdfe4403d88c8fdd5fbf64865cae41f027a185a6965f0a5df"),
}
# For LibriTTS-R only MD5 sums are published (md5sum.txt of https://openslr.org/141); the SHA-256 of the first download
# is noted and kept.
RESTORED_MD5 = {
    "dev-clean": "2c1f5312914890634cc2d15783032ff3", "dev-other": "62d3a80ad8a282b6f31b3904f0507e4f",
    "test-clean": "4d373d453eb96c0691e598061bbafab7", "test-other": "dbc0959d8bdb6d52200595cabc9995ae",
    "train-clean-100": "6df668d8f5f33e70876bfa33862ad02b", "train-clean-360": "382eb3e64394b3da6a559f864339b22c",
    "train-other-500": "a37a8e9f4fe79d20601639bf23d1add8",
}  # fmt: skip
FOLDERS = ("LibriTTS", "LibriTTS_R")
SPLITS = {"train": "train", "dev": "valid", "test": "test"}


def check_parts(parts: Sequence[str]) -> list[str]:
    """The parts, or ValueError naming those that exist."""
    for part in parts:
        if part not in PARTS:
            raise ValueError(f"LibriTTS has no part {part!r}; there are {', '.join(PARTS)}")
    return list(dict.fromkeys(parts))


def archive(part: str, restored: bool = False) -> Archive:
    """Where a part is and what it must be."""
    size, size_restored, _, sha256 = PARTS[part]
    if restored:
        url = f"https://www.openslr.org/resources/141/{part.replace('-', '_')}.tar.gz"
        return Archive(url, f"LibriTTS_R/{part}", None, size_restored, md5=RESTORED_MD5[part])
    return Archive(f"https://www.openslr.org/resources/60/{part}.tar.gz", f"LibriTTS/{part}", sha256, size)


def download(
    root: str | os.PathLike[str],
    parts: Sequence[str] | None = None,
    restored: bool = False,
    mirror: str | None = None,
    keep: bool = False,
) -> list[Path]:
    """Fetch, check and unpack parts (None = all) below `root`; goes on where it was stopped. Raises ValueError,
    ModelError.
    """
    return get(
        [archive(part, restored) for part in check_parts(list(PARTS) if parts is None else parts)], root, mirror, keep
    )


def find(
    corpus: str | os.PathLike[str], parts: Sequence[str] | None = None, original: bool = False
) -> tuple[list[Candidate], Dropped]:
    """All recordings of `parts` (None = those that are there), with what has to be left out. `corpus`: the folder
    LibriTTS, or above it.

    original: the text as printed instead of the normalised one. ValueError when a part is missing.
    """
    corpus = Path(corpus)
    home = next((corpus / name for name in FOLDERS if (corpus / name).is_dir()), corpus)
    there = [part for part in PARTS if (home / part).is_dir()]
    wanted = there if parts is None else check_parts(parts)
    if lacking := [part for part in wanted if part not in there]:
        has = ", ".join(there) or "no part of LibriTTS"
        raise ValueError(f"{home} lacks {', '.join(lacking)}; it has {has}: download it, or name other --parts")
    if not wanted:
        raise ValueError(
            f"{corpus} holds no part of LibriTTS ({', '.join(PARTS)}); give the folder that holds LibriTTS/"
        )
    candidates: list[Candidate] = []
    dropped = Dropped()
    ending = ".original.txt" if original else ".normalized.txt"
    for part in wanted:
        before, split = len(candidates), SPLITS[part.split("-")[0]]
        for speaker in _folders(home / part):
            for chapter in _folders(speaker):
                candidates += _chapter(chapter, speaker.name, split, ending, dropped)
        found, published = len(candidates) - before, PARTS[part][2]
        if found < published:
            log.warning("%s has %d of the %d published recordings", part, found, published)
    return candidates, dropped


def _folders(path: Path) -> list[Path]:
    return sorted(Path(entry.path) for entry in os.scandir(path) if entry.is_dir())


def _chapter(folder: Path, speaker: str, split: str, ending: str, dropped: Dropped) -> list[Candidate]:
    names = {entry.name for entry in os.scandir(folder) if entry.is_file()}
    candidates = []
    for name in sorted(names):
        stem = name.removesuffix(".wav")
        if name.endswith(".wav"):
            if not stem.startswith(f"{speaker}_"):
                dropped.add("in the folder of another speaker", str(folder / name))
            elif stem + ending not in names:
                dropped.add("no transcript", str(folder / name))
            else:
                candidates.append(
                    Candidate(stem, str(folder / name), speaker, split, text_file=str(folder / (stem + ending)))
                )
        elif name.endswith(ending) and name.removesuffix(ending) + ".wav" not in names:
            dropped.add("transcript without audio", str(folder / name))
    return candidates


def prepare_libritts(
    corpus: str | os.PathLike[str],
    out: str | os.PathLike[str],
    parts: Sequence[str] | None = None,
    original: bool = False,
    **options,
) -> list[Utterance]:
    """Find and judge all recordings and write the manifest; options as in shared.prepare."""
    return prepare_found(find(corpus, parts, original), out, RATE, **options)


def main(argv: Sequence[str] | None = None) -> None:
    parser, fetch, make = corpus_parser("libritts", __doc__)
    fetch.add_argument("--parts", nargs="+", metavar="PART", help=f"of {', '.join(PARTS)} (default: all)")
    fetch.add_argument("--restored", action="store_true", help="LibriTTS-R")
    make.add_argument("--parts", nargs="+", metavar="PART", help="default: those that are there")
    make.add_argument("--original", action="store_true", help="texts as printed, not normalised")
    args = parser.parse_args(argv)
    if args.verb == "download":
        download(args.root, args.parts, args.restored, args.mirror, args.keep_archives)
    else:
        prepare_libritts(args.corpus, args.manifest, args.parts, args.original, **prepare_options(args, rate=RATE))


if __name__ == "__main__":
    raise SystemExit(run(main))

"""VCTK 0.92 (Yamagishi 2019; CC BY 4.0): 110 English speakers of many accents, 44 h, 48 kHz.

    python -m data_prep.vctk download data
    python -m data_prep.vctk prepare data data/vctk.jsonl

wav48_silence_trimmed/<speaker>/<speaker>_<number>_mic1.flac and txt/<speaker>/<speaker>_<number>.txt. p315 has no texts
and is left out, the few other missing texts and recordings are counted. `--valid-speakers` become, whole, the
validation split (default: p225 to p228). 11.7 GB packed, about as much unpacked (it is FLAC).
https://datashare.ed.ac.uk/handle/10283/3443
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from data_prep.archives import Archive, get
from data_prep.shared import Candidate, Dropped, corpus_parser, log, prepare_found, prepare_options, run
from tts_fm.data.manifest import Utterance

FOLDER, RATE = "VCTK-Corpus-0.92", 48_000
ARCHIVE = Archive(
    "https://datashare.is.ed.ac.uk/bitstream/handle/10283/3443/VCTK-Corpus-0.92.zip",
    FOLDER,
    "f96258be9fdc2cbff6559541aae7ea4f59df3fcaf5cf963aae5ca647357e359c",
    11.7,
    into=FOLDER,
)
VALID_SPEAKERS = ("p225", "p226", "p227", "p228")
WITHOUT_TEXT = ("p315",)


def download(root: str | os.PathLike[str], mirror: str | None = None, keep: bool = False) -> list[Path]:
    """Fetch, check and unpack below `root`. Raises ModelError."""
    return get([ARCHIVE], root, mirror, keep)


def find(
    corpus: str | os.PathLike[str], microphone: int = 1, valid_speakers: Sequence[str] = VALID_SPEAKERS
) -> tuple[list[Candidate], Dropped]:
    """All recordings of one microphone (1 or 2). ValueError for a folder that is not VCTK or a validation speaker who
    is not there.
    """
    home = Path(corpus) / FOLDER if (Path(corpus) / FOLDER).is_dir() else Path(corpus)
    sounds, texts = home / "wav48_silence_trimmed", home / "txt"
    if not sounds.is_dir() or not texts.is_dir():
        raise ValueError(
            f"{home} has no wav48_silence_trimmed with txt beside it; give the folder {FOLDER}, or the one above it"
        )
    speakers = sorted(entry.name for entry in os.scandir(sounds) if entry.is_dir())
    if unknown := [s for s in valid_speakers if s not in speakers]:
        raise ValueError(
            f"--valid-speakers: {', '.join(unknown)} not in {sounds}; there are {', '.join(speakers[:8])} ..."
        )
    candidates, dropped, ending = [], Dropped(), f"_mic{microphone}.flac"
    for speaker in speakers:
        if speaker in WITHOUT_TEXT:
            log.warning("%s is left out: the corpus has no texts of this speaker", speaker)
            continue
        has = {p.stem for p in (texts / speaker).glob("*.txt")}
        said = {p.name.removesuffix(ending): p for p in sorted((sounds / speaker).glob(f"*{ending}"))}
        for stem, path in said.items():
            if stem not in has:
                dropped.add("no transcript", str(path))
                continue
            split = "valid" if speaker in valid_speakers else "train"
            text = texts / speaker / f"{stem}.txt"
            candidates.append(Candidate(stem, str(path), speaker, split, text_file=str(text), lang="en-gb"))
        for stem in sorted(has - set(said)):
            dropped.add("transcript without audio", str(texts / speaker / f"{stem}.txt"))
    return candidates, dropped


def prepare_vctk(
    corpus: str | os.PathLike[str],
    out: str | os.PathLike[str],
    microphone: int = 1,
    valid_speakers: Sequence[str] = VALID_SPEAKERS,
    **options,
) -> list[Utterance]:
    """Write the manifest; options as in shared.prepare."""
    return prepare_found(find(corpus, microphone, valid_speakers), out, RATE, **options)


def main(argv: Sequence[str] | None = None) -> None:
    parser, _, make = corpus_parser("vctk", __doc__)
    make.add_argument("--microphone", type=int, choices=(1, 2), default=1)
    make.add_argument("--valid-speakers", nargs="*", default=VALID_SPEAKERS)
    args = parser.parse_args(argv)
    if args.verb == "download":
        download(args.root, args.mirror, args.keep_archives)
    else:
        prepare_vctk(
            args.corpus, args.manifest, args.microphone, args.valid_speakers, **prepare_options(args, rate=RATE)
        )


if __name__ == "__main__":
    raise SystemExit(run(main))

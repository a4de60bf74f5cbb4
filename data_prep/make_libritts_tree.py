"""Make a tree in LibriTTS's real layout from any manifest: for trying recipes/libritts without 80 GB of LibriTTS.

    python -m data_prep.make_libritts_tree corpus/manifest.jsonl data --speakers 24 --clips 300

Writes data/LibriTTS/<part>/<speaker>/<chapter>/<speaker>_<chapter>_<paragraph>_<sentence>.wav (24 kHz, 16 bit) with
.normalized.txt and .original.txt. Speakers get LibriTTS-like numbers; some of each speaker's clips go to dev-clean and
test-clean (in LibriTTS itself no speaker is in two parts; here the corpus may be too small for that).
"""

from __future__ import annotations

import argparse
from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path

from data_prep.shared import log, run
from tts_fm import files
from tts_fm.audio.files import write_audio
from tts_fm.audio.mel import SAMPLE_RATE
from tts_fm.data.manifest import Utterance, read_manifest
from tts_fm.data.waves import read_wave

CHAPTER_CLIPS = 20


def choose(utterances: Sequence[Utterance], speakers: int, clips: int) -> dict[str, list[Utterance]]:
    """The speakers with the most clips, and as evenly as possible `clips` of them. ValueError when there are not that
    many speakers.
    """
    by_speaker: dict[str, list[Utterance]] = {}
    for utterance in utterances:
        by_speaker.setdefault(utterance.speaker, []).append(utterance)
    most = sorted(by_speaker, key=lambda name: (-len(by_speaker[name]), name))[:speakers]
    if len(most) < speakers:
        raise ValueError(f"the manifest has {len(most)} speakers, {speakers} were asked for")
    chosen: dict[str, list[Utterance]] = {name: [] for name in sorted(most)}
    taken, turn = 0, 0
    while taken < clips and turn < max(len(by_speaker[name]) for name in most):
        for name, its in chosen.items():
            if taken < clips and turn < len(by_speaker[name]):
                its.append(by_speaker[name][turn])
                taken += 1
        turn += 1
    return chosen


def make_tree(manifest: Path, root: Path, speakers: int = 24, clips: int = 300) -> int:
    """Write root/LibriTTS (which must not exist yet); returns the number of clips. ValueError, ModelError."""
    target = root / "LibriTTS"
    if target.exists():
        raise ValueError(f"{target} exists already; name another folder or remove it")
    written = 0
    with files.making_folder(target) as part:
        for number, said in enumerate(choose(read_manifest(manifest), speakers, clips).values()):
            speaker = str(19 + 8 * number)
            for index, utterance in enumerate(said):
                name = {0: "dev-clean", 5: "test-clean"}.get(index % 10, "train-clean-100")
                chapter = str(1000 + 100 * number + index // CHAPTER_CLIPS)
                stem = f"{speaker}_{chapter}_{index // 5:06d}_{index % 5:06d}"
                folder = part / name / speaker / chapter
                folder.mkdir(parents=True, exist_ok=True)
                write_audio(folder / f"{stem}.wav", read_wave(utterance.place(manifest.parent)), SAMPLE_RATE)
                for ending in ("normalized", "original"):
                    (folder / f"{stem}.{ending}.txt").write_text(utterance.text + "\n", encoding="utf-8")
                written += 1
    log.info("%s: %d clips", target, written)
    return written


def main(argv: Sequence[str] | None = None) -> None:
    name = "python -m data_prep.make_libritts_tree"
    parser = argparse.ArgumentParser(name, description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("root", type=Path)
    parser.add_argument("--speakers", type=int, default=24)
    parser.add_argument("--clips", type=int, default=300)
    args = parser.parse_args(argv)
    make_tree(args.manifest, args.root, args.speakers, args.clips)


if __name__ == "__main__":
    raise SystemExit(run(main))

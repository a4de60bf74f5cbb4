"""The score of spoken lists: every item is measured once, by any number of processes, in any number of sittings.

Each shard appends what it measured to <speech>/scores.<shard>.jsonl; an item counts as done when its file, the ASR and
the measures are the same as then. The shard that finds the list complete writes the report (JSON, and a page beside
it). How an item is measured is tts_fm.evaluate.report's business, how it was spoken evaluation.py's.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recipes.libritts.report_page import write_page
from tts_fm.audio.files import read_audio
from tts_fm.evaluate.lists import EvalItem, read_eval_list
from tts_fm.evaluate.metrics import Errors
from tts_fm.evaluate.report import ItemResult, Transcribe, evaluate, summarise

MEASURES = ("wer", "sim", "dnsmos")
log = logging.getLogger(__name__)


def rows(folder: Path, pattern: str) -> Iterator[dict[str, Any]]:
    """The lines of all JSONL files of a pattern; a last line that was cut off by a kill is passed over."""
    for path in sorted(folder.glob(pattern)):
        for line in path.read_text("utf-8").split("\n"):
            if line.strip():
                try:
                    yield json.loads(line)
                except ValueError:
                    log.warning("%s ends in the middle of a line; its item is measured again", path)


def append(path: Path, row: dict[str, Any]) -> None:
    """One line more; a file that ends in the middle of one is given an end first."""
    with path.open("ab+") as file:
        if file.tell():
            file.seek(-1, 2)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write((json.dumps(row, ensure_ascii=False) + "\n").encode())


def score(
    items: Path,
    speech: Path,
    report: Path,
    asr: Transcribe | str | None = None,
    measures: Sequence[str] = MEASURES,
    shard: tuple[int, int] = (0, 1),
) -> str:
    """Measure the items of this shard that are not measured yet; returns the table when the whole list is, else how far
    it is.

    asr: as in tts_fm.evaluate.report. An item without a file counts as one in which nothing was said. Writes `report`
    (JSON) and a page of the same name, .html. ValueError, ModelError, MissingDependency.
    """
    listed = read_eval_list(items)
    spoken = {row["id"]: row for row in rows(speech, "spoken.*.jsonl")}
    judged_by = {
        "asr": asr if asr is None or isinstance(asr, str) else getattr(asr, "name", repr(asr)),
        "measures": sorted(measures),
    }
    places = {item.id: speech / f"{item.id}.wav" for item in listed}

    def recorded(item: EvalItem) -> tuple[np.ndarray, int, float]:
        if not places[item.id].is_file():
            raise ValueError("it was not spoken")
        wave, rate = read_audio(places[item.id])
        return wave, rate, float(spoken.get(item.id, {}).get("seconds", 0.0))

    own = speech / f"scores.{shard[0]}of{shard[1]}.jsonl"
    stamps = {
        name: [path.stat().st_size, path.stat().st_mtime_ns] if path.is_file() else None
        for name, path in places.items()
    }
    found, about = measured(speech, judged_by, stamps)
    mine = [item for item in listed[shard[0] :: shard[1]] if item.id not in found]
    if mine:
        facts = how_spoken(spoken)

        def note(at: int, total: int, result: ItemResult) -> None:
            append(own, judged_by | {"stamp": stamps[result.id], "item": plain(result)})

        done = evaluate(
            mine,
            recorded,
            asr,
            measures=measures,
            groups=lambda _: (),
            about={"list": str(items)} | facts,
            forwards=facts.get("forwards"),
            on_item=note,
        )
        append(own, judged_by | {"about": done.about})
        found, about = measured(speech, judged_by, stamps)
    if len(found) < len(listed):
        return f"{len(found)} of {len(listed)} items are measured; the other shards finish the report"
    whole = summarise([found[item.id] for item in listed], about)
    whole.save(report)
    write_page(whole, places, report.with_suffix(".html"))
    return whole.table()


def measured(
    speech: Path, judged_by: dict[str, Any], stamps: dict[str, Any]
) -> tuple[dict[str, ItemResult], dict[str, Any]]:
    """id -> result, of what was measured in this way on the files as they are now; and what is known of how."""
    found: dict[str, ItemResult] = {}
    about: dict[str, Any] = {}
    for row in rows(speech, "scores.*.jsonl"):
        if {key: row.get(key) for key in judged_by} != judged_by:
            continue
        if "about" in row:
            about |= row["about"] | {"minutes": round(about.get("minutes", 0) + row["about"].get("minutes", 0), 2)}
        elif (item := row["item"])["id"] in stamps and row["stamp"] == stamps[item["id"]]:
            errors = {key: Errors(**item[key]) if item[key] else None for key in ("words", "chars")}
            found[item["id"]] = ItemResult(**(item | errors | {"groups": tuple(item["groups"])}))
    return found, about


def plain(result: ItemResult) -> dict[str, Any]:
    """The JSON form of an item's result."""
    return {key: value._asdict() if hasattr(value, "_asdict") else value for key, value in vars(result).items()}


def how_spoken(spoken: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What `speak` noted of all items, where it is the same for all: model, forwards, settings."""
    facts: dict[str, Any] = {}
    for row in spoken.values():
        for key, value in row.get("about", {}).items():
            facts[key] = value if facts.get(key, value) == value else "several"
    return facts

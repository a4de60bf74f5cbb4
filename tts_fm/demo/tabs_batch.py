"""The Batch page: a list goes up, a zip of audio files comes back."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import gradio as gr

from tts_fm.demo.commands import LIST_TYPES, read_items
from tts_fm.demo.figures import table
from tts_fm.demo.runs import Pace, until_stopped
from tts_fm.demo.service import LIMITS, Service
from tts_fm.demo.sessions import FieldError, at_field
from tts_fm.demo.widgets import (
    CONSENT,
    Meter,
    Updates,
    go_and_stop,
    good,
    sampling_inputs,
    status,
    voice_inputs,
    who,
    wire,
)
from tts_fm.settings import offered
from tts_fm.text.subtitles import shown_text, subtitles

FORMATS = ("wav", "flac", "mp3", "opus", "ogg")


def build(service: Service) -> None:
    """Lay out the page and wire it."""
    limits = service.limits
    gr.Markdown(
        "A `.txt` file (a line = an utterance), or `.csv`, `.tsv` with a header, `.jsonl` with `text` and optional "
        "`id`, `voice` and settings such as `speed`. "
        f"Up to {limits.lines} lines and {limits.list_characters:,} characters here; `tts-fm batch` on the command "
        "line takes any number, "
        "resumes, and reads more forms."
    )
    with gr.Row():
        with gr.Column(min_width=300):
            upload = gr.File(
                label="List", file_types=list(LIST_TYPES), type="filepath", elem_id="batch-list", height=150
            )
            choice, recording, transcript, _ = voice_inputs(service, "batch")
            kind = gr.Radio(list(FORMATS), value="wav", label="Format of the files", elem_id="batch-format")
            settings = sampling_inputs(service, "batch")
            go, stop = go_and_stop("Speak the list", "batch")
            line = status("batch-status")
            gr.Markdown(CONSENT, elem_classes="tts-consent")
        with gr.Column(min_width=300):
            result = gr.File(
                label="Result (zip with audio, subtitles and results.jsonl)", interactive=False, elem_id="batch-zip"
            )
            rows = gr.HTML(elem_id="batch-rows")
    inputs = [upload, choice, recording, transcript, kind, *settings]
    told = "Speak every line of a list; returns a zip."
    wire(service, "batch", [go.click], stop, handler(service), inputs, [line, result, rows], result, told)


def handler(service: Service) -> Any:
    """The page's function, free of its layout."""

    def speak(
        upload: str | None,
        voice: str,
        recording: str | None,
        transcript: str,
        kind: str,
        values: dict[str, Any],
        request: gr.Request,
        progress: Any = gr.Progress(),
    ) -> Updates:
        with service.running(who(request, "batch"), Meter(progress)) as run:
            if not upload:
                raise FieldError("there is no list yet: upload a .txt file with a line for each utterance", "list")
            if kind not in FORMATS:
                raise ValueError(f"the format must be one of {', '.join(FORMATS)}, got {kind!r}")
            chosen = service.settings(**values)
            with at_field("list"):
                items = read_items(upload, chosen, service.limits.lines, service.limits.list_characters)
            of_page = (voice, recording, transcript)  # for lines that name no voice
            named = {item.parts[0].voice for item in items}
            voices = {name: service.voice(*(of_page if name is None else (name,))) for name in named}
            requests = [
                service.request(item.parts[0].text, voices[item.parts[0].voice], item.settings.check(LIMITS))
                for item in items
            ]
            folder = service.place()
            results: dict[int, dict[str, Any]] = {}
            pace = Pace()
            for number, speech in until_stopped(service.many(requests, [item.where for item in items], run)):
                results[number] = write(folder, items[number].id, items[number].parts[0].text, speech, kind)
                os.utime(folder)  # in use: see Service.place
                if pace.due():
                    yield good(f"{len(results)} of {len(items)} are spoken …"), gr.skip(), gr.skip()
            entries = [results[number] for number in sorted(results)]
            seconds = sum(entry["seconds"] for entry in entries)
            stopped = "" if len(entries) == len(items) else "Cancelled. "
            heads = ("Id", "Voice", "Length (s)", "Text")
            listing = table("Files", heads, [(e["id"], e["voice"], f"{e['seconds']:.2f}", e["text"]) for e in entries])
            yield (
                good(f"{stopped}{len(entries)} of {len(items)} files, {seconds:.1f} s of speech."),
                packed(folder, entries),
                listing,
            )

    return speak


def write(folder: Path, name: str, text: str, speech: Any, kind: str) -> dict[str, Any]:
    """Write one item's audio and subtitles; returns its line of results.jsonl. `name` was checked by
    commands.read_items.
    """
    file = f"{name}.{kind}"
    speech.save(folder / file, kind)
    cues = subtitles(speech.chunks, "srt", shown_text(text, speech.settings.subtitles_text))
    (folder / f"{name}.srt").write_text(cues, "utf-8")
    return {
        "id": name,
        "file": file,
        "text": text,
        "voice": speech.voice,
        "seconds": round(speech.seconds, 3),
        **{setting.name: getattr(speech.settings, setting.name) for setting in offered("demo")},
        "warnings": speech.warnings,
    }


def packed(folder: Path, entries: list[dict[str, Any]]) -> str:
    """A zip of the items, which are removed beside it; returns its path."""
    target = folder / "speech.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("results.jsonl", "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries))
        for entry in entries:
            for name in (entry["file"], f"{entry['id']}.srt"):
                archive.write(folder / name, name)
                (folder / name).unlink()
    return str(target)

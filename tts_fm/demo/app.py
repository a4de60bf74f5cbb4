"""The demo's frame: pages in tabs, style, limits of the web server, and what `tts-fm demo` runs."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from tts_fm.errors import MissingDependency
from tts_fm.options import load_tts, note

if TYPE_CHECKING:
    import gradio as gr

    from tts_fm.demo.service import Service

CSS = """
.gradio-container {max-width: 1280px !important; margin: auto}
.tts-status {min-height: 1.6em}
.tts-status p {margin: 0}
.tts-bad {border-left: 4px solid #b3261e; padding: 4px 10px}
.tts-good {border-left: 4px solid #2b6d3f; padding: 4px 10px}
.tts-consent {font-size: 0.9em}
.tts-table {overflow-x: auto; max-height: 360px; overflow-y: auto}
.tts-table table {border-collapse: collapse; width: 100%; font-size: 0.92em}
.tts-table caption {text-align: left; font-weight: 600; padding: 4px 0}
.tts-table th, .tts-table td {text-align: left; padding: 3px 8px; border-bottom: 1px solid var(--border-color-primary); vertical-align: top}
"""
# Status lines are live regions: a screen reader says what they show. Pages in other languages than the browser's stay English.
JS = """() => {
  document.documentElement.lang = "en";
  for (const e of document.querySelectorAll(".tts-status")) { e.setAttribute("role", "status"); e.setAttribute("aria-live", "polite"); }
}"""
TITLE = "tts_fm: text and a few seconds of a voice become speech"


def need_gradio() -> None:
    """Import gradio with telemetry off; MissingDependency says how to get it."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise MissingDependency(f'the demo needs gradio ({error}); install it with: pip install "tts-fm[demo]"') from None


def build(service: Service) -> gr.Blocks:
    """The whole page for a loaded model; launch it with `launch_options`."""
    need_gradio()
    import gradio as gr

    from tts_fm.demo import tabs_about, tabs_batch, tabs_clone, tabs_script

    def left(request: gr.Request) -> None:
        service.leave(str(request.session_hash))

    left.__annotations__["request"] = gr.Request
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(3600, 86400)) as page:
        gr.Markdown("# tts_fm\nWrite a text, choose or record a voice, press Speak. Everything runs on the machine that serves this page.")
        for name, tab in (("Clone", tabs_clone), ("Script", tabs_script), ("Batch", tabs_batch), ("About", tabs_about)):
            with gr.Tab(name, id=name.lower()):
                tab.build(service)
        page.unload(left)
    return page.queue(max_size=service.limits.queue, default_concurrency_limit=1)


def launch_options(service: Service) -> dict:
    """What every launch of the page has in common."""
    import gradio as gr

    return {
        "max_file_size": service.limits.upload_bytes,
        "state_session_capacity": 24,
        "css": CSS,
        "js": JS,
        "theme": gr.themes.Default(),
        "footer_links": ["api", "settings"],
        "show_error": True,
        "ssr_mode": False,
        "enable_monitoring": False,
    }


def run(args: argparse.Namespace) -> int:
    """`tts-fm demo`: load the model, serve the page until Ctrl-C. The command line tells what it raises."""
    need_gradio()
    from tts_fm.demo.service import Limits, Service

    if args.max_chars < 1:
        raise ValueError(f"--max-chars must be at least 1, got {args.max_chars}")
    if args.auth is not None and (":" not in args.auth or args.auth.startswith(":")):
        raise ValueError("--auth must be NAME:PASSWORD")
    service = Service(load_tts(args), Limits(characters=args.max_chars), args.model or os.environ.get("TTS_FM_MODEL") or None)
    if not args.auth and (args.share or args.host not in ("127.0.0.1", "localhost", "::1")):
        note("warning: anybody who can reach this address can use the page; --auth NAME:PASSWORD asks for a password")
    try:
        build(service).launch(
            server_name=args.host,
            server_port=args.port,
            share=args.share,
            inbrowser=args.open,
            auth=tuple(args.auth.split(":", 1)) if args.auth else None,
            quiet=args.quiet,
            **launch_options(service),
        )
    except OSError as error:
        raise ValueError(f"cannot serve at {args.host}:{args.port or 'a free port'} ({error}); try another --port or --host") from None
    finally:
        service.close()
    return 0

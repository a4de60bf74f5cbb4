"""The demo's frame: pages in tabs, style, limits of the web server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tts_fm.errors import MissingDependency

if TYPE_CHECKING:
    import gradio as gr

    from tts_fm.demo.service import Service

HERE = Path(__file__).parent  # of page.css and page.js
TITLE = "tts_fm: text and a few seconds of a voice become speech"
HEAD = """<div class="tts-head"><div><h1>tts_fm</h1>
<p>Write a text, choose or record a voice, press Speak. Everything runs on the machine that serves this page.</p></div>
<button type="button" class="tts-button" id="tts-theme" title="Switch between light and dark"></button></div>"""


def need_gradio() -> None:
    """Import gradio with telemetry off; MissingDependency says how to get it."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise MissingDependency(
            f'the demo needs gradio ({error}); install it with: pip install "tts-fm[demo]"'
        ) from None


def build(service: Service) -> gr.Blocks:
    """The whole page for a loaded model; launch it with `launch_options`."""
    need_gradio()
    import gradio as gr

    from tts_fm.demo import (
        tabs_about,
        tabs_adapt,
        tabs_batch,
        tabs_book,
        tabs_clone,
        tabs_edit,
        tabs_flow,
        tabs_script,
    )

    def left(request: gr.Request) -> None:
        service.leave(str(request.session_hash))

    left.__annotations__["request"] = gr.Request
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(3600, 86400)) as page:
        gr.HTML(HEAD, container=False)
        tabs = {"Clone": tabs_clone, "Make a voice": tabs_adapt, "Script": tabs_script, "Book": tabs_book}
        tabs |= {"Batch": tabs_batch, "Edit": tabs_edit, "How it works": tabs_flow, "About": tabs_about}
        for name, tab in tabs.items():
            with gr.Tab(name, id=name.lower().replace(" ", "-")):
                tab.build(service)
        page.unload(left)
    return page.queue(max_size=service.limits.queue, default_concurrency_limit=1)


def launch_options(service: Service) -> dict[str, Any]:
    """What every launch of the page has in common."""
    return {
        "max_file_size": service.limits.upload_bytes,
        "state_session_capacity": 24,
        "css_paths": HERE / "page.css",
        "js": (HERE / "page.js").read_text("utf-8"),
        "allowed_paths": [str(service.sessions.root)],
        "theme": theme(),
        "footer_links": ["api"],
        "show_error": True,
        "ssr_mode": False,
        "enable_monitoring": False,
    }


def theme() -> Any:
    """Gradio's default look with enough contrast for small and for white text (WCAG AA), in the machine's own fonts:
    there are none to load, and bold letters do not come from another one.
    """
    from gradio.themes import Default

    subdued = ("body_text_color_subdued", "block_info_text_color", "block_label_text_color", "block_title_text_color")
    grey = {f"{name}{dark}": f"*neutral_{shade}" for name in subdued for dark, shade in (("", 600), ("_dark", 300))}
    blue = {
        f"button_primary_background_fill{hover}{dark}": f"*primary_{shade}"
        for hover, shade in (("", 700), ("_hover", 800))
        for dark in ("", "_dark")
    }
    red = {
        f"button_cancel_background_fill{hover}{dark}": "#b3261e" for hover in ("", "_hover") for dark in ("", "_dark")
    }
    fonts: dict[str, Any] = {"font": ("ui-sans-serif", "system-ui", "sans-serif"), "font_mono": ("monospace",)}
    return Default(primary_hue="blue", **fonts).set(**grey, **blue, **red, color_accent="*primary_600")

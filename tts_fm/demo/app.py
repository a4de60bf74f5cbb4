"""The demo's frame: pages in tabs, style, limits of the web server."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from tts_fm.errors import MissingDependency

if TYPE_CHECKING:
    import gradio as gr

    from tts_fm.demo.service import Service

CSS = """
.gradio-container {max-width: min(1280px, 100vw) !important; min-width: 0; margin: auto}
.gradio-container .wrap, .gradio-container .contain, .tabs, .tab-wrapper, .tab-container {min-width: 0; max-width: 100%}
.tts-status {min-height: 1.6em}
.tts-status p {margin: 0}
.tts-bad {border-left: 4px solid #b3261e; padding: 4px 10px}
.tts-good {border-left: 4px solid #2b6d3f; padding: 4px 10px}
.tts-consent, .tts-caption {font-size: 0.9em}
.tts-caption {overflow: visible !important}
.tts-table {overflow: auto; max-height: 360px}
.tts-table table {border-collapse: collapse; width: 100%; font-size: 0.92em}
.tts-table caption {text-align: left; font-weight: 600; padding: 4px 0}
.tts-table th, .tts-table td {border: 0; text-align: left; padding: 3px 6px; vertical-align: top}
.tts-table td {overflow-wrap: anywhere}
.tts-table tr {border-bottom: 1px solid var(--border-color-primary)}
.dark {--color-accent: #60a5fa}
.gradio-container time, .gradio-container .controls span {color: var(--body-text-color-subdued) !important}
"""
# Status lines are live regions, so that a screen reader says what they show; Gradio's "Empty value" labels need a role
# to be allowed.
JS = """() => {
  document.documentElement.lang = "en";
  const mend = () => {
    for (const e of document.querySelectorAll(".tts-status:not([role])")) e.setAttribute("role", "status");
    for (const e of document.querySelectorAll("div.empty[aria-label]:not([role])")) e.setAttribute("role", "img");
  };
  mend();
  new MutationObserver(mend).observe(document.body, {childList: true, subtree: true});
}"""
TITLE = "tts_fm: text and a few seconds of a voice become speech"


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

    from tts_fm.demo import tabs_about, tabs_adapt, tabs_batch, tabs_book, tabs_clone, tabs_edit, tabs_script

    def left(request: gr.Request) -> None:
        service.leave(str(request.session_hash))

    left.__annotations__["request"] = gr.Request
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(3600, 86400)) as page:
        gr.Markdown(
            "# tts_fm\nWrite a text, choose or record a voice, press Speak. Everything runs on the machine that serves "
            "this page."
        )
        tabs = {"Clone": tabs_clone, "Make a voice": tabs_adapt, "Script": tabs_script, "Book": tabs_book}
        tabs |= {"Batch": tabs_batch, "Edit": tabs_edit, "About": tabs_about}
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
        "css": CSS,
        "js": JS,
        "theme": theme(),
        "footer_links": ["api"],
        "show_error": True,
        "ssr_mode": False,
        "enable_monitoring": False,
    }


def theme() -> Any:
    """Gradio's default look with enough contrast for small and for white text (WCAG AA)."""
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
    return Default(primary_hue="blue").set(**grey, **blue, **red, color_accent="*primary_600")

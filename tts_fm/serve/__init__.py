"""The HTTP server: OpenAI's speech API around one loaded voice.

config.py holds its limits, run.py opens the address, app.py has the routes, service.py what they do, middleware.py what
is checked before them, names.py what others call our voices, schema.py the bodies, answers.py the refusals, worker.py
the thread that owns the model, streams.py the answers, phrases.py texts that arrive in pieces, over websocket.py or
wyoming.py, metrics.py the counters. FastAPI comes with the extra `serve`; config, run, names, worker do without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tts_fm.lazy import offer

if TYPE_CHECKING:
    from tts_fm.serve.config import LOCAL as LOCAL
    from tts_fm.serve.config import ServeConfig as ServeConfig
    from tts_fm.serve.config import read_key as read_key
    from tts_fm.serve.run import create_app as create_app
    from tts_fm.serve.run import listen as listen
    from tts_fm.serve.run import need_extra as need_extra
    from tts_fm.serve.run import serve as serve

NAMES = {
    "config": "LOCAL ServeConfig read_key",
    "run": "create_app listen need_extra serve",
}
__getattr__, __dir__, __all__ = offer(__name__, NAMES)

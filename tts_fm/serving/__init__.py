"""The parts of `tts-fm serve`: engine (the worker thread), app (routes), guard (checks before a route), schema, metrics, reply.

Only serve.py imports these; app, guard, reply and schema need the extra `serve`, engine and metrics do not.
"""

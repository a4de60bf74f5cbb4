"""Text room: what is written becomes what is spoken (normalise), pieces of speakable length (split), and ids (phonemes, tokens).

Nothing is imported here, so that `import tts_fm.text` costs nothing; take what you need from the module that owns it.
"""

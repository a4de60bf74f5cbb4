"""The command `tts-fm`: main.py reads the command line and knows the exit codes, common.py holds what verbs share, one
file a verb.

It knows every other room, and none of them knows it.
"""

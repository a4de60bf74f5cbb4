"""The command `tts-fm`: main.py reads the command line and knows the exit codes, terminal.py talks to the user,
common.py holds what verbs share, and each verb has a file of its own.

It knows every other room, and none of them knows it.
"""

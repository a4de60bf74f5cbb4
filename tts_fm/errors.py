"""The errors that carry an exit code of the command line; bad values are plain ValueError (exit code 2)."""


class TtsFmError(Exception):
    """Base of the project's own errors. `exit_code` is what the CLI returns for it."""

    exit_code = 1


class ModelError(TtsFmError):
    """A model or data file that is missing, damaged, of the wrong kind, or cannot be fetched."""

    exit_code = 4


class MissingDependency(TtsFmError):
    """An optional package is not installed; the message names the extra that brings it."""

    exit_code = 5

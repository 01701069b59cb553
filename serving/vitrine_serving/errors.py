"""The error of vitrine-serving's commands."""


class CommandError(Exception):
    """What a user can mend: its text names the input, the reason and the way out."""

    exit_code = 1

"""What ends a rollout's command early, and what only makes it wait."""

from __future__ import annotations

from vitrine_serving.errors import CommandError


class Unfinished(CommandError):
    """The command cannot go on, and what it began is as it was; the same command again goes on from there."""

    exit_code = 75
    """EX_TEMPFAIL of sysexits.h: a Job, or a script, may simply try again."""


class NotAnswered(Exception):
    """A server could not be asked, or nobody was there to be asked. That is no answer, so nothing is judged by it."""

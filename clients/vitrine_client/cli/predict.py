"""`vitrine-client predict`: what a model sees in pictures, thousands of them if need be."""

from __future__ import annotations

import argparse
import time

from vitrine_client.blocking import Client
from vitrine_client.cli.console import Console
from vitrine_client.cli.failures import told
from vitrine_client.cli.picture_paths import picture_paths
from vitrine_client.cli.predictions import CsvWriter, JsonWriter, TableWriter, Writer
from vitrine_client.errors import VitrineError
from vitrine_client.images.urls import without_credentials


def predict(client: Client, options: argparse.Namespace, console: Console) -> int:
    """Writes each answer as soon as those before it are there. Returns 1 if a picture failed.

    Raises:
        VitrineError: no picture can be classified; what was known before is written.
    """
    paths = picture_paths(options.paths)
    pictures = list(map(without_credentials, paths))
    writer = _writer(options, console, pictures)
    answers = client.classify_many(
        paths,
        on_error="return",
        batch_size=options.batch_size,
        in_flight=options.in_flight,
        max_side=options.max_side,
        check=options.check,
        allow_urls=options.allow_urls,
    )
    tally = _Tally(len(paths))
    unread = False
    writer.begin()
    try:
        if not (options.quiet or options.no_progress):
            console.begin_progress(len(paths))
        for picture, answer in zip(pictures, answers, strict=True):
            # Before it is written: whoever sees it may press Ctrl-C at that moment.
            tally.done += 1
            if isinstance(answer, VitrineError):
                reason = _reason(answer, picture, options)
                console.say(reason, picture)
                writer.add_failed(picture, reason)
                tally.failed += 1
            else:
                writer.add(picture, answer)
            console.advance(tally.done)
    except BrokenPipeError:
        unread = True
        raise
    finally:
        console.end_progress()
        if not unread:
            writer.end()
            if tally.done and not options.quiet:
                console.say(tally)
    return 1 if tally.failed else 0


class _Tally:
    """How many pictures of all are done, and how long that took."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = self.failed = 0
        self._start = time.monotonic()

    def __str__(self) -> str:
        seconds = time.monotonic() - self._start
        count = f"{self.done} of {self.total}" if self.done < self.total else f"{self.done}"
        noun = "picture" if self.total == 1 else "pictures"
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{count} {noun} in {seconds:.1f} s, {self.done / seconds:.1f} pictures/s{failed}"


def _writer(options: argparse.Namespace, console: Console, pictures: list[str]) -> Writer:
    if options.json:
        return JsonWriter(console, options.top)
    if options.csv:
        return CsvWriter(console, options.top or 1)
    return TableWriter(console, pictures, options.top or 1)


def _reason(error: VitrineError, picture: str, options: argparse.Namespace) -> str:
    """The error without what the line says already: which picture of how many it is, and what was asked."""
    reason = told(error, options)
    for position in error.positions:
        reason = reason.partition(f"images[{position}]: ")[2] or reason
    return reason.removeprefix(f"{picture!r} ")

"""The files of `--out`."""

from __future__ import annotations

import json
from pathlib import Path

from vitrine_serving.config.folder import replace_files
from vitrine_serving.tune.candidates import Batching, Candidate, powers_of_two
from vitrine_serving.tune.copies import BATCHING, settings
from vitrine_serving.tune.measuring import candidate_flags
from vitrine_serving.tune.outcome import Outcome
from vitrine_serving.tune.plot import page

RECIPE = "batching.recipe.yaml"
FLAGS = "flags.txt"
RESULT = "tune.json"
PLOT = "tune.html"
_OF_A_WINNER = (BATCHING, RECIPE, FLAGS)


def write(outcome: Outcome, folder: Path) -> list[Path]:
    """Write what there is to say, and take away what an earlier search said; returns the paths.

    Raises CommandError where `folder` cannot be written.
    """
    files = {RESULT: json.dumps(outcome.to_json(), indent=1) + "\n", PLOT: page(outcome)}
    if outcome.choice is not None:
        files |= winners_files(outcome.choice.winner.candidate, folder, outcome.engine)
    written = replace_files(folder, files)
    for name in _OF_A_WINNER:
        if name not in files:
            (folder / name).unlink(missing_ok=True)
    return written


def winners_files(winner: Candidate, folder: Path, engine: str) -> dict[str, str]:
    """batching.config and flags.txt; and the recipe's lines, where it is the graph that batches."""
    flags = candidate_flags(winner, str(folder.resolve() / BATCHING), engine)
    files = {FLAGS: "".join(f"{flag}\n" for flag in flags)}
    if winner.batching is not None:
        files[BATCHING] = settings(winner.batching).text()
        if winner.where != "server-side":
            files[RECIPE] = _recipe(winner.batching)
    return files


def _recipe(batching: Batching) -> str:
    sizes = ", ".join(map(str, batching.allowed_sizes or powers_of_two(batching.batch_size)))
    return (
        "# For the model's recipe; it takes effect with the next export.\n"
        "export:\n"
        "  batching:\n"
        f"    allowed_batch_sizes: [{sizes}]\n"
        f"    batch_timeout_micros: {batching.timeout_micros}\n"
        f"    num_batch_threads: {batching.num_threads}\n"
        f"    max_enqueued_batches: {batching.max_enqueued_batches}\n"
        f"    batch_padding_policy: {batching.padding_policy}\n"
    )

"""`vitrine-serving tune`: what it does."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from vitrine_client.load.slo import Objective
from vitrine_serving.config.folder import replace_files
from vitrine_serving.config.pinning import pin_model
from vitrine_serving.embedded.cpus import available_cpus
from vitrine_serving.engines import Engine, choose
from vitrine_serving.errors import CommandError
from vitrine_serving.server_process import interrupt_on_signals
from vitrine_serving.tune.candidates import Candidate, Grid, Threads
from vitrine_serving.tune.copies import SAVED_MODEL, Copies
from vitrine_serving.tune.graph import graph_batching, with_batching
from vitrine_serving.tune.load import Load, require_locust
from vitrine_serving.tune.measuring import Bench, limits
from vitrine_serving.tune.outcome import Outcome
from vitrine_serving.tune.report import told
from vitrine_serving.tune.search import Search
from vitrine_serving.tune.writing import write


@dataclass(frozen=True)
class TuneSettings:
    """What is tuned, for what, and with how much patience.

    Attributes:
        version: None for the newest.
        pictures: to ask about; None for the version's golden ones.
        seconds: of the first round's measurements.
        budget: seconds that all may take, about.
        repeats: of each finalist's measurements.
    """

    models: Path
    model: str
    version: int | None
    engine: str
    slo: str
    objectives: tuple[Objective, ...]
    pictures: Path | None
    concurrencies: tuple[int, ...]
    grid: Grid
    seconds: int
    budget: float
    repeats: int
    out: Path
    as_json: bool


def tune(settings: TuneSettings) -> None:
    """Search, write and tell.

    Raises CommandError where the model cannot be served or asked, nobody keeps the objectives, or after Ctrl-C; what
    was measured is written by then.
    """
    require_locust()
    engine = choose(settings.engine)
    store = settings.models.resolve()
    [version] = pin_model(store, settings.model, settings.version, str(store), "stable").versions
    _require_writable(settings.out)
    interrupt_on_signals()
    try:
        with tempfile.TemporaryDirectory(prefix="vitrine-tune-") as temporary:
            search = _search(settings, engine, store / settings.model / str(version), Path(temporary))
            interrupted = _interrupted(search)
    except KeyboardInterrupt:
        raise CommandError("interrupted; nothing was written") from None
    except OSError as error:
        raise CommandError(f"{error.filename or 'the temporary folder'}: {error.strerror or error}") from None
    outcome = _outcome(settings, engine, version, search, interrupted)
    files = write(outcome, settings.out)
    sys.stdout.write((json.dumps(outcome.to_json()) if settings.as_json else told(outcome)) + "\n")
    sys.stderr.write(f"wrote {', '.join(path.name for path in files)} to {settings.out}\n")
    if interrupted:
        raise CommandError(f"interrupted; what was measured by then is in {settings.out}")
    if outcome.choice is None:
        raise CommandError(
            f"no candidate keeps {settings.slo or 'all its answers'}; ask for less with --slo, or with fewer at once: "
            "--concurrency"
        )


def _interrupted(search: Search) -> bool:
    """Run it; was it ended by Ctrl-C?"""
    try:
        search.run()
    except KeyboardInterrupt:
        return True
    return False


def _require_writable(out: Path) -> None:
    """Better now than after ten minutes."""
    replace_files(out, {})
    if not os.access(out, os.W_OK):
        raise CommandError(f"cannot write to {out}: name another folder with --out")


def _search(settings: TuneSettings, engine: Engine, version: Path, temporary: Path) -> Search:
    # The threads are those of `vitrine-serving up` and `config flags`.
    batching = graph_batching((version / SAVED_MODEL).read_bytes())
    present = Candidate("as exported", batching, Threads(1, available_cpus()))
    load = Load(
        settings.model, int(version.name), version.parents[1], settings.pictures, settings.slo, settings.objectives
    )
    concurrencies = sorted(settings.concurrencies, reverse=True)
    bench = Bench(engine, Copies(version, temporary / "store", with_batching), load, temporary, concurrencies)
    grid = settings.grid.candidates(present, runs_as_exported=not limits(engine.name, batching))
    sys.stderr.write(
        f"engine: {engine.name} ({engine.why}); candidates beside the present configuration: {len(grid)}\n"
    )
    if present.batching is None:
        sys.stderr.write("the model's graph has no batch: in-graph candidates are left out\n")
    return Search(bench, present, grid, settings.seconds, settings.budget, settings.repeats)


def _outcome(settings: TuneSettings, engine: Engine, version: int, search: Search, interrupted: bool) -> Outcome:
    return Outcome(
        settings.model,
        version,
        engine.name,
        available_cpus(),
        settings.slo,
        settings.objectives,
        search.bench.concurrencies,
        search.present,
        search.visits,
        search.finalists,
        search.left_out,
        interrupted,
    )

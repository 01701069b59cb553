"""From a recipe with a search section to the recipe that won."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import optuna
from tqdm import tqdm

from vitrine_export.datasets.prepare import prepare_dataset
from vitrine_export.errors import RecipeError, RunError
from vitrine_export.interrupts import Interrupts, interrupts
from vitrine_export.preprocessing import Preprocessing
from vitrine_export.recipe import Recipe
from vitrine_export.recipe.sections import SearchConfig
from vitrine_export.search import plot
from vitrine_export.search.books import Books, opened_books
from vitrine_export.search.crew import Crew, Worker
from vitrine_export.search.folder import search_folder
from vitrine_export.search.outcome import Outcome, Results, State, shown
from vitrine_export.search.space import checked_space, trial_recipe, winning_recipe

_INDEX_FILE = "dataset.json"


def search(recipe: Recipe, folder: Path, *, cache: Path, jobs: int | None = None, fresh: bool = False) -> Outcome:
    """Try what `recipe.search` says and leave table, pictures and summary in `folder`.

    Goes on where an earlier search in `folder` ended, however it ended; nothing is tried again. With the same seed,
    one job suggests the same values in the same order.

    Args:
        cache: where decoded pictures and features are kept between trials and searches.
        jobs: trials at a time, each in a process of its own; the recipe's where None, and where that has none, as
            many as cores and free memory allow.
        fresh: forget what was tried in `folder`.

    Raises RecipeError for a space that cannot be searched, DatasetError for pictures that cannot be trained on,
    RunError where `folder` cannot be used or no trial succeeds. Ctrl-C keeps what is finished.
    """
    config = checked_space(recipe)
    jobs = jobs if jobs is not None else config.jobs
    if jobs is not None and jobs < 1:
        raise RecipeError(f"jobs: {jobs}: at least one trial must run at a time")
    with search_folder(folder, recipe, fresh=fresh) as claim:
        index = prepare_dataset(recipe.dataset, Preprocessing(recipe.pipeline))
        claim(index.digest())
        (folder / _INDEX_FILE).write_text(index.to_json(), encoding="utf-8")
        with opened_books(folder, recipe) as books:
            left = books.trials - len(books.results().results)
            with (
                _told(books, folder) as bar,
                Crew(folder, folder / _INDEX_FILE, cache, jobs=jobs, most=_most_jobs(config, left)) as crew,
                interrupts(signal.SIGINT) as caught,
            ):
                _Search(recipe, folder, books, crew, bar).run(caught)
            return _outcome(recipe, folder, books.results())


def _most_jobs(config: SearchConfig, left: int) -> int:
    """How many jobs make sense where nobody has said how many."""
    if config.sampler == "tpe" or config.pruner != "none":
        # They learn from trials that are finished: with all at a time there would be nothing to learn from.
        return max(1, left // 4)
    return max(1, left)


@contextmanager
def _told(books: Books, folder: Path) -> Iterator[tqdm[NoReturn]]:
    """A progress bar over the trials; where it is interrupted, what is kept."""
    done = len(books.results().results)
    bar: tqdm[NoReturn]
    with tqdm(total=books.trials, initial=done, desc="search", unit="trial") as bar:
        try:
            yield bar
        except KeyboardInterrupt:
            bar.close()
            raise KeyboardInterrupt(
                f"search stopped: {len(books.results().results)} of {books.trials} trials kept in {folder}; "
                "run it again to go on"
            ) from None


class _Search:
    """The trials that are running, and what becomes of them."""

    def __init__(self, recipe: Recipe, folder: Path, books: Books, crew: Crew, bar: tqdm[NoReturn]) -> None:
        self._recipe = recipe
        self._folder = folder
        self._books = books
        self._crew = crew
        self._bar = bar
        self._running: dict[Worker, optuna.Trial] = {}
        self._curves: dict[Worker, list[float]] = {}
        self._any_ready = False
        self._show_best(books.results())

    def run(self, caught: Interrupts) -> None:
        """Until every trial is finished; raises KeyboardInterrupt for what was `caught`."""
        metric = self._books.results().metric
        while True:
            caught.check()
            while self._crew.has_room() and (begun := self._books.next()):
                trial, values = begun
                try:
                    raw = trial_recipe(self._recipe, values).model_dump(mode="json")
                except RecipeError as error:
                    self._finish(trial, "failed", reason=str(error))
                    continue
                worker = self._crew.begin({"recipe": raw, "metric": metric})
                self._running[worker], self._curves[worker] = trial, []
            if not self._running:
                return
            worker, message = self._crew.next_event()
            if message is None:
                self._bury(worker)
            elif "ready" in message:
                self._any_ready = True
            elif "state" in message:
                trial = self._running.pop(worker)
                self._crew.rest(worker)
                self._finish(trial, message["state"], message["curve"], message["seconds"], message["reason"])
            else:
                self._epoch(worker, message["value"], message["memory"])

    def _epoch(self, worker: Worker, value: float, memory: int) -> None:
        worker.memory = memory
        curve = self._curves[worker]
        curve.append(value)
        hopeless = self._books.report(self._running[worker], len(curve), value)
        worker.send({"go_on": not hopeless})

    def _bury(self, worker: Worker) -> None:
        reason = worker.cause_of_death()
        self._crew.bury(worker)
        if not self._any_ready:
            raise RunError(f"no trial could be begun: {reason}")
        if worker in self._running:
            self._finish(self._running.pop(worker), "failed", self._curves[worker], reason=reason)

    def _finish(
        self,
        trial: optuna.Trial,
        state: State,
        curve: list[float] | None = None,
        seconds: float = 0.0,
        reason: str = "",
    ) -> None:
        self._books.finish(trial, state, curve or [], seconds, reason)
        results = self._books.results()
        results.write(self._folder)
        if state == "failed":
            tried = ", ".join(f"{name}={shown(value)}" for name, value in trial.params.items())
            self._bar.write(f"trial {trial.number} ({tried}) failed: {reason}", file=sys.stderr)
        self._show_best(results)
        self._bar.update()

    def _show_best(self, results: Results) -> None:
        if best := results.best():
            self._bar.set_postfix_str(f"best {results.metric} {best.value:.4f} (trial {best.trial})", refresh=False)


def _outcome(recipe: Recipe, folder: Path, results: Results) -> Outcome:
    results.write(folder)
    best = results.best()
    if best is None:
        reasons = {result.reason for result in results.results if result.reason}
        listed = "".join(f"\n  {reason}" for reason in sorted(reasons)[:5])
        raise RunError(
            f"{folder}: none of {len(results.results)} trials succeeded:{listed}\n"
            "Mend the recipe, then search anew with --fresh"
        )
    outcome = Outcome(folder, results, best, winning_recipe(recipe, best.values))
    outcome.write(plot.draw(results, folder))
    return outcome

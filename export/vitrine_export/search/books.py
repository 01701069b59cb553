"""The books of a search: which trials there were and what came of each, in an SQLite file that survives a kill."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import sqlalchemy.exc
from optuna.trial import TrialState

from vitrine_export.errors import RunError
from vitrine_export.recipe import Recipe
from vitrine_export.recipe.sections import SearchConfig
from vitrine_export.search.outcome import Result, Results, State
from vitrine_export.search.space import Value, checked_space, grid, suggest, trial_count

_FILE = "trials.db"
_STUDY = "search"
_STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


class Books:
    """Every trial of one search. One process writes them, one trial after the other.

    A trial that was running when the process died is still marked so, with its number and its values: it is the
    first that is begun after that.
    """

    def __init__(self, storage: optuna.storages.RDBStorage, recipe: Recipe) -> None:
        self._config = checked_space(recipe)
        self._trials = trial_count(self._config)
        epochs = self._config.epochs or recipe.training.epochs
        if recipe.training.fine_tune is not None:
            epochs += recipe.training.fine_tune.epochs
        self._study = optuna.create_study(
            storage=storage,
            study_name=_STUDY,
            direction="minimize" if self._config.metric == "val_loss" else "maximize",
            pruner=_pruner(self._config, self._trials, epochs),
            load_if_exists=True,
        )
        self._interrupted = [trial.number for trial in self._study.trials if trial.state == TrialState.RUNNING]
        self._grid = grid(self._config) if self._config.sampler == "grid" else None

    @property
    def trials(self) -> int:
        """How many there are to be in all."""
        return self._trials

    def next(self) -> tuple[optuna.Trial, dict[str, Value]] | None:
        """Begin a trial, with its values; None when all have been begun."""
        trial = self._again() or self._new()
        if trial is None:
            return None
        return trial, {name: suggest(trial, name, entry) for name, entry in self._config.space.items()}

    def report(self, trial: optuna.Trial, epoch: int, value: float) -> bool:
        """Note the metric after `epoch` (from 1); True where the trial is hopeless."""
        if self._config.pruner == "none":
            return False
        known = self._study.trials[trial.number].intermediate_values
        if known and epoch <= max(known):
            # The trial is run again, and has been allowed to go on here before.
            return False
        trial.report(value, epoch)
        return trial.should_prune()

    def finish(
        self, trial: optuna.Trial, state: State, curve: Sequence[float] = (), seconds: float = 0.0, reason: str = ""
    ) -> None:
        """Note what came of a trial; `curve` is the metric after each of its epochs."""
        for name, value in {"curve": list(curve), "seconds": seconds, "reason": reason}.items():
            trial.set_user_attr(name, value)
        if state == "complete":
            self._study.tell(trial, _best(curve, self._config.metric))
        else:
            self._study.tell(trial, state=TrialState.PRUNED if state == "pruned" else TrialState.FAIL)

    def results(self) -> Results:
        """Of the trials that are finished."""
        names = tuple(self._config.space)
        finished = [trial for trial in self._study.trials if trial.state in _STATES]
        return Results(self._config.metric, names, tuple(self._result(trial) for trial in finished))

    def _result(self, trial: optuna.trial.FrozenTrial) -> Result:
        curve: list[float] = trial.user_attrs["curve"]
        best = _best(curve, self._config.metric) if curve else None
        return Result(
            trial=trial.number,
            state=_STATES[trial.state],
            values=trial.params,
            curve=curve,
            value=best,
            epoch=None if best is None else curve.index(best) + 1,
            seconds=trial.user_attrs["seconds"],
            reason=trial.user_attrs["reason"],
        )

    def _again(self) -> optuna.Trial | None:
        if not self._interrupted:
            return None
        frozen = self._study.trials[self._interrupted.pop(0)]
        self._study.sampler = self._sampler(frozen.number)
        return optuna.trial.Trial(self._study, frozen._trial_id)

    def _new(self) -> optuna.Trial | None:
        known = self._study.trials
        # At most one waits: what a process added that was killed before it could begin it.
        waiting = sum(trial.state == TrialState.WAITING for trial in known)
        number = len(known) - waiting
        if number >= self._trials:
            return None
        self._study.sampler = self._sampler(number)
        if self._grid is not None and not waiting:
            # Trial n is combination n, so none is left out and none comes twice, whatever happens in between.
            self._study.enqueue_trial(self._grid[number])
        return self._study.ask()

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """With a seed of its own for each trial: a search that goes on draws what it would have drawn anyway."""
        seed = int(np.random.SeedSequence([self._config.seed, number]).generate_state(1)[0])
        if self._config.sampler == "tpe":
            return optuna.samplers.TPESampler(seed=seed)
        return optuna.samplers.RandomSampler(seed=seed)


@contextlib.contextmanager
def opened_books(folder: Path, recipe: Recipe) -> Iterator[Books]:
    """The books in `folder`, begun where there are none. Raises RunError where they cannot be read or written."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = None
    try:
        storage = optuna.storages.RDBStorage(
            f"sqlite:///{(folder / _FILE).resolve()}", engine_kwargs={"connect_args": {"factory": _Connection}}
        )
        yield Books(storage, recipe)
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise RunError(f"{folder / _FILE}: {reason}; free the disk, or start anew with --fresh") from None
    finally:
        if storage is not None:
            storage.remove_session()
            storage.engine.dispose()


class _Connection(sqlite3.Connection):
    """Waits for the disk now and then and not for every figure: after a power cut the last ones may be missing.

    Whatever ends the process alone costs nothing.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.execute("PRAGMA journal_mode = WAL")
        self.execute("PRAGMA synchronous = NORMAL")


def _best(curve: Sequence[float], metric: str) -> float:
    return min(curve) if metric == "val_loss" else max(curve)


def _pruner(config: SearchConfig, trials: int, epochs: int) -> optuna.pruners.BasePruner:
    if config.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=epochs, reduction_factor=3)
    if config.pruner == "median":
        # Few trials would be over before the usual five have set the standard.
        return optuna.pruners.MedianPruner(n_startup_trials=min(5, max(1, trials // 4)), n_warmup_steps=epochs // 5)
    return optuna.pruners.NopPruner()

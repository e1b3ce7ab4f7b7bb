"""The search for training settings: honest, resumable, and without a consequence but what it prints.

Choices are made on validation windows that ended by the as_of; whoever wants to know how good the choice is looks at a
window after it, by `backtest`. The loss of the best of many trials is flattered by the choice.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.exc import SQLAlchemyError

from propensity.errors import SettingsError, TrainingError, WarehouseError
from propensity.experiments.cutoff_result import local_day
from propensity.experiments.ingredients import build_ingredients, code
from propensity.experiments.only_one import only_one
from propensity.experiments.optuna_package import optuna as optuna_package
from propensity.experiments.search_space import distributions, drawn, with_drawn
from propensity.experiments.validation_windows import ValidationWindow, validation_cutoffs
from propensity.features.instants import instants
from propensity.features.labels import find_labels
from propensity.features.snapshots import find_snapshot
from propensity.pipeline import Observer, SilentObserver
from propensity.training.planned_training import data_fingerprint
from propensity.warehouse.regions import check_region
from propensity.warehouse.runs import fingerprint

if TYPE_CHECKING:
    from propensity.settings import Settings, TrainingSettings
    from propensity.training.cutoffs import Cutoffs

UNPRUNED: Final = 5
"""Trials that are finished before one is given up after its first window for being worse than their median."""
STUDY: Final = "tuning"
CURRENT, LOSSES, REASON = "current", "losses", "reason"


@dataclass(frozen=True)
class Trial:
    """Training settings and how they did.

    Attributes:
        training: The settings.
        losses: Log loss on each validation window, newest first; fewer than there are windows where it was given up.
        current: These are the settings as they are now.
        reason: Why it was given up; None where it wasn't.
    """

    training: TrainingSettings
    losses: tuple[float, ...]
    current: bool
    reason: str | None

    @property
    def loss(self) -> float:
        """Mean over the windows; infinite where it was given up."""
        return math.inf if self.reason is not None or not self.losses else sum(self.losses) / len(self.losses)


@dataclass(frozen=True)
class Tuning:
    """What a search has found so far.

    Attributes:
        as_of: No label that ends later was used.
        windows: Starts of the validation windows, newest first.
        trials: Those that are over, in their order; the first one is the current settings.
        computed: How many of them this call computed.
        study: Optuna's file, from which the search goes on.
    """

    as_of: datetime
    windows: tuple[datetime, ...]
    trials: tuple[Trial, ...]
    computed: int
    study: Path

    @property
    def current(self) -> Trial:
        """The settings as they are now."""
        return self.trials[0]

    @property
    def best(self) -> Trial:
        """The trial of the lowest mean loss; of equals the first, so the current settings where nothing is better."""
        return min(self.trials, key=lambda trial: trial.loss)


def tune(
    settings: Settings,
    as_of: datetime,
    *,
    trials: int = 30,
    timeout_seconds: float | None = None,
    windows: int = 2,
    seed: int = 7,
    observer: Observer | None = None,
) -> Tuning:
    """Search the training settings with the lowest mean log loss over validation windows that ended by `as_of`.

    Each trial trains, for each window, on label windows that had ended when that one began, exactly as
    `propensity train` would have then. A trial that is worse than most on the newest window is given up there. The
    sampler is Optuna's TPE (Bergstra et al. 2011, "Algorithms for hyper-parameter optimization"), the pruner the
    median rule. The current settings are measured first, and the search starts from them.

    The same seed gives the same trials, also where the search was killed and started again in between: finished ones
    are kept, by what they were made of (data, settings, code), and the sampler's seed counts them.

    Args:
        as_of: No label that ends later is used.
        trials: How many there are to be beside the current settings, earlier calls' counted in.
        timeout_seconds: No trial begins later than this after the call.
        windows: Validation windows, 2 or more.
        seed: Of the sampler; the nets' own seed is `training.seed`.
        observer: Told of progress and of each trial.

    Raises:
        RuntimeMissingError: Optuna isn't installed.
        SettingsError: An argument is out of range.
        TrainingError: History is too short, or the current settings can't be trained with.
        MissingSnapshotError: The data end before `as_of`.
        WarehouseLockedError: Another process is searching in this region, or running it while something is built.
        WarehouseError: The study's file is damaged.

    Side effects: builds snapshots and labels that are missing; the study below `home/tuning`. Changes no setting.
    """
    observer = observer or SilentObserver()
    if trials < 1 or (timeout_seconds is not None and timeout_seconds <= 0):
        raise SettingsError("A search needs 1 trial or more, and a timeout above 0. Give for example --trials 30.")
    optuna = optuna_package()
    deadline = math.inf if timeout_seconds is None else time.monotonic() + timeout_seconds
    check_region(settings)
    plans = validation_cutoffs(settings, as_of, windows)
    directory = settings.home / "tuning" / settings.region
    with only_one(directory, f"search of region {settings.region!r}"):
        started = time.monotonic()
        needed = instants({as_of for plan in plans for as_of in (*plan.refit, plan.trained_as_of)})
        build_ingredients(settings, needed, observer)
        observer.finished("inputs", f"{len(needed)} snapshots and label windows", time.monotonic() - started)
        path = directory / f"{local_day(settings, as_of)}-{_inputs(settings, plans, seed)}.db"
        try:
            search = _Search(settings, plans, optuna, _open(optuna, path), seed, observer)
            computed = search.go_on(trials, deadline)
            finished = search.finished()
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            reason = str(error).strip().splitlines()[0]
            raise WarehouseError(f"{path}: the study can't be used ({reason}). Remove it to search anew.") from error
    return Tuning(as_of, tuple(plan.trained_as_of for plan in plans), finished, computed, path)


def _inputs(settings: Settings, plans: tuple[Cutoffs, ...], seed: int) -> str:
    """Return a name for all that a trial's loss, and the choice of the next trial, are made of."""
    tested = [
        (find_snapshot(settings, plan.trained_as_of).contents, find_labels(settings, plan.trained_as_of).contents)
        for plan in plans
    ]
    data = [data_fingerprint(settings, plan) for plan in plans]
    return fingerprint(data, tested, settings.training.model_dump(), settings.labels.model_dump(), seed, code())


def _open(optuna: Any, path: Path) -> Any:
    return optuna.create_study(
        storage=optuna.storages.RDBStorage(f"sqlite:///{path}"),
        study_name=STUDY,
        load_if_exists=True,
        direction="minimize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=UNPRUNED, n_warmup_steps=0),
    )


class _Search:
    """A study that is gone on with."""

    def __init__(
        self, settings: Settings, plans: tuple[Cutoffs, ...], optuna: Any, study: Any, seed: int, observer: Observer
    ) -> None:
        self._settings, self._plans, self._optuna, self._study = settings, plans, optuna, study
        self._seed, self._observer = seed, observer
        self._distributions = distributions(optuna, settings.training)
        self._states = optuna.trial.TrialState

    def finished(self) -> tuple[Trial, ...]:
        """Return the trials that are over."""
        return tuple(self._trial(trial) for trial in self._over())

    def go_on(self, trials: int, deadline: float) -> int:
        """Compute what is missing up to `trials` beside the current settings; return how many that were."""
        for killed in self._study.get_trials(deepcopy=False, states=(self._states.RUNNING,)):
            self._study.tell(killed.number, state=self._states.FAIL)
        computed, windows = 0, None
        while len(self._over()) <= trials:
            known = len(self._over())
            # The first one is the current settings, without which the result would have nothing to be beside.
            if known and time.monotonic() >= deadline:
                break
            windows = windows or self._read()
            self._observer.progress("search", known, trials + 1)
            started = time.monotonic()
            if known == 0:
                self._measure_current(windows)
            else:
                self._try_another(windows, known)
            computed += 1
            self._say(time.monotonic() - started)
        return computed

    def _over(self) -> list[Any]:
        states = (self._states.COMPLETE, self._states.PRUNED)
        return list(self._study.get_trials(deepcopy=False, states=states))

    def _read(self) -> list[ValidationWindow]:
        windows = []
        for number, plan in enumerate(self._plans, start=1):
            windows.append(ValidationWindow.read(self._settings, plan))
            self._observer.progress("reading windows", number, len(self._plans))
        return windows

    def _measure_current(self, windows: list[ValidationWindow]) -> None:
        training = self._settings.training
        losses = [window.loss(training, self._observer.progress) for window in windows]
        params = drawn(training)
        self._study.add_trial(
            self._optuna.trial.create_trial(
                params=params,
                distributions={name: self._distributions[name] for name in params},
                value=sum(losses) / len(losses),
                intermediate_values=dict(enumerate(losses)),
                user_attrs={CURRENT: True, LOSSES: losses},
            )
        )

    def _try_another(self, windows: list[ValidationWindow], known: int) -> None:
        # A sampler of its own for each trial, seeded by their number: a search that was killed draws as if it hadn't.
        self._study.sampler = self._optuna.samplers.TPESampler(seed=self._seed + known)
        trial = self._study.ask(self._distributions)
        training = with_drawn(self._settings.training, trial.params)
        losses: list[float] = []
        reason = None
        for step, window in enumerate(windows):
            try:
                losses.append(window.loss(training, self._observer.progress))
            except TrainingError as error:
                reason = str(error)
                break
            trial.report(losses[-1], step)
            if step + 1 < len(windows) and trial.should_prune():
                reason = f"worse than most on the window from {local_day(self._settings, window.as_of)}"
                break
        trial.set_user_attr(LOSSES, losses)
        if reason is None:
            self._study.tell(trial, sum(losses) / len(losses))
        else:
            trial.set_user_attr(REASON, reason)
            self._study.tell(trial, state=self._states.PRUNED)

    def _trial(self, trial: Any) -> Trial:
        current = trial.user_attrs.get(CURRENT, False)
        training = self._settings.training if current else with_drawn(self._settings.training, trial.params)
        return Trial(training, tuple(trial.user_attrs[LOSSES]), current, trial.user_attrs.get(REASON))

    def _say(self, seconds: float) -> None:
        trials = self.finished()
        last, best = trials[-1], min(trials, key=lambda trial: trial.loss)
        said = f"log loss {last.loss:.5f}" if last.reason is None else last.reason
        self._observer.finished(
            "current" if last.current else f"trial {len(trials) - 1}", f"{said}, best {best.loss:.5f}", seconds
        )

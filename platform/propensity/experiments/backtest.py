"""The rolling backtest: train as of one cut-off after the other, test on the window behind each.

What is trained here is measured and thrown away: it is in no registry, no champion, and scores nobody.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from propensity.baselines import SIMPLE, FitOptions, chosen
from propensity.errors import SettingsError
from propensity.evaluation.bootstrap import log_loss_difference
from propensity.evaluation.kept_baselines import inputs_of, predict_or_recall
from propensity.evaluation.protocol import HoldoutWindow
from propensity.experiments.backtest_report import write_report
from propensity.experiments.cutoff_result import NET, CutoffResult, local_day
from propensity.experiments.ingredients import build_ingredients, code
from propensity.experiments.only_one import only_one
from propensity.features.instants import instants
from propensity.features.labels import find_labels
from propensity.features.snapshots import find_snapshot
from propensity.models.artifact import Artifact, read_artifact
from propensity.pipeline import Observer, SilentObserver
from propensity.scoring.scorer import Scorer
from propensity.training.cutoffs import Cutoffs, training_cutoffs
from propensity.training.planned_training import data_fingerprint, version_of
from propensity.training.service import train_artifact
from propensity.training.training_set import training_set
from propensity.warehouse.regions import check_region
from propensity.warehouse.runs import fingerprint

if TYPE_CHECKING:
    from propensity.settings import Settings

MEASURING: Final = "measuring"
ABANDONED: Final = ".training-"
"""How the directory of an artifact that isn't kept begins; what a killed backtest left is removed by the next."""


@dataclass(frozen=True)
class Backtest:
    """A series of cut-offs, each with the net trained as of it beside the baselines.

    Attributes:
        results: One per cut-off, in time order.
        computed: How many of them this call computed; the others were finished before.
        directory: Where table, figures and plot were written; see `backtest_report.write_report`.
    """

    results: tuple[CutoffResult, ...]
    computed: int
    directory: Path

    @property
    def ahead(self) -> int:
        """Cut-offs on which the net is ahead of every baseline in log loss and macro AUC."""
        return sum(result.ahead for result in self.results)


def backtest(
    settings: Settings,
    as_ofs: Sequence[datetime],
    *,
    baselines: str | Sequence[str] = SIMPLE,
    keep_models: bool = False,
    observer: Observer | None = None,
) -> Backtest:
    """Train as of each of `as_ofs` by the settings as they are, and test on the label window that starts there.

    A cut-off's training sees only labels whose windows ended by it. Missing snapshots and labels are built first.
    Finished cut-offs are kept by what they were made of (data, settings, code): killed and started again, only the
    missing ones are computed.

    Args:
        as_ofs: Cut-offs; each one's label window must have ended.
        baselines: Names, or `all` or `simple`; see `baselines.chosen`. Fitted on the net's training as_ofs.
        keep_models: Keep the artifacts, below `home/backtests/REGION/models`; else only figures remain.
        observer: Told of progress, and of every cut-off that was computed.

    Raises:
        MissingSnapshotError: A label window hasn't ended by the newest imported event.
        TrainingError: There's too little history before a cut-off.
        SettingsError: There is no cut-off.
        LookupFailedError: There is no baseline of a name.
        RuntimeMissingError: A baseline needs a package that isn't installed.
        WarehouseLockedError: Another process is running this region while something must be built.

    Side effects: builds snapshots and labels; a file per cut-off below `home/backtests`; the baselines' predictions
    and the report below `home/reports`. Registers, promotes and scores nothing. Safe to repeat and to kill.
    """
    observer = observer or SilentObserver()
    names, series = chosen(baselines), instants(as_ofs)
    if not series:
        raise SettingsError("A backtest needs a cut-off. Give --from DATE --to DATE.")
    check_region(settings)
    with only_one(backtests(settings), f"backtest of region {settings.region!r}"):
        for abandoned in backtests(settings).glob(f"{ABANDONED}*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        return _backtest(settings, series, names, observer, keep_models=keep_models)


def _backtest(
    settings: Settings, series: Sequence[datetime], names: tuple[str, ...], observer: Observer, *, keep_models: bool
) -> Backtest:
    plans = [training_cutoffs(settings, as_of) for as_of in series]
    with _timed(observer, "inputs") as done:
        needed = instants({*series, *(as_of for plan in plans for as_of in plan.refit)})
        build_ingredients(settings, needed, observer)
        done.append(f"{len(needed)} snapshots and label windows for {len(series)} cut-offs")
    results, computed = [], 0
    for plan in plans:
        trial = _Trial(settings, plan, names, keep_models=keep_models)
        result = trial.finished()
        if result is None:
            with _timed(observer, trial.day) as done:
                result = trial.compute(observer)
                done.append(_in_words(result))
            computed += 1
        results.append(result)
    made_of = fingerprint(settings.training.model_dump(), settings.labels.model_dump(), names, series)
    name = f"backtest-{local_day(settings, series[0])}-to-{local_day(settings, series[-1])}-{made_of[:8]}"
    directory = settings.home / "reports" / settings.region / name
    write_report(directory, results, settings)
    return Backtest(tuple(results), computed, directory)


class _Trial:
    """One cut-off: what names its inputs, where its figures lie, and how to compute them."""

    def __init__(self, settings: Settings, plan: Cutoffs, names: tuple[str, ...], *, keep_models: bool) -> None:
        self._settings, self._plan, self._names, self._keep_models = settings, plan, names, keep_models
        self._options = FitOptions(horizon_days=settings.labels.horizon_days, threads=settings.threads)
        self._data = data_fingerprint(settings, plan)
        self._version = version_of(settings, plan, self._data)
        self._baseline_inputs = inputs_of(settings, plan.refit, plan.trained_as_of, self._options)
        self._inputs = fingerprint(
            self._data,
            self._version,
            find_snapshot(settings, plan.trained_as_of).contents,
            find_labels(settings, plan.trained_as_of).contents,
            self._baseline_inputs,
            settings.training.model_dump(),
            names,
            code(),
        )
        self.day = local_day(settings, plan.trained_as_of)
        home = backtests(settings)
        self._file = home / "cutoffs" / f"{self.day}-{self._inputs}.json"
        # A version says data and settings, not the code: that is in the name of the directory.
        self._kept_model = home / "models" / code() / self._version

    def finished(self) -> CutoffResult | None:
        """Return the figures if they are there, and the artifact too where it is wanted."""
        if self._keep_models and not self._kept_model.is_dir():
            return None
        return CutoffResult.read(self._file, self._inputs)

    def compute(self, observer: Observer) -> CutoffResult:
        """Train, measure, and keep the figures."""
        started = time.monotonic()
        with self._artifact_directory() as directory:
            if not directory.is_dir():
                train_artifact(self._settings, self._plan, directory, self._data, observer.progress)
            result = self._measured(read_artifact(directory), time.monotonic() - started, observer)
        result.write(self._file, self._inputs)
        return result

    @contextmanager
    def _artifact_directory(self) -> Iterator[Path]:
        """Yield where the artifact is or is to be; without `keep_models` a new one goes at the end of the block."""
        if self._keep_models or self._kept_model.is_dir():
            yield self._kept_model
        else:
            with tempfile.TemporaryDirectory(prefix=ABANDONED, dir=backtests(self._settings)) as temporary:
                yield Path(temporary) / self._version

    def _measured(self, artifact: Artifact, train_seconds: float, observer: Observer) -> CutoffResult:
        """Test on the window behind the cut-off: its rows are read only now, when the net is done."""
        as_of, training_as_ofs = self._plan.trained_as_of, self._plan.refit
        steps = 2 + len(self._names)
        built = training_set(self._settings, [*training_as_ofs, as_of])
        observer.progress(MEASURING, 1, steps)
        in_window = built.examples.as_of == np.datetime64(as_of.replace(tzinfo=None), "us")
        test, training = built.examples.at(in_window), built.examples.at(~in_window)
        window = HoldoutWindow.from_examples(test, training, built.dictionary, built.categories.names)
        scorer = Scorer(artifact.model, threads=self._settings.threads)
        scores = window.align(scorer.score_examples(test), scorer.category_index, artifact.model.unseen_category_prior)
        evaluations, gains = {NET: window.evaluate(scores)}, {}
        observer.progress(MEASURING, 2, steps)
        for number, name in enumerate(self._names):
            theirs = predict_or_recall(
                self._settings.home / "reports" / self._settings.region / "baselines",
                name,
                self._baseline_inputs,
                training=training,
                test=test,
                dictionary=built.dictionary,
                options=self._options,
            ).probabilities
            evaluations[name] = window.evaluate(theirs)
            gains[name] = log_loss_difference(window.labels, scores, theirs)
            observer.progress(MEASURING, 3 + number, steps)
        return CutoffResult(
            as_of=as_of,
            model_version=self._version,
            training_as_ofs=len(training_as_ofs),
            train_seconds=train_seconds,
            evaluations=evaluations,
            check=window.describe(),
            gains=gains,
        )


def backtests(settings: Settings) -> Path:
    """Return the directory of what the region's backtests keep."""
    return settings.home / "backtests" / settings.region


def _in_words(result: CutoffResult) -> str:
    rival, gain = result.evaluations[result.rival], result.gains[result.rival]
    return (
        f"log loss {result.net.all.log_loss:.4f}, {result.rival} {rival.all.log_loss:.4f}, difference "
        f"{gain.mean:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})"
    )


@contextmanager
def _timed(observer: Observer, stage: str) -> Iterator[list[str]]:
    started = time.monotonic()
    done: list[str] = []
    yield done
    observer.finished(stage, "; ".join(done), time.monotonic() - started)

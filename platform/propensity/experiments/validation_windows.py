"""The windows a search chooses by: they lie before its as_of, one behind the other, and each is tested as a test is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from propensity.errors import SettingsError
from propensity.evaluation import metrics
from propensity.evaluation.protocol import HoldoutWindow
from propensity.features.labels import label_window_end
from propensity.progress import Progress, silent
from propensity.scoring.scorer import Scorer
from propensity.training.cutoffs import Cutoffs, training_cutoffs
from propensity.training.service import examples_at, fit_net
from propensity.training.training_set import training_set
from propensity.warehouse.regions import local_days_later

if TYPE_CHECKING:
    from propensity.features.dictionary import FeatureDictionary
    from propensity.settings import Settings, TrainingSettings
    from propensity.training.examples import Examples


def validation_cutoffs(settings: Settings, as_of: datetime, windows: int) -> tuple[Cutoffs, ...]:
    """Return what to train as of the start of each validation window, the newest window first. Read-only.

    The newest window ends by `as_of`, the one before it ends where that one begins, and so on: no label that ends
    after `as_of` is in any of them, and no training sees the window it is tested on.

    Raises:
        SettingsError: `windows` is below 2: a choice by one window is a choice by its luck.
        TrainingError: History is too short.
    """
    if windows < 2:
        raise SettingsError(f"A search needs 2 validation windows or more, not {windows}. Give --windows 2.")
    found: list[Cutoffs] = []
    end = as_of
    for _ in range(windows):
        start = local_days_later(end, -settings.labels.horizon_days, settings)
        if label_window_end(settings, start) > end:  # a clock change has skipped that time of day
            start = local_days_later(end, -settings.labels.horizon_days - 1, settings)
        found.append(training_cutoffs(settings, start))
        end = start
    return tuple(found)


@dataclass(frozen=True)
class ValidationWindow:
    """The rows of one window and of the training before it, read once for all trials.

    Attributes:
        settings: Of the region.
        as_of: Start of the window.
        train: As `training.fitting.fit` takes them, likewise the next two.
        validation: Rows for early stopping and calibration, of a window that ended by `as_of`.
        refit: All training rows.
        test: Rows of the window.
        holdout: Its pairs.
        dictionary: Describes the columns of the features.
        categories: Names of the label categories.
    """

    settings: Settings
    as_of: datetime
    train: Examples
    validation: Examples
    refit: Examples
    test: Examples
    holdout: HoldoutWindow
    dictionary: FeatureDictionary
    categories: tuple[str, ...]

    @classmethod
    def read(cls, settings: Settings, cutoffs: Cutoffs) -> ValidationWindow:
        """Read the rows from Feast; memory holds the training rows nearly twice.

        Raises:
            MissingSnapshotError: A snapshot or labels are missing.
        """
        training = training_set(settings, cutoffs.refit)
        tested = training_set(settings, [cutoffs.trained_as_of])
        refit, test = training.examples, tested.examples
        return cls(
            settings=settings,
            as_of=cutoffs.trained_as_of,
            train=examples_at(refit, cutoffs.train),
            validation=examples_at(refit, (cutoffs.validation,)),
            refit=refit,
            test=test,
            holdout=HoldoutWindow.from_examples(test, refit, tested.dictionary, tested.categories.names),
            dictionary=tested.dictionary,
            categories=tested.categories.names,
        )

    def loss(self, training: TrainingSettings, progress: Progress = silent) -> float:
        """Train with these settings as `propensity train` does, and return the log loss on the window.

        Raises:
            TrainingError: The settings lead to no finite loss.
        """
        model = fit_net(
            self.settings.model_copy(update={"training": training}),
            self.train,
            self.validation,
            self.refit,
            dictionary=self.dictionary,
            categories=self.categories,
            progress=progress,
        ).model
        scorer = Scorer(model)
        scores = self.holdout.align(
            scorer.score_examples(self.test), scorer.category_index, model.unseen_category_prior
        )
        return metrics.log_loss(self.holdout.labels, scores)

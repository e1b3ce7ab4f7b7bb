"""Judging challengers: gather the figures on the validation window, let the gate rule, settle it in the catalogue.

The net before the refit is judged, since the kept one has learned from the validation window. What remains flattering
is early stopping, which chose that net's epoch there; the decision says so.
"""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

import numpy as np

from propensity.baselines import BASELINES, FitOptions
from propensity.errors import ArtifactError
from propensity.evaluation.bootstrap import log_loss_difference
from propensity.evaluation.metrics import log_loss
from propensity.evaluation.protocol import HoldoutWindow
from propensity.evaluation.unseen_nets import UnseenNet, quality_of, scores_on, unseen_net
from propensity.models.artifact import Artifact, read_artifact
from propensity.models.decisions import Decision, settle
from propensity.models.gate import POPULARITY, ChampionFigures, Difference, Ruling, WindowFigures, rule_on
from propensity.models.registry import CHALLENGER, CHAMPION, RegisteredModel, list_models, predicts_labels
from propensity.progress import Progress, silent
from propensity.training.training_set import training_set

if TYPE_CHECKING:
    from datetime import datetime

    import numpy.typing as npt

    from propensity.baselines.interface import FittedBaseline
    from propensity.settings import Settings
    from propensity.training.examples import Examples


def judge_challengers(settings: Settings, progress: Progress = silent) -> tuple[Decision, ...]:
    """Judge every challenger whose artifact is there and settle what becomes of it, oldest training first.

    Usually there is one, just trained; one more where a process was killed between training and judging. A challenger
    whose artifact is lost, or that predicts other labels than the settings say, stays a challenger and scores nothing.

    Raises:
        ArtifactError: A challenger's or the champion's artifact is damaged.
        MissingSnapshotError: Features or labels of a challenger's training are missing.

    Side effects: a transaction on the catalogue for each.
    """
    return tuple(
        _judge(settings, model, progress)
        for model in list_models(settings)
        if model.state == CHALLENGER
        and model.artifact.is_dir()
        and predicts_labels(settings, read_artifact(model.artifact))
    )


def window_figures(
    settings: Settings, challenger: Artifact, champion: RegisteredModel | None, progress: Progress = silent
) -> WindowFigures:
    """Measure a challenger, the simple baselines and the champion on the challenger's validation window. Read-only.

    Every category of the catalogue counts; one that a model doesn't know has its prior there. Memory holds the
    window's rows or, before, those of the newest cut-off that the first net learned from: the only one that the gate's
    baselines learn from.

    Args:
        challenger: An artifact with a validated net.
        champion: Whom to compare it with.

    Raises:
        ArtifactError: An artifact is damaged, or the challenger has no validated net.
        MissingSnapshotError: Features or labels of the challenger's training are missing.
    """
    window_as_of = challenger.metadata.validation_as_of
    first, own = challenger.validated_artifact, unseen_net(challenger, window_as_of)
    if first is None or own is None:
        raise ArtifactError(
            f"{challenger.directory} holds no validated net to judge. Remove it and train again: "
            "propensity run --as-of DATE"
        )
    steps = 3 + len(settings.gate.baselines)
    # Fitted before the window is read: memory never holds the rows of both.
    fitted = _baselines(settings, first.metadata.training_as_ofs[-1])
    built = training_set(settings, [window_as_of])
    rows = built.examples
    progress("judging", 1, steps)
    # A window needs training rows only for propensity-scored precision, which the gate doesn't ask for.
    nothing = rows.at(np.zeros(len(rows.as_of), bool))
    window = HoldoutWindow.from_examples(rows, nothing, built.dictionary, built.categories.names)
    scores = scores_on(window, rows, own, own_calibration=False)
    progress("judging", 2, steps)
    baselines = {}
    for number, (name, baseline) in enumerate(fitted.items()):
        baselines[name] = quality_of(window, baseline.predict(rows))
        progress("judging", min(3 + number, steps), steps)
    figures = WindowFigures(
        window_as_of=window_as_of,
        customers=window.labels.shape[0],
        categories=window.labels.shape[1],
        positives=int(window.labels.sum()),
        challenger=quality_of(window, scores),
        carried_log_loss=log_loss(window.labels, scores_on(window, rows, own, own_calibration=True)),
        baselines=baselines,
        champion=None if champion is None else _champion(settings, champion, window, rows, scores),
    )
    progress("judging", steps, steps)
    return figures


def _baselines(settings: Settings, as_of: datetime) -> dict[str, FittedBaseline]:
    """Fit popularity and the gate's baselines on the rows of an as_of; none of them learns from an earlier one."""
    built = training_set(settings, [as_of])
    options = FitOptions(horizon_days=settings.labels.horizon_days, threads=settings.threads)
    names = dict.fromkeys((POPULARITY, *settings.gate.baselines))
    return {name: BASELINES[name](options).fit(built.examples, built.dictionary) for name in names}


def _judge(settings: Settings, model: RegisteredModel, progress: Progress) -> Decision:
    artifact = read_artifact(model.artifact)
    while True:
        champion = next((found for found in list_models(settings) if found.state == CHAMPION), None)
        figures: WindowFigures | None = None
        ruling = Ruling(passed=False, checks=(), reason="its artifact holds no validated net to judge")
        if artifact.validated is not None:
            figures = window_figures(settings, artifact, champion, progress)
            ruling = rule_on(figures, settings.gate)
        compared_with = None if champion is None else champion.model_version
        decision = settle(settings, model.model_version, ruling, figures, compared_with)
        # None: somebody promoted another model meanwhile, and the comparison is with the wrong one.
        if decision is not None:
            return decision


def _champion(
    settings: Settings,
    champion: RegisteredModel,
    window: HoldoutWindow,
    rows: Examples,
    scores: npt.NDArray[np.float32],
) -> ChampionFigures:
    if not champion.artifact.is_dir():
        return ChampionFigures(champion.model_version, None, None, None, "its artifact is lost")
    artifact = read_artifact(champion.artifact)
    if not predicts_labels(settings, artifact):
        return ChampionFigures(champion.model_version, None, None, None, "it predicts other labels")
    window_as_of = rows.as_of[0].astype("datetime64[us]").item()
    net: UnseenNet | None = unseen_net(artifact, window_as_of.replace(tzinfo=UTC))
    if net is None:
        return ChampionFigures(champion.model_version, None, None, None, "champion has seen this window")
    # Both calibrations cross-fitted: else the challenger's, fitted on this very window, would have the better of it.
    theirs = scores_on(window, rows, net, own_calibration=False)
    interval = log_loss_difference(window.labels, scores, theirs, level=settings.gate.level)
    difference = Difference(interval.mean, interval.low, interval.high)
    return ChampionFigures(champion.model_version, net.net, quality_of(window, theirs), difference)

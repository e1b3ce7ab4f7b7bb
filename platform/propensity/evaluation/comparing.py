"""Two models side by side on a label window that neither has seen."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from propensity.errors import GateError, MissingSnapshotError
from propensity.evaluation.bootstrap import Interval, differences
from propensity.evaluation.protocol import HoldoutWindow
from propensity.evaluation.unseen_nets import UnseenNet, quality_of, scores_on, unseen_net
from propensity.features.labels import find_labels
from propensity.features.snapshots import find_snapshot
from propensity.models.artifact import Artifact, read_artifact
from propensity.models.registry import find_model
from propensity.progress import Progress, silent
from propensity.training.training_set import training_set
from propensity.warehouse.runs import list_runs

if TYPE_CHECKING:
    from propensity.models.gate import Quality
    from propensity.settings import Settings


@dataclass(frozen=True)
class Comparison:
    """Two models on one window.

    Attributes:
        window_as_of: Start of the label window, UTC.
        customers: Rows of the window.
        categories: Columns.
        models: The two versions.
        nets: Which net of each was compared: `kept` or `validated`.
        cross_fitted: Both calibrations were cross-fitted on the window, since one of them has seen it.
        qualities: Figures of each.
        gains: First model's figures less the second's, with paired 95 % bootstrap intervals over customers, by name;
            log loss also of repeat and of explore pairs.
    """

    window_as_of: datetime
    customers: int
    categories: int
    models: tuple[str, str]
    nets: tuple[str, str]
    cross_fitted: bool
    qualities: tuple[Quality, Quality]
    gains: dict[str, Interval]


def compare_models(
    settings: Settings, first: str, second: str, as_of: datetime | None = None, progress: Progress = silent
) -> Comparison:
    """Compare two models on the label window that starts at `as_of`. Read-only.

    Where a window began before a model's training ended, its validated net stands for it.

    Args:
        first: Model version.
        second: Model version.
        as_of: By default the newest window with features and labels that neither has seen.

    Raises:
        UnknownModelError: There is no such model.
        GateError: One of them has seen the window, or there is no window that neither has.
        MissingSnapshotError: Features or labels of the window are missing.
        ArtifactError: An artifact is lost or damaged.
    """
    versions = (first, second)
    artifacts = tuple(read_artifact(find_model(settings, version).artifact) for version in versions)
    window_as_of = _newest_unseen(settings, artifacts, versions) if as_of is None else as_of
    nets = tuple(
        _unseen(artifact, version, window_as_of) for artifact, version in zip(artifacts, versions, strict=True)
    )
    progress("comparing", 1, 4)
    built = training_set(settings, [window_as_of])
    rows = built.examples
    # A window needs training rows only for propensity-scored precision, which isn't asked for here.
    nothing = rows.at(np.zeros(len(rows.as_of), bool))
    window = HoldoutWindow.from_examples(rows, nothing, built.dictionary, built.categories.names)
    progress("comparing", 2, 4)
    own = all(net.honest_calibration for net in nets)
    mine, theirs = (scores_on(window, rows, net, own_calibration=own) for net in nets)
    progress("comparing", 3, 4)
    gains = differences(window.labels, mine, theirs)
    for segment, mask in (("repeat", window.repeat), ("explore", ~window.repeat)):
        if mask.any():
            only = differences(window.labels, mine, theirs, mask, figures=("log_loss",))
            gains[f"log_loss of {segment} pairs"] = only["log_loss"]
    progress("comparing", 4, 4)
    return Comparison(
        window_as_of=window_as_of,
        customers=window.labels.shape[0],
        categories=window.labels.shape[1],
        models=versions,
        nets=(nets[0].net, nets[1].net),
        cross_fitted=not own,
        qualities=(quality_of(window, mine), quality_of(window, theirs)),
        gains=gains,
    )


def _unseen(artifact: Artifact, version: str, window_as_of: datetime) -> UnseenNet:
    net = unseen_net(artifact, window_as_of)
    if net is None:
        raise GateError(
            f"Model {version!r} has seen the window from {window_as_of.isoformat()}: its training reaches "
            f"{artifact.metadata.training_window[1].isoformat()}. Choose a later --as-of."
        )
    return net


def _newest_unseen(settings: Settings, artifacts: tuple[Artifact, ...], versions: tuple[str, ...]) -> datetime:
    started = {run.as_of for run in list_runs(settings, kind="labels") if run.as_of is not None}
    for as_of in sorted(started, reverse=True):
        try:
            find_labels(settings, as_of)
            find_snapshot(settings, as_of)
        except MissingSnapshotError:
            continue
        if all(unseen_net(artifact, as_of) is not None for artifact in artifacts):
            return as_of
    raise GateError(
        f"There is no window with features and labels that neither {versions[0]!r} nor {versions[1]!r} has seen. "
        "Build one: propensity labels build --as-of DATE, and propensity features build --as-of DATE"
    )

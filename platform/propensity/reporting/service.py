"""Writing a model's page: evaluate where that's missing, gather what is known, render."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from propensity.baselines import BASELINES, SIMPLE
from propensity.errors import MissingSnapshotError, TrainingError
from propensity.evaluation.service import ModelEvaluation, evaluate_model, report_path
from propensity.features.labels import build_labels
from propensity.models.artifact import read_artifact
from propensity.models.decisions import list_decisions
from propensity.models.registry import RegisteredModel, find_model
from propensity.progress import Progress, silent
from propensity.reporting.charts.windows import ROLES, LabelWindow
from propensity.reporting.page import render
from propensity.reporting.sections import Known, page_of
from propensity.warehouse import complete_journey
from propensity.warehouse.regions import check_region, local_days_later
from propensity.warehouse.runs import RunRecord, list_runs

if TYPE_CHECKING:
    from propensity.models.artifact import Artifact
    from propensity.settings import Settings

IMPORTS: Final = ("import", "attributes", "items")
"""Kinds of runs that brought data."""


@dataclass(frozen=True)
class ModelPage:
    """A page that was written.

    Attributes:
        path: The HTML file.
        model: The model it is about.
        evaluation: What it shows; None where the model couldn't be judged on a held-out window yet.
        not_evaluated: Why not, in words; empty where it was.
    """

    path: Path
    model: RegisteredModel
    evaluation: ModelEvaluation | None
    not_evaluated: str = ""


def write_page(
    settings: Settings,
    model_version: str | None = None,
    as_of: datetime | None = None,
    progress: Progress = silent,
    *,
    baselines: str | Sequence[str] | None = None,
) -> ModelPage:
    """Write a model's page, evaluating the model where that hasn't been done.

    Without an as_of the model is shown on the newest window it was evaluated on, else on the window that starts at its
    training's as_of; where that hasn't ended yet, the page has no held-out figures and says so.

    Args:
        model_version: By default the champion.
        as_of: Start of a label window the model hasn't seen.
        progress: Told of each step.
        baselines: Names, or `all` or `simple`; by default those of the report that is there, else the simple ones.

    Raises:
        UnknownRegionError: The region was never imported.
        UnknownModelError: There is no such model.
        ArtifactError: Its artifact is lost or damaged.
        MissingSnapshotError: The window of `as_of` hasn't ended, or its features are missing.
        TrainingError: The model has seen it.
        PropensityError: See `evaluate_model`.

    Side effects: builds the window's labels, where they are missing; those of `evaluate_model`; writes
    `home/reports/<region>/<version>-on-<day>.html`, or `<version>.html` without a window, by one rename.
    """
    check_region(settings)
    model = find_model(settings, model_version)
    artifact = read_artifact(model.artifact)
    window_as_of = as_of or _newest_evaluated(settings, model) or model.trained_as_of
    report = report_path(settings, model.model_version, window_as_of)
    evaluation, reason = None, ""
    try:
        _check_unseen(settings, model, window_as_of)
        build_labels(settings, [window_as_of], progress)
        names = baselines if baselines is not None else _reported_baselines(report)
        evaluation = evaluate_model(settings, window_as_of, model.model_version, progress, baselines=names)
    except MissingSnapshotError as error:
        if as_of is not None:
            raise
        reason = str(error)
    path = report.with_suffix(".html") if evaluation is not None else report.with_name(f"{model.model_version}.html")
    known = Known(
        model=model,
        metadata=artifact.metadata,
        decisions=list_decisions(settings, model.model_version),
        evaluation=evaluation,
        label_windows=_label_windows(settings, artifact, None if evaluation is None else window_as_of),
        imports=_imports(settings),
        notes=_notes(settings, reason),
        zone=settings.zone,
        report="" if evaluation is None else report.with_suffix(".json").name,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    part.write_text(render(page_of(known)), encoding="utf-8")
    part.replace(path)
    return ModelPage(path, model, evaluation, reason)


def _check_unseen(settings: Settings, model: RegisteredModel, as_of: datetime) -> None:
    # Before anything is built for a window that can't be evaluated.
    if as_of < model.trained_as_of:
        day = model.trained_as_of.astimezone(settings.zone).date()
        raise TrainingError(
            f"Model {model.model_version!r} was trained as of {day}: it has seen the window from "
            f"{as_of.astimezone(settings.zone).date()}. Choose --as-of {day} or later."
        )


def _newest_evaluated(settings: Settings, model: RegisteredModel) -> datetime | None:
    started = {run.as_of for run in list_runs(settings, kind="labels") if run.as_of is not None}
    evaluated = [
        as_of
        for as_of in started
        if as_of >= model.trained_as_of
        and report_path(settings, model.model_version, as_of).with_suffix(".json").is_file()
    ]
    return max(evaluated, default=None)


def _reported_baselines(report: Path) -> Sequence[str]:
    """Return the baselines of the report at `report`, so that a page of it fits none anew; else the simple ones."""
    try:
        reported = json.loads(report.with_suffix(".json").read_text())["fit_seconds"]
    except (OSError, ValueError, KeyError):
        return SIMPLE
    # One that this version doesn't have any more can't be compared with.
    return tuple(name for name in reported if name in BASELINES) or SIMPLE


def _label_windows(settings: Settings, artifact: Artifact, held_out: datetime | None) -> list[LabelWindow]:
    metadata = artifact.metadata
    role_of = dict.fromkeys(metadata.training_as_ofs, ROLES[0]) | {metadata.validation_as_of: ROLES[1]}
    if held_out is not None:
        role_of[held_out] = ROLES[2]
    return [
        LabelWindow(
            as_of.astimezone(settings.zone),
            local_days_later(as_of, metadata.horizon_days, settings).astimezone(settings.zone),
            role,
        )
        for as_of, role in role_of.items()
    ]


def _imports(settings: Settings) -> list[RunRecord]:
    return [run for run in list_runs(settings) if run.kind in IMPORTS and run.state == "finished" and run.rows]


def _notes(settings: Settings, reason: str) -> list[str]:
    notes = []
    if any(run.detail.get("source") == complete_journey.SOURCE for run in list_runs(settings, kind="import")):
        notes.append(complete_journey.NOTE)
    if reason:
        notes.append(f"Not judged on a held-out window yet: {reason} The gate's figures are of the validation window.")
    return notes

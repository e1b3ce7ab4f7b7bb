"""Evaluating a model on a held-out label window beside the baselines."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from propensity.errors import TrainingError
from propensity.evaluation.baselines import BASELINES
from propensity.evaluation.evaluation import Evaluation
from propensity.evaluation.protocol import HoldoutWindow
from propensity.evaluation.report import to_json, to_markdown
from propensity.models.artifact import read_artifact
from propensity.models.registry import RegisteredModel, add_metrics, find_model, model_for
from propensity.progress import Progress, silent
from propensity.scoring.scorer import Scorer
from propensity.training.training_set import training_set

if TYPE_CHECKING:
    from propensity.settings import Settings


@dataclass(frozen=True)
class ModelEvaluation:
    """A model's figures on a window, beside the baselines'.

    Attributes:
        model: The model.
        as_of: Start of the held-out label window.
        evaluations: Figures by name, the model's under "net".
        check: The window's own figures, see `HoldoutWindow.describe`.
        report: Markdown file with the table; a `.json` beside it holds every figure.
    """

    model: RegisteredModel
    as_of: datetime
    evaluations: dict[str, Evaluation]
    check: dict[str, float]
    report: Path


def evaluate_model(
    settings: Settings, as_of: datetime, model_version: str | None = None, progress: Progress = silent
) -> ModelEvaluation:
    """Evaluate a model and the baselines on the label window that starts at `as_of`.

    The baselines are fitted on the model's own training as_ofs. Every category of the catalogue is in the
    evaluation; one a model doesn't know has its prior.

    Args:
        model_version: By default `registry.model_for(settings, as_of)`.

    Raises:
        MissingSnapshotError: Features or labels of the window, or of the model's training, are missing.
        TrainingError: The model was trained on label windows that end after `as_of`: the figures would be flattered.

    Side effects: writes the report below `home/reports`; stores the figures with the model in the catalogue.
    """
    model = model_for(settings, as_of) if model_version is None else find_model(settings, model_version)
    if model.trained_as_of > as_of:
        raise TrainingError(
            f"Model {model.model_version!r} was trained as of {model.trained_as_of.isoformat()}, after {as_of.isoformat()}: "
            "it has seen that window. Choose a later --as-of or an earlier model.")
    artifact = read_artifact(model.artifact)
    steps = 2 + len(BASELINES)
    built = training_set(settings, [*artifact.metadata.training_as_ofs, as_of])
    progress("evaluation", 1, steps)
    is_test = built.examples.as_of == np.datetime64(as_of.replace(tzinfo=None), "us")
    test, training = built.examples.at(is_test), built.examples.at(~is_test)
    window = HoldoutWindow.from_examples(test, training, built.dictionary, built.categories.names)
    scorer = Scorer(artifact.model)
    scores = window.align(
        scorer.score_examples(test), scorer.category_index, artifact.model.unseen_category_prior)
    evaluations = {"net": window.evaluate(scores)}
    progress("evaluation", 2, steps)
    for number, (name, baseline) in enumerate(BASELINES.items()):
        evaluations[name] = window.evaluate(baseline().fit(training, built.dictionary).predict(test))
        progress("evaluation", 3 + number, steps)
    day = as_of.astimezone(settings.zone).date()
    report = settings.home / "reports" / settings.region / f"{model.model_version}-on-{day}.md"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(
        f"# Model {model.model_version}, region {settings.region}, label window from {day}\n\n"
        f"{len(test):,} customers, {len(built.categories)} categories.\n\n{to_markdown(evaluations)}\n")
    report.with_suffix(".json").write_text(to_json(evaluations))
    add_metrics(settings, model.model_version, f"holdout {day}", {
        name: evaluation.to_dict() for name, evaluation in evaluations.items()})
    return ModelEvaluation(model, as_of, evaluations, window.describe(), report)

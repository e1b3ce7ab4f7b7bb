"""Evaluating a model on a held-out label window beside the baselines."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from propensity.errors import TrainingError
from propensity.evaluation.baselines import BASELINES
from propensity.evaluation.bootstrap import Interval, log_loss_difference
from propensity.evaluation.evaluation import Evaluation
from propensity.evaluation.protocol import HoldoutWindow
from propensity.evaluation.report import to_markdown
from propensity.features.labels import find_labels
from propensity.features.snapshots import find_snapshot
from propensity.models.artifact import Artifact, read_artifact
from propensity.models.registry import RegisteredModel, add_metrics, find_model, model_for
from propensity.progress import Progress, silent
from propensity.scoring.scorer import Scorer
from propensity.training.training_set import training_set
from propensity.warehouse.runs import fingerprint

if TYPE_CHECKING:
    from propensity.settings import Settings

NET = "net"


@dataclass(frozen=True)
class ModelEvaluation:
    """A model's figures on a window, beside the baselines'.

    Attributes:
        model: The model.
        as_of: Start of the held-out label window.
        evaluations: Figures by name, the model's under "net".
        check: The window's own figures, see `HoldoutWindow.describe`.
        rival: The baseline with the lowest log loss.
        gain: The model's log loss less the rival's, with its paired 95 % bootstrap interval over customers.
        report: Markdown file with the table; a `.json` beside it holds every figure.
    """

    model: RegisteredModel
    as_of: datetime
    evaluations: dict[str, Evaluation]
    check: dict[str, float]
    rival: str
    gain: Interval
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

    Side effects: writes the report below `home/reports`; stores the figures with the model in the catalogue. The same
    model on the same window again reads the report.
    """
    model = model_for(settings, as_of) if model_version is None else find_model(settings, model_version)
    if model.trained_as_of > as_of:
        raise TrainingError(
            f"Model {model.model_version!r} was trained as of {model.trained_as_of.isoformat()}, after "
            f"{as_of.isoformat()}: it has seen that window. Choose a later --as-of or an earlier model."
        )
    artifact = read_artifact(model.artifact)
    day = as_of.astimezone(settings.zone).date()
    report = settings.home / "reports" / settings.region / f"{model.model_version}-on-{day}.md"
    inputs = fingerprint(
        artifact.sha256,
        find_snapshot(settings, as_of).run_id,
        find_labels(settings, as_of).contents,
        sorted(BASELINES),
    )
    known = _read(report.with_suffix(".json"), inputs, model, as_of)
    if known is not None:
        return known
    result = _evaluate(settings, model, artifact, as_of, report, progress)
    _write(result, inputs, f"Model {model.model_version}, region {settings.region}, label window from {day}")
    add_metrics(
        settings,
        model.model_version,
        f"holdout {day}",
        {name: evaluation.to_dict() for name, evaluation in result.evaluations.items()},
    )
    return result


def _evaluate(
    settings: Settings, model: RegisteredModel, artifact: Artifact, as_of: datetime, report: Path, progress: Progress
) -> ModelEvaluation:
    steps = 2 + len(BASELINES)
    built = training_set(settings, [*artifact.metadata.training_as_ofs, as_of])
    progress("evaluation", 1, steps)
    is_test = built.examples.as_of == np.datetime64(as_of.replace(tzinfo=None), "us")
    test, training = built.examples.at(is_test), built.examples.at(~is_test)
    window = HoldoutWindow.from_examples(test, training, built.dictionary, built.categories.names)
    scorer = Scorer(artifact.model)
    scores = {
        NET: window.align(scorer.score_examples(test), scorer.category_index, artifact.model.unseen_category_prior)
    }
    progress("evaluation", 2, steps)
    for number, (name, baseline) in enumerate(BASELINES.items()):
        scores[name] = baseline().fit(training, built.dictionary).predict(test)
        progress("evaluation", 3 + number, steps)
    evaluations = {name: window.evaluate(probabilities) for name, probabilities in scores.items()}
    rival = min(BASELINES, key=lambda name: evaluations[name].all.log_loss)
    gain = log_loss_difference(window.labels, scores[NET], scores[rival])
    return ModelEvaluation(model, as_of, evaluations, window.describe(), rival, gain, report)


def _write(result: ModelEvaluation, inputs: str, title: str) -> None:
    result.report.parent.mkdir(parents=True, exist_ok=True)
    result.report.write_text(
        f"# {title}\n\n{result.check['households']:,} customers, {result.check['categories']} categories.\n\n"
        f"{to_markdown(result.evaluations)}\nLog loss of the net less that of {result.rival}: {result.gain.mean:.4f}, "
        f"paired 95 % interval {result.gain.low:.4f} to {result.gain.high:.4f}.\n"
    )
    figures = {
        "inputs": inputs,
        "check": result.check,
        "rival": result.rival,
        "gain": asdict(result.gain),
        "evaluations": {name: evaluation.to_dict() for name, evaluation in result.evaluations.items()},
    }
    # The figures last: they are what says that the report is finished.
    result.report.with_suffix(".json").write_text(json.dumps(figures, indent=2) + "\n")


def _read(path: Path, inputs: str, model: RegisteredModel, as_of: datetime) -> ModelEvaluation | None:
    """Return the evaluation at `path` if it is whole and of the same inputs."""
    try:
        figures = json.loads(path.read_text())
        if figures["inputs"] != inputs:
            return None
    except (OSError, ValueError, KeyError):
        return None
    evaluations = {name: Evaluation.from_dict(values) for name, values in figures["evaluations"].items()}
    return ModelEvaluation(
        model,
        as_of,
        evaluations,
        figures["check"],
        figures["rival"],
        Interval(**figures["gain"]),
        path.with_suffix(".md"),
    )

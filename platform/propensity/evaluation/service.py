"""Evaluating a model on a held-out label window beside the baselines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from propensity.baselines import SIMPLE, FitOptions, chosen
from propensity.errors import TrainingError
from propensity.evaluation.bootstrap import Interval
from propensity.evaluation.by_event import evaluate_by_event
from propensity.evaluation.evaluation import Evaluation
from propensity.evaluation.evidence import Evidence, evidence_of
from propensity.evaluation.kept_baselines import inputs_of, predict_or_recall
from propensity.evaluation.measuring import measure
from propensity.evaluation.protocol import HoldoutWindow
from propensity.evaluation.report import to_markdown
from propensity.evaluation.slices import attribute_groups
from propensity.features.labels import count_labels, find_labels
from propensity.features.snapshots import find_snapshot
from propensity.models.artifact import Artifact, read_artifact
from propensity.models.registry import RegisteredModel, add_metrics, find_model, model_for, predicts_labels
from propensity.progress import Progress, silent
from propensity.scoring.scorer import Scorer
from propensity.simulation.truth import oracle_at_least, truth_id
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
        fit_seconds: How long each baseline took to fit and calibrate.
        evidence: The model's curves, differences from each baseline, and slices of customers.
        report: Markdown file with the table; a `.json` beside it holds every figure.
        oracle: Figures of the true propensities, where those of a simulated window are stored: no model can beat them.
        by_event: Figures of each event type beyond the first, see `evaluate_by_event`; empty for two classes.
    """

    model: RegisteredModel
    as_of: datetime
    evaluations: dict[str, Evaluation]
    check: dict[str, float]
    rival: str
    gain: Interval
    fit_seconds: dict[str, float]
    evidence: Evidence
    report: Path
    oracle: Evaluation | None = None
    by_event: dict[str, dict[str, Evaluation]] = field(default_factory=dict)


def evaluate_model(
    settings: Settings,
    as_of: datetime,
    model_version: str | None = None,
    progress: Progress = silent,
    *,
    baselines: str | Sequence[str] = SIMPLE,
) -> ModelEvaluation:
    """Evaluate a model and baselines on the label window that starts at `as_of`.

    The baselines are fitted on the model's own training as_ofs. Every category of the catalogue is in the
    evaluation; one a model doesn't know has its prior. Memory holds the window's rows and those of the newest training
    as_of, or, with a baseline that isn't a simple one, of all.

    Args:
        model_version: By default `registry.model_for(settings, as_of)`.
        progress: Told of each step.
        baselines: Names, or `all` or `simple`; see `baselines.chosen`.

    Raises:
        MissingSnapshotError: Features or labels of the window, or of the model's training, are missing.
        TrainingError: The model was trained on label windows that end after `as_of`: the figures would be flattered.
            Or it predicts other labels than the settings name.
        LookupFailedError: There is no baseline of a name.
        RuntimeMissingError: A baseline needs a package that isn't installed.

    Side effects: writes the report below `home/reports`, and the baselines' predictions beside it; stores the figures
    with the model in the catalogue. The same again reads the report; other baselines fit only those that are new.
    """
    names = chosen(baselines)
    model = model_for(settings, as_of) if model_version is None else find_model(settings, model_version)
    if model.trained_as_of > as_of:
        raise TrainingError(
            f"Model {model.model_version!r} was trained as of {model.trained_as_of.isoformat()}, after "
            f"{as_of.isoformat()}: it has seen that window. Choose a later --as-of or an earlier model."
        )
    artifact = read_artifact(model.artifact)
    _check_labels(settings, artifact)
    day = as_of.astimezone(settings.zone).date()
    report = report_path(settings, model.model_version, as_of)
    options = FitOptions(horizon_days=artifact.metadata.horizon_days, threads=settings.threads)
    baseline_inputs = inputs_of(settings, artifact.metadata.training_as_ofs, as_of, options)
    truth = truth_id(settings, as_of)
    inputs = fingerprint(
        artifact.sha256,
        find_snapshot(settings, as_of).run_id,
        find_labels(settings, as_of).contents,
        baseline_inputs,
        names,
        *(() if truth is None else (truth,)),
    )
    known = _read(report.with_suffix(".json"), inputs, model, as_of)
    if known is not None:
        return known
    comparison = _Comparison(names, options, baseline_inputs, report)
    result = _evaluate(settings, model, artifact, as_of, comparison, progress)
    _write(result, inputs, f"Model {model.model_version}, region {settings.region}, label window from {day}")
    add_metrics(
        settings,
        model.model_version,
        f"holdout {day}",
        {name: evaluation.to_dict() for name, evaluation in result.evaluations.items()},
    )
    return result


def _check_labels(settings: Settings, artifact: Artifact) -> None:
    if not predicts_labels(settings, artifact):
        theirs, ours = artifact.metadata, settings.labels
        raise TrainingError(
            f"Model {theirs.model_version!r} predicts {' or '.join(theirs.event_types)} within {theirs.horizon_days} "
            f"days, but labels are {' or '.join(ours.event_types)} within {ours.horizon_days}. Set labels.event_types "
            "and labels.horizon_days as they were for that model, or train one for these: propensity train --help"
        )


def report_path(settings: Settings, model_version: str, as_of: datetime) -> Path:
    """Return where the report of a model on the window from `as_of` lies, or will: a Markdown file, JSON beside it."""
    day = as_of.astimezone(settings.zone).date()
    return settings.home / "reports" / settings.region / f"{model_version}-on-{day}.md"


@dataclass(frozen=True)
class _Comparison:
    """What to compare with, and where to.

    Attributes:
        names: Of the baselines.
        options: They are fitted with.
        inputs: Names what they are made of.
        report: Path of the Markdown file.
    """

    names: tuple[str, ...]
    options: FitOptions
    inputs: str
    report: Path


def _evaluate(
    settings: Settings,
    model: RegisteredModel,
    artifact: Artifact,
    as_of: datetime,
    comparison: _Comparison,
    progress: Progress,
) -> ModelEvaluation:
    steps = 3 + len(comparison.names)
    as_ofs = artifact.metadata.training_as_ofs
    # The simple baselines learn from the newest cut-off alone: rows of the others would only fill the memory.
    learned_from = as_ofs[-1:] if set(comparison.names) <= set(SIMPLE) else as_ofs
    # Apart, since taking the rows of several as_ofs from one set would copy them.
    training, built = training_set(settings, learned_from).examples, training_set(settings, [as_of])
    test = built.examples
    progress("evaluation", 1, steps)
    labels = count_labels(settings, as_ofs)
    window = HoldoutWindow.of_rows(test, (labels.at_least[0], labels.rows), built.dictionary, built.categories.names)
    scorer = Scorer(artifact.model, threads=settings.threads)
    reached = scorer.examples_at_least(test)
    unseen = artifact.model.unseen_category_prior
    scores = {NET: window.align(reached[:, 0], scorer.category_index, unseen)}
    progress("evaluation", 2, steps)
    seconds = {}
    for number, name in enumerate(comparison.names):
        found = predict_or_recall(
            comparison.report.parent / "baselines",
            name,
            comparison.inputs,
            training=training,
            test=test,
            dictionary=built.dictionary,
            options=comparison.options,
        )
        scores[name], seconds[name] = found.probabilities, found.fit_seconds
        progress("evaluation", 3 + number, steps)
    measured = {name: measure(window, probabilities) for name, probabilities in scores.items()}
    evaluations = {name: each.evaluation for name, each in measured.items()}
    rival = min(comparison.names, key=lambda name: evaluations[name].all.log_loss)
    rivals = {name: scores[name] for name in comparison.names}
    bounds = {name: each.bounds for name, each in measured.items()}
    evidence = evidence_of(window, scores[NET], rivals, attribute_groups(test, built.dictionary), bounds)
    gain = evidence.differences[rival]["log_loss"]
    known = truth_id(settings, as_of) is not None
    truth = oracle_at_least(settings, as_of, window.customer_id) if known else None
    best = None if truth is None else measure(window, truth[:, 0]).evaluation
    by_event = evaluate_by_event(
        test,
        labels,
        built.dictionary,
        built.categories.names,
        event_types=artifact.metadata.event_types,
        reached=reached,
        category_index=scorer.category_index,
        prior=unseen,
        truth=truth,
    )
    progress("evaluation", steps, steps)
    return ModelEvaluation(
        model, as_of, evaluations, window.describe(), rival, gain, seconds, evidence, comparison.report, best, by_event
    )


def _write(result: ModelEvaluation, inputs: str, title: str) -> None:
    result.report.parent.mkdir(parents=True, exist_ok=True)
    best = {} if result.oracle is None else {"oracle": result.oracle}
    result.report.write_text(
        f"# {title}\n\n{result.check['households']:,} customers, {result.check['categories']} categories.\n\n"
        f"{to_markdown(result.evaluations | best)}\n"
        f"Log loss of the net less that of {result.rival}: {result.gain.mean:.4f}, "
        f"paired 95 % interval {result.gain.low:.4f} to {result.gain.high:.4f}.\n\nSeconds to fit and calibrate: "
        f"{', '.join(f'{name} {seconds:.1f}' for name, seconds in result.fit_seconds.items())}.\n"
        + "".join(
            f"\n## {event_type}\n\nThis event or one of more commitment.\n\n{to_markdown(evaluations)}"
            for event_type, evaluations in result.by_event.items()
        )
    )
    figures = {
        "inputs": inputs,
        "check": result.check,
        "rival": result.rival,
        "gain": asdict(result.gain),
        "fit_seconds": result.fit_seconds,
        "evaluations": {name: evaluation.to_dict() for name, evaluation in result.evaluations.items()},
        "evidence": result.evidence.to_dict(),
        "oracle": None if result.oracle is None else result.oracle.to_dict(),
    }
    if result.by_event:
        figures["by_event"] = {
            event_type: {name: evaluation.to_dict() for name, evaluation in evaluations.items()}
            for event_type, evaluations in result.by_event.items()
        }
    # The figures last: they are what says that the report is finished.
    result.report.with_suffix(".json").write_text(json.dumps(figures, indent=2) + "\n")


def _read(path: Path, inputs: str, model: RegisteredModel, as_of: datetime) -> ModelEvaluation | None:
    """Return the evaluation at `path` if it is whole and of the same inputs."""
    try:
        figures = json.loads(path.read_text())
        if figures["inputs"] != inputs:
            return None
        evidence = Evidence.from_dict(figures["evidence"])  # which reports of earlier versions don't have
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
        figures["fit_seconds"],
        evidence,
        path.with_suffix(".md"),
        None if figures.get("oracle") is None else Evaluation.from_dict(figures["oracle"]),
        {
            event_type: {name: Evaluation.from_dict(values) for name, values in written.items()}
            for event_type, written in figures.get("by_event", {}).items()
        },
    )

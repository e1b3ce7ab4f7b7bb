"""The sections of a model's page, from what is known of the model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from propensity.evaluation.measuring import RANKED_DRAWS
from propensity.models.card import intended_use, limits
from propensity.reporting import tables
from propensity.reporting.charts.categories import categories
from propensity.reporting.charts.differences import differences
from propensity.reporting.charts.fairness import fairness
from propensity.reporting.charts.gains import gains, lift
from propensity.reporting.charts.reliability import reliability
from propensity.reporting.charts.scores import score_distribution
from propensity.reporting.charts.training import training
from propensity.reporting.charts.windows import LabelWindow, windows
from propensity.reporting.elements import Column, Figure, Table, count, in_words, word
from propensity.reporting.page import Page, Part, Section, Tile

if TYPE_CHECKING:
    from propensity.evaluation.service import ModelEvaluation
    from propensity.models.decisions import Decision
    from propensity.models.metadata import ArtifactMetadata
    from propensity.models.registry import RegisteredModel
    from propensity.warehouse.runs import RunRecord

NET: Final = "net"
TILES: Final = (
    ("log loss", "all", "log_loss"),
    ("micro AUC", "all", "micro_auc"),
    ("macro AUC", "all", "macro_auc"),
    ("explore AUC", "explore", "micro_auc"),
    ("NDCG@10", "all", "ndcg_at_10"),
    ("ECE", "all", "ece"),
)


@dataclass(frozen=True)
class Known:
    """Everything a page says.

    Attributes:
        model: In the registry.
        metadata: Its artifact's.
        decisions: On it, oldest first.
        evaluation: On a held-out window; None where there is none yet.
        label_windows: The model's, and the held-out one.
        imports: Of events, attributes and items, oldest first.
        notes: What must be said wherever figures are shown.
        zone: The region's time zone.
        report: Where the figures lie, relative to the page; empty without an evaluation.
    """

    model: RegisteredModel
    metadata: ArtifactMetadata
    decisions: Sequence[Decision]
    evaluation: ModelEvaluation | None
    label_windows: list[LabelWindow]
    imports: Sequence[RunRecord]
    notes: list[str]
    zone: ZoneInfo
    report: str = ""


def page_of(known: Known) -> Page:
    """Return the page of a model."""
    metadata, evaluation = known.metadata, known.evaluation
    sections = []
    if evaluation is not None:
        sections += [
            _comparison(evaluation, known.report),
            Section("reliability-section", "Reliability", [_figure(reliability(evaluation.evidence.diagnostics))]),
            _ranking(evaluation),
            Section("categories-section", "Categories", [_figure(categories(evaluation.evidence.diagnostics))]),
            Section("scores-section", "Propensities", [_figure(score_distribution(evaluation.evidence.diagnostics))]),
            _fairness(evaluation),
        ]
    sections += [_training(metadata), _data(known), _gate(known), _card(known)]
    judged = ""
    if evaluation is not None:
        judged = f", judged on the {metadata.horizon_days} days from {_day(evaluation.as_of, known.zone)}"
    return Page(
        title=f"Model {metadata.model_version}, region {metadata.region}",
        state=known.model.state,
        summary=(
            f"How likely each customer is to act in each of {len(metadata.categories)} categories within "
            f"{metadata.horizon_days} days. Trained as of {_day(known.model.trained_as_of, known.zone)}{judged}."
        ),
        notes=known.notes,
        tiles=[] if evaluation is None else _tiles(evaluation),
        sections=sections,
    )


def _tiles(evaluation: ModelEvaluation) -> list[Tile]:
    mine, rival = evaluation.evaluations[NET], evaluation.evaluations[evaluation.rival]
    return [
        Tile(
            title,
            f"{getattr(getattr(mine, segment), figure):.4f}",
            f"{in_words(evaluation.rival)} {getattr(getattr(rival, segment), figure):.4f}",
        )
        for title, segment, figure in TILES
    ]


def _comparison(evaluation: ModelEvaluation, report: str) -> Section:
    gain = evaluation.gain
    decides = "excludes" if gain.high < 0 or gain.low > 0 else "holds"
    caption = (
        "The model's figure less the baseline's; the bar is the paired 95 % bootstrap interval: customers are drawn "
        f"with replacement and bring all their pairs, 1,000 times ({RANKED_DRAWS} times for the AUCs). An interval "
        "that holds zero decides nothing."
    )
    bounds = evaluation.evidence.bounds.get(NET, {}).get("all", {})
    binned = [Part("paragraph", _in_bins(bounds))] if bounds else []
    parts = [
        Part(
            "paragraph",
            f"The best baseline by log loss is {in_words(evaluation.rival)}. The model's log loss less its: "
            f"{gain.mean:+.4f} nats a pair, paired 95 % interval {gain.low:+.4f} to {gain.high:+.4f}, which {decides} "
            "zero. Baselines are fitted on the model's own training windows and calibrated.",
        ),
        Part("table", tables.headline(evaluation.evaluations, evaluation.evidence.differences, evaluation.fit_seconds)),
        *binned,
        _figure(differences(evaluation.evidence.differences, caption)),
        Part("head", "Every figure"),
        Part(
            "paragraph",
            "Repeat pairs: the customer bought the category in the 365 days before. Explore pairs: not."
            + (f" The same as JSON: `{report}`." if report else ""),
        ),
        Part("table", tables.segments(evaluation.evaluations[NET])),
    ]
    return Section("comparison", "Against the baselines", parts)


def _in_bins(bounds: dict[str, float]) -> str:
    stated = ", ".join(f"{in_words(name)} {bound:.2g}" for name, bound in bounds.items() if math.isfinite(bound))
    return (
        "The window is too large to rank all pairs exactly: figures that need it come from bins. Bounds on the errors "
        f"of the model's, over all pairs: {stated}. The AUCs have no bootstrap interval."
    )


def _ranking(evaluation: ModelEvaluation) -> Section:
    diagnostics = evaluation.evidence.diagnostics
    parts = [
        _figure(gains(diagnostics)),
        _figure(lift(diagnostics)),
        Part("head", "A customer's best categories"),
        Part("table", tables.top_lists(diagnostics)),
    ]
    return Section("ranking", "Gains, lift and top lists", parts)


def _fairness(evaluation: ModelEvaluation) -> Section:
    slices = evaluation.evidence.slices
    if not slices:
        said = (
            "No attribute of the customers is known, so there are no groups to compare. Import some: "
            "`propensity import customers`."
        )
        return Section("fairness-section", "Fairness", [Part("paragraph", said)])
    said = (
        "Is the model as honest for every group of customers? Groups are the attributes that were known at the "
        "window's start. They are also among the model's inputs."
    )
    return Section("fairness-section", "Fairness", [Part("paragraph", said), _figure(fairness(slices))])


def _training(metadata: ArtifactMetadata) -> Section:
    validation = metadata.metrics.get("validation", {})
    parts = []
    if isinstance(validation, dict) and "log_loss" in validation:
        said = (
            f"Best epoch {validation.get('best_epoch', '–')}; log loss on the validation window after calibration "
            f"{validation['log_loss']:.5f}."
        )
        parts.append(Part("paragraph", said))
    parts.append(
        _figure(training(metadata.history)) if metadata.history else Part("paragraph", "No epoch is recorded.")
    )
    return Section("training-section", "Training", parts)


def _data(known: Known) -> Section:
    parts = [_figure(windows(known.label_windows))]
    if known.evaluation is not None:
        parts.append(Part("table", tables.window_check(known.evaluation.check)))
    if known.imports:
        columns = (
            Column("source", numeric=False),
            Column("kind", numeric=False),
            Column("rows"),
            Column("first event", numeric=False),
            Column("last event", numeric=False),
        )
        rows = [
            [
                word(str(run.detail.get("source", run.run_id))),
                word("events" if run.kind == "import" else run.kind),
                count(run.rows),
                *(word(str(run.detail.get(f"{end}_event_timestamp", "–"))[:10]) for end in ("first", "last")),
            ]
            for run in known.imports
        ]
        parts.append(Part("table", Table("imports-table", "What the region's data come from", columns, rows)))
    return Section("data", "Data", parts)


def _gate(known: Known) -> Section:
    parts: list[Part] = []
    for number, decision in enumerate(reversed(known.decisions)):
        instead = "" if decision.previous_champion is None else f" Champion until then: {decision.previous_champion}."
        said = f"{decision.verdict}: {decision.reason}."
        parts.append(Part("head", f"{decision.decided_timestamp:%Y-%m-%d %H:%M:%SZ}: {decision.verdict}"))
        parts.append(Part("paragraph", f"{said.replace('..', '.')}{instead}"))
        if decision.figures.get("window"):
            parts.append(Part("table", tables.gate_figures(number, decision.figures["window"])))
        if decision.figures.get("checks"):
            parts.append(Part("table", tables.gate_checks(number, decision.figures["checks"])))
        if decision.figures.get("caveat"):
            parts.append(Part("paragraph", str(decision.figures["caveat"])))
    if not parts:
        parts.append(Part("paragraph", "No decision on this model is stored: it hasn't been judged yet."))
    return Section("gate", "Gate", parts)


def _card(known: Known) -> Section:
    metadata = known.metadata
    described = metadata.model_dump(mode="json")
    first, last = (_day(instant, known.zone) for instant in metadata.training_window)
    facts = [
        ("network", metadata.network),
        ("classes", " < ".join(("none", *metadata.event_types))),
        ("horizon", f"{metadata.horizon_days} days"),
        ("categories", f"{len(metadata.categories):,}"),
        ("training window", f"{first} to {last}, {len(metadata.training_as_ofs)} cut-offs"),
        ("early stopping and calibration on", f"window from {_day(metadata.validation_as_of, known.zone)}"),
        ("data fingerprint", metadata.data_fingerprint),
        ("category-aligned signals", ", ".join(metadata.aligned_signals) or "none"),
        ("libraries", ", ".join(f"{name} {version}" for name, version in metadata.libraries.items())),
        ("registered", f"{known.model.created_timestamp:%Y-%m-%d %H:%M:%SZ}"),
    ]
    settings = [(name, str(value)) for name, value in metadata.settings.items()]
    parts = [
        Part("head", "Intended use"),
        Part("list", intended_use(described)),
        Part("head", "Limits"),
        Part("list", limits(described)),
        Part("head", "What it is"),
        Part("table", tables.facts("card-table", "The model", facts)),
        Part("table", tables.facts("settings-table", "Settings it was trained with", settings)),
    ]
    return Section("card", "Model card", parts)


def _figure(figure: Figure) -> Part:
    return Part("figure", figure)


def _day(instant: datetime, zone: ZoneInfo) -> str:
    return f"{instant.astimezone(zone):%Y-%m-%d}"

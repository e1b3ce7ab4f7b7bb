"""The gate's rules: may a challenger score? Pure: figures in, a ruling with every number behind it out.

`evaluation/judging.py` gathers the figures, `models/decisions.py` stores the ruling and acts on it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from propensity.settings import GateSettings

POPULARITY: Final = "global_popularity"
"""The baseline whose log loss `gate.max_log_loss_ratio` is about."""
CARRIED_AT_MOST: Final = 1.01
"""The calibration a net carries was fitted on the window, so its log loss there is below the cross-fitted one, but for
rows left out of a large fit. Where it's above, the artifact doesn't hold what was trained."""
CAVEAT: Final = (
    "Judged is the net before the refit. Its calibration is cross-fitted over two halves of the customers; its epoch "
    "was chosen by early stopping on this window, so the challenger's figures are slightly flattered."
)
"""Stored with every decision of the gate."""


@dataclass(frozen=True)
class Quality:
    """One model's figures on the window; NaN where one isn't defined on it.

    Attributes:
        log_loss: In nats per pair.
        ece: Expected calibration error, 15 bins of equal width.
        micro_auc: ROC AUC over all pairs pooled.
        macro_auc: Mean ROC AUC of the categories with enough positives.
    """

    log_loss: float
    ece: float
    micro_auc: float
    macro_auc: float


@dataclass(frozen=True)
class Difference:
    """Challenger's log loss less the champion's, with its paired bootstrap interval; below zero it's better."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class ChampionFigures:
    """The champion on the challenger's window.

    Attributes:
        model_version: The champion.
        net: Which of its nets had not seen the window; None when neither.
        quality: That net's figures, None when there is no such net.
        difference: None with it.
        not_compared: Why there is no comparison, in words; empty when there is one.
    """

    model_version: str
    net: Literal["kept", "validated"] | None
    quality: Quality | None
    difference: Difference | None
    not_compared: str = ""


@dataclass(frozen=True)
class WindowFigures:
    """Everything the gate looks at.

    Attributes:
        window_as_of: Start of the label window, UTC.
        customers: Rows of the window.
        categories: Columns.
        positives: Pairs with a positive label.
        challenger: The first net's figures, its calibration cross-fitted.
        carried_log_loss: Its log loss with the calibration that it carries, which was fitted on this window.
        baselines: Figures of the simple baselines by name, fitted on that net's training cut-offs.
        champion: None when the region has none.
    """

    window_as_of: datetime
    customers: int
    categories: int
    positives: int
    challenger: Quality
    carried_log_loss: float
    baselines: dict[str, Quality]
    champion: ChampionFigures | None

    def to_json(self) -> dict[str, Any]:
        """Return nested dicts ready for JSON: NaN is null, the instant ISO text."""
        described = asdict(self) | {"window_as_of": self.window_as_of.isoformat()}
        nested: dict[str, Any] = _without_nan(described)
        return nested


@dataclass(frozen=True)
class Check:
    """One rule applied.

    Attributes:
        rule: Its name, e.g. `min_micro_auc`.
        value: The challenger's figure; None where it isn't defined.
        bound: What it's held against; None where that isn't defined.
        passed: The rule holds, or can't be applied.
        says: The same in words.
    """

    rule: str
    value: float | None
    bound: float | None
    passed: bool
    says: str


@dataclass(frozen=True)
class Ruling:
    """What the rules say of a challenger.

    Attributes:
        passed: Every rule holds.
        checks: All of them.
        reason: In one line.
    """

    passed: bool
    checks: tuple[Check, ...]
    reason: str


def rule_on(figures: WindowFigures, gate: GateSettings) -> Ruling:
    """Apply every rule: support, floors, baselines, champion.

    A figure that isn't defined fails its rule; but macro AUC, for which a small shop may lack categories with enough
    positives, then isn't applied, and neither is the comparison with a champion that has seen the window. The checks
    and the reason say so.
    """
    checks = (*_support(figures, gate), *_floors(figures, gate), *_baselines(figures, gate), *_champion(figures, gate))
    failed = [check.says for check in checks if not check.passed]
    if failed:
        return Ruling(passed=False, checks=checks, reason="; ".join(failed))
    quality, champion = figures.challenger, figures.champion
    said = [f"log loss {quality.log_loss:.4f}, ahead of {', '.join(gate.baselines) or 'no baseline'}"]
    if champion is None:
        said.append("there was no champion")
    elif champion.difference is None:
        said.append(f"not compared with champion {champion.model_version}: {champion.not_compared}")
    else:
        said.append(f"not significantly worse than champion {champion.model_version}")
        said.append(_interval(champion.difference))
    said.append("early stopping chose the epoch on this window, which flatters slightly")
    return Ruling(passed=True, checks=checks, reason="; ".join(said))


def _support(figures: WindowFigures, gate: GateSettings) -> list[Check]:
    return [
        _at_least("min_customers", figures.customers, gate.min_customers, "customers in the window"),
        _at_least("min_positives", figures.positives, gate.min_positives, "positive pairs in the window"),
    ]


def _floors(figures: WindowFigures, gate: GateSettings) -> list[Check]:
    quality = figures.challenger
    checks = [_at_least("min_micro_auc", quality.micro_auc, gate.min_micro_auc, "micro AUC")]
    if math.isnan(quality.macro_auc):
        checks.append(_not_applied("min_macro_auc", "macro AUC isn't defined: no category has enough positives"))
    else:
        checks.append(_at_least("min_macro_auc", quality.macro_auc, gate.min_macro_auc, "macro AUC"))
    ratio = quality.log_loss / figures.baselines[POPULARITY].log_loss
    checks.append(_at_most("max_log_loss_ratio", ratio, gate.max_log_loss_ratio, "log loss over that of popularity"))
    if gate.max_log_loss is not None:
        checks.append(_at_most("max_log_loss", quality.log_loss, gate.max_log_loss, "log loss"))
    bound = quality.log_loss * CARRIED_AT_MOST
    says = (
        f"log loss {figures.carried_log_loss:.4f} with the calibration it carries, {quality.log_loss:.4f} cross-fitted"
    )
    carried = figures.carried_log_loss
    checks.append(Check("carried_calibration_fits", _defined(carried), _defined(bound), carried <= bound, says))
    checks.append(_at_most("max_ece", quality.ece, gate.max_ece, "calibration error"))
    return checks


def _baselines(figures: WindowFigures, gate: GateSettings) -> list[Check]:
    checks = []
    for name in gate.baselines:
        rival = figures.baselines[name]
        mine, theirs = figures.challenger.log_loss, rival.log_loss
        says = f"log loss {mine:.4f} against {theirs:.4f} of {name}"
        checks.append(Check(f"log_loss_beats_{name}", mine, theirs, mine < theirs, says))
        mine, theirs = figures.challenger.macro_auc, rival.macro_auc
        if math.isnan(mine) or math.isnan(theirs):
            checks.append(_not_applied(f"macro_auc_beats_{name}", "macro AUC isn't defined"))
        else:
            says = f"macro AUC {mine:.4f} against {theirs:.4f} of {name}"
            checks.append(Check(f"macro_auc_beats_{name}", mine, theirs, mine > theirs, says))
    return checks


def _champion(figures: WindowFigures, gate: GateSettings) -> list[Check]:
    champion = figures.champion
    if champion is None:
        return []
    rule = "not_significantly_worse"
    if champion.difference is None:
        says = f"not compared with champion {champion.model_version}: {champion.not_compared}"
        return [_not_applied(rule, says)]
    difference = champion.difference
    passed = difference.low <= 0
    says = (
        f"log loss {'not ' if passed else ''}significantly worse than that of champion {champion.model_version} "
        f"({_interval(difference)}, level {gate.level:g})"
    )
    return [Check(rule, difference.low, 0.0, passed, says)]


def _not_applied(rule: str, says: str) -> Check:
    return Check(rule, None, None, passed=True, says=says)


def _at_least(rule: str, value: float, bound: float, what: str) -> Check:
    # A NaN compares false: what isn't defined doesn't pass.
    passed = value >= bound
    says = f"{what} {_number(value)} is {'at least' if passed else 'below'} gate.{rule} {_number(bound)}"
    return Check(rule, _defined(value), bound, passed, says)


def _at_most(rule: str, value: float, bound: float, what: str) -> Check:
    passed = value <= bound
    says = f"{what} {_number(value)} is {'within' if passed else 'above'} gate.{rule} {_number(bound)}"
    return Check(rule, _defined(value), bound, passed, says)


def _interval(difference: Difference) -> str:
    return f"difference {difference.mean:+.4f}, interval {difference.low:+.4f} to {difference.high:+.4f}"


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value

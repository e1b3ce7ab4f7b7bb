"""Is the model any good: metrics, baselines and the protocol that makes figures comparable."""

from __future__ import annotations

from propensity.evaluation.bootstrap import Interval, log_loss_difference
from propensity.evaluation.evaluation import Evaluation, Segment, evaluate
from propensity.evaluation.protocol import HoldoutWindow, expand

__all__ = ["Evaluation", "HoldoutWindow", "Interval", "Segment", "evaluate", "expand", "log_loss_difference"]

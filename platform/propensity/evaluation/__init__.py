"""Is the model any good: metrics, baselines and the protocol that makes figures comparable."""

from __future__ import annotations

from propensity.evaluation.bootstrap import Interval, differences, log_loss_difference
from propensity.evaluation.diagnostics import Diagnostics, diagnose
from propensity.evaluation.evaluation import Evaluation, Segment, evaluate
from propensity.evaluation.protocol import HoldoutWindow, expand
from propensity.evaluation.streaming import BinnedEvaluation, StreamingEvaluation, evaluate_blocks
from propensity.evaluation.streaming_bootstrap import StreamingDifferences

__all__ = [
    "BinnedEvaluation",
    "Diagnostics",
    "Evaluation",
    "HoldoutWindow",
    "Interval",
    "Segment",
    "StreamingDifferences",
    "StreamingEvaluation",
    "diagnose",
    "differences",
    "evaluate",
    "evaluate_blocks",
    "expand",
    "log_loss_difference",
]

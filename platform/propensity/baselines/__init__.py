"""What a net has to beat: rules and models, each behind the same two calls, fitted on the same snapshots.

`BASELINES[name](options).fit(examples, dictionary).predict(examples)`: see `interface.py`.
"""

from __future__ import annotations

from propensity.baselines.interface import Baseline, FitOptions, FittedBaseline
from propensity.baselines.registry import BASELINES, SIMPLE, chosen

__all__ = ["BASELINES", "SIMPLE", "Baseline", "FitOptions", "FittedBaseline", "chosen"]

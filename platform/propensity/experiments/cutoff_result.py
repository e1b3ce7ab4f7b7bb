"""What a backtest learned at one cut-off, kept as one JSON file that is named by what it was made of."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from propensity.evaluation.bootstrap import Interval
from propensity.evaluation.evaluation import Evaluation

if TYPE_CHECKING:
    from pathlib import Path

    from propensity.settings import Settings

NET: Final = "net"


@dataclass(frozen=True)
class CutoffResult:
    """The net's and the baselines' figures on the label window that starts at a cut-off.

    Attributes:
        as_of: The cut-off, UTC: what was trained as of it is tested on the window behind it.
        model_version: Of the net that was trained; the version that `propensity train` gives.
        training_as_ofs: How many cut-offs it learned from.
        train_seconds: Wall time of its training.
        evaluations: Figures by name, the net's under "net".
        check: The window's own figures, see `HoldoutWindow.describe`.
        gains: The net's log loss less each baseline's, with the paired 95 % bootstrap interval over customers; below
            zero the net is better.
    """

    as_of: datetime
    model_version: str
    training_as_ofs: int
    train_seconds: float
    evaluations: Mapping[str, Evaluation]
    check: Mapping[str, float]
    gains: Mapping[str, Interval]

    @property
    def net(self) -> Evaluation:
        """The net's figures."""
        return self.evaluations[NET]

    @property
    def rival(self) -> str:
        """The baseline with the lowest log loss."""
        return min(self.gains, key=lambda name: self.evaluations[name].all.log_loss)

    @property
    def ahead(self) -> bool:
        """Whether the net has a lower log loss and a higher macro AUC than every baseline.

        False too where macro AUC isn't defined, because no category has positives enough.
        """
        return all(
            self.net.all.log_loss < self.evaluations[name].all.log_loss
            and self.net.all.macro_auc > self.evaluations[name].all.macro_auc
            for name in self.gains
        )

    @property
    def surely_ahead(self) -> bool:
        """Whether the interval of the gain over every baseline lies below zero."""
        return all(interval.high < 0 for interval in self.gains.values())

    @property
    def has_macro_auc(self) -> bool:
        """Whether macro AUC is defined on the window."""
        return not math.isnan(self.net.all.macro_auc)

    def write(self, path: Path, inputs: str) -> None:
        """Write all of it as JSON by one rename.

        Args:
            path: Of the file; its parents are made.
            inputs: Names what the figures were made of; `read` asks for it.
        """
        content = {
            "inputs": inputs,
            "as_of": self.as_of.isoformat(),
            "model_version": self.model_version,
            "training_as_ofs": self.training_as_ofs,
            "train_seconds": self.train_seconds,
            "check": {name: None if math.isnan(value) else value for name, value in self.check.items()},
            "gains": {name: interval.to_dict() for name, interval in self.gains.items()},
            "evaluations": {name: evaluation.to_dict() for name, evaluation in self.evaluations.items()},
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
        part.replace(path)

    @classmethod
    def read(cls, path: Path, inputs: str) -> CutoffResult | None:
        """Read what `write` wrote; None unless it is there, whole and made of `inputs`."""
        try:
            content = json.loads(path.read_text())
            if content["inputs"] != inputs:
                return None
            return cls(
                as_of=datetime.fromisoformat(content["as_of"]),
                model_version=content["model_version"],
                training_as_ofs=content["training_as_ofs"],
                train_seconds=content["train_seconds"],
                check={name: math.nan if value is None else value for name, value in content["check"].items()},
                gains={name: Interval(**interval) for name, interval in content["gains"].items()},
                evaluations={name: Evaluation.from_dict(figures) for name, figures in content["evaluations"].items()},
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None


def local_day(settings: Settings, as_of: datetime) -> str:
    """Return the cut-off as a person names it, fit for a file's name: its local day, with the time unless midnight."""
    local = as_of.astimezone(settings.zone)
    return f"{local:%Y-%m-%d}" if (local.hour, local.minute) == (0, 0) else f"{local:%Y-%m-%dT%H%M}"

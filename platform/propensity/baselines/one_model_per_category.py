"""One small model for each category, and popularity for those with too few positives to have one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from propensity.baselines.calibration import fit_log_odds_line
from propensity.baselines.pair_signals import popularity_log_odds

if TYPE_CHECKING:
    import numpy.typing as npt

    from propensity.baselines.calibration import LogOddsLine
    from propensity.training.examples import Examples

MIN_POSITIVES: Final = 20
"""Training positives a category needs for a model of its own."""
NEWEST_AS_OFS: Final = 4
"""As_ofs learned from: older ones say less about tomorrow and cost as much."""


class CategoryInput(Protocol):
    """What the models of all categories read, prepared once for some rows."""

    def of(self, category: int) -> Any:
        """Return the model's input for a category, dense or CSR, (n_examples, any width)."""
        ...


@dataclass(frozen=True)
class CategoryModels:
    """The models by `category_index`; see `baselines.calibrated.Margins`.

    Attributes:
        prepare: Makes the input of rows.
        models: From such an input to log-odds, (n_examples,).
        others: From popularity to a probability, for categories without a model.
    """

    prepare: Callable[[Examples], CategoryInput]
    models: Mapping[int, Callable[[Any], npt.NDArray[np.floating[Any]]]]
    others: LogOddsLine

    def margins(self, examples: Examples) -> npt.NDArray[np.float32]:
        """Return log-odds of a positive label, float32, dense, (n_examples, n_categories)."""
        probability = self.others(examples.popularity)
        margins: npt.NDArray[np.float32] = np.log(probability / (1 - probability)).astype(np.float32)
        margins = margins[examples.as_of_position]
        if len(examples):
            source = self.prepare(examples)
            for category, model in self.models.items():
                margins[:, category] = model(source.of(category))
        return margins


def learn_categories(
    examples: Examples,
    prepare: Callable[[Examples], CategoryInput],
    learn: Callable[[Any, npt.NDArray[np.bool_]], Callable[[Any], npt.NDArray[np.floating[Any]]]],
) -> CategoryModels:
    """Learn one model for each category with enough positives and a negative in `examples`.

    Args:
        examples: Training rows with labels.
        prepare: Makes the input of rows.
        learn: From a category's input and whether its labels are positive, to its model.
    """
    assert examples.labels is not None
    columns = (examples.labels > 0).tocsc()
    positives = np.diff(columns.indptr)
    models = {}
    source = prepare(examples)
    for category in np.flatnonzero((positives >= MIN_POSITIVES) & (positives < len(examples))):
        positive = np.zeros(len(examples), bool)
        positive[columns.indices[columns.indptr[category] : columns.indptr[category + 1]]] = True
        models[int(category)] = learn(source.of(int(category)), positive)
    # The line learns from categories without a model only, since it speaks for those alone.
    rare = np.setdiff1d(np.arange(examples.n_categories), list(models))
    newest = len(examples.as_of) - 1
    at_newest = examples.as_of_position == newest
    bought = np.asarray((examples.labels[at_newest] > 0).sum(axis=0), np.float64).ravel()[rare]
    pairs = np.full(len(rare), float(at_newest.sum()))
    return CategoryModels(prepare, models, fit_log_odds_line(examples.popularity[newest][rare], bought, pairs))


def newest_as_ofs(examples: Examples, n: int = NEWEST_AS_OFS) -> Examples:
    """Return the examples of the newest `n` as_ofs."""
    return examples.at(np.arange(len(examples.as_of)) >= len(examples.as_of) - n)


@dataclass(frozen=True)
class OwnColumns:
    """A category's own columns: its signals and its popularity.

    Attributes:
        order: Pairs sorted by category, so that a category's are a slice, (n_pairs,).
        starts: Category c's are `order[starts[c]:starts[c + 1]]`, (n_categories + 1,).
        row: The pair's row, (n_pairs,).
        signals: The pair's signals, (n_pairs, n_signals).
        popularity: Log-odds for each row's as_of, (n_as_of, n_categories).
        as_of_position: The row's as_of, (n_examples,).
    """

    order: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    row: npt.NDArray[np.int32]
    signals: npt.NDArray[np.float32]
    popularity: npt.NDArray[np.float32]
    as_of_position: npt.NDArray[np.int32]

    @classmethod
    def of(
        cls,
        examples: Examples,
        row: npt.NDArray[np.int32],
        category: npt.NDArray[np.int32],
        signals: npt.NDArray[np.float32],
    ) -> OwnColumns:
        """Sort the pairs by category."""
        starts = np.searchsorted(np.sort(category), np.arange(examples.n_categories + 1))
        order = np.argsort(category, kind="stable")
        return cls(order, starts, row, signals, popularity_log_odds(examples), examples.as_of_position)

    def category(self, category: int) -> npt.NDArray[np.float32]:
        """Return the columns, dense, (n_examples, n_signals + 1); the popularity is the last."""
        columns = np.zeros((len(self.as_of_position), self.signals.shape[1] + 1), np.float32)
        pairs = self.order[self.starts[category] : self.starts[category + 1]]
        columns[self.row[pairs], :-1] = self.signals[pairs]
        columns[:, -1] = self.popularity[self.as_of_position, category]
        return columns

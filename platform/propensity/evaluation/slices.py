"""Fairness slices: is the model as good, and as honest, for every group of customers?

Groups come from customers' attributes (demographics and the like) as they were known at the window's as_of: the
features of the signal `attribute`, whose keys are `attribute=value`.
"""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from propensity.evaluation.metrics import expected_calibration_error, log_loss

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from propensity.features.dictionary import FeatureDictionary
    from propensity.training.examples import Examples

SIGNAL: Final = "attribute"
"""The signal whose keys are `attribute=value`."""
MIN_CUSTOMERS: Final = 20
"""A value that fewer customers share is no slice of its own: its figures would be noise, and might name someone."""
OTHER: Final = "other values"
UNKNOWN: Final = "not known"


@dataclass(frozen=True)
class Group:
    """Some customers of a window.

    Attributes:
        attribute: E.g. `age`.
        value: E.g. `35-44`, OTHER for values of fewer than MIN_CUSTOMERS customers, or UNKNOWN.
        rows: Positions of its customers, rising, int64, (n_customers_of_group,).
    """

    attribute: str
    value: str
    rows: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Slice:
    """A model's figures on the pairs of one group of customers; one that isn't defined is NaN.

    Attributes:
        attribute: See Group.
        value: See Group.
        customers: Customers in it.
        log_loss: In nats per pair.
        ece: Expected calibration error, 15 bins of equal width. Grows as customers get fewer, by chance alone.
        mean_propensity: Mean of the propensities.
        positive_share: Share of positives.
        gap_error: Standard error of mean propensity less positive share, over customers: a group whose gap is within
            two of them shows no bias that chance couldn't. NaN for a single customer.
    """

    attribute: str
    value: str
    customers: int
    log_loss: float
    ece: float
    mean_propensity: float
    positive_share: float
    gap_error: float

    @property
    def gap(self) -> float:
        """Mean propensity less share of positives: above zero the group is promised more than it does."""
        return self.mean_propensity - self.positive_share

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name, ready for JSON: what isn't defined is None."""
        return {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Slice:
        """Read what `to_dict` returned."""
        whole: dict[str, Any] = {name: math.nan if value is None else value for name, value in fields.items()}
        return cls(**whole)


def attribute_groups(examples: Examples, dictionary: FeatureDictionary) -> list[Group]:
    """Return the groups of the examples' customers by attribute, in alphabetical order.

    There are none where no attribute is known. For each attribute its values by their first number and name, then
    OTHER and UNKNOWN if there are such customers.

    Args:
        examples: Rows of one as_of.
        dictionary: Describes the columns of `examples.features`.
    """
    columns = np.flatnonzero(dictionary.signal == SIGNAL)
    held = examples.features[:, columns].tocsc()
    values: dict[str, list[tuple[str, npt.NDArray[np.int64]]]] = {}
    for position, column in enumerate(columns):
        attribute, _, value = str(dictionary.key[column]).partition("=")
        of_column = slice(held.indptr[position], held.indptr[position + 1])
        rows = held.indices[of_column][held.data[of_column] != 0].astype(np.int64)
        if len(rows):
            values.setdefault(attribute, []).append((value, np.sort(rows)))
    return [group for attribute, found in sorted(values.items()) for group in _groups(attribute, found, len(examples))]


def slices_of(
    labels: npt.NDArray[np.bool_], probabilities: npt.NDArray[np.floating[Any]], groups: Sequence[Group]
) -> tuple[Slice, ...]:
    """Return the figures of each group.

    Args:
        labels: bool, (n_customers, n_categories).
        probabilities: Probability of a positive label, (n_customers, n_categories).
        groups: Of the same customers.
    """
    return tuple(_slice(group, labels[group.rows], probabilities[group.rows]) for group in groups)


def _groups(attribute: str, found: list[tuple[str, npt.NDArray[np.int64]]], n_customers: int) -> list[Group]:
    groups = [
        Group(attribute, value, rows)
        for value, rows in sorted(found, key=lambda each: _natural(each[0]))
        if len(rows) >= MIN_CUSTOMERS
    ]
    rare = [rows for _, rows in found if len(rows) < MIN_CUSTOMERS]
    if rare:
        groups.append(Group(attribute, OTHER, np.unique(np.concatenate(rare))))
    known = np.zeros(n_customers, bool)
    for _, rows in found:
        known[rows] = True
    if not known.all():
        groups.append(Group(attribute, UNKNOWN, np.flatnonzero(~known)))
    return groups


def _natural(value: str) -> tuple[float, str]:
    """Return what sorts 15-24K before 100-124K: by the first number, values without one last."""
    number = re.search(r"\d+", value)
    return (math.inf if number is None else float(number.group()), value)


def _slice(group: Group, labels: npt.NDArray[np.bool_], probabilities: npt.NDArray[np.floating[Any]]) -> Slice:
    gap_of_customer = probabilities.mean(axis=1, dtype=np.float64) - labels.mean(axis=1, dtype=np.float64)
    n_customers = len(gap_of_customer)
    return Slice(
        attribute=group.attribute,
        value=group.value,
        customers=n_customers,
        log_loss=log_loss(labels, probabilities),
        ece=expected_calibration_error(labels, probabilities),
        mean_propensity=float(probabilities.mean(dtype=np.float64)),
        positive_share=float(labels.mean(dtype=np.float64)),
        gap_error=float(gap_of_customer.std(ddof=1) / math.sqrt(n_customers)) if n_customers > 1 else math.nan,
    )

"""Slices of customers against a plain loop over them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from propensity.evaluation.metrics import expected_calibration_error, log_loss
from propensity.evaluation.slices import MIN_CUSTOMERS, OTHER, UNKNOWN, Group, Slice, attribute_groups, slices_of
from propensity.features.dictionary import FeatureDictionary
from propensity.training.examples import Examples

CUSTOMERS = 130


def one_window(held: list[dict[str, str]]) -> tuple[Examples, FeatureDictionary]:
    """Customers with these attributes, among features of another signal."""
    keys = sorted({f"{name}={value}" for each in held for name, value in each.items()})
    features = np.zeros((len(held), 2 * len(keys)), np.float32)
    features[:, 1::2] = 3.0
    for row, each in enumerate(held):
        for name, value in each.items():
            features[row, 2 * keys.index(f"{name}={value}")] = 1.0
    dictionary = FeatureDictionary(
        family=np.array(["profile"] * 2 * len(keys), object),
        signal=np.array(["attribute", "spend"] * len(keys), object),
        key=np.array([key for key in keys for _ in range(2)], object),
        category_index=np.full(2 * len(keys), -1, np.int32),
    )
    examples = Examples(
        customer_id=np.array([f"c{row}" for row in range(len(held))], object),
        as_of=np.array(["2024-01-01"], "datetime64[us]"),
        as_of_position=np.zeros(len(held), np.int32),
        features=csr_matrix(features),
        labels=None,
        popularity=np.zeros((1, 3), np.float32),
    )
    return examples, dictionary


def attributes(rng: np.random.Generator) -> list[dict[str, str]]:
    held = []
    for row in range(CUSTOMERS):
        each = {"income": ["100-124K", "15-24K", "Under 15K"][int(rng.integers(3))]}
        if row % 3:
            each["age"] = "65+" if row < 100 else ["a=b", "rare"][row % 2]
        held.append(each)
    return held


def test_groups_are_those_of_a_loop():
    held = attributes(np.random.default_rng(1))
    groups = {(group.attribute, group.value): group.rows.tolist() for group in attribute_groups(*one_window(held))}
    # By number, then name; then those that are too few together, then those that aren't known.
    assert list(groups) == [
        ("age", "65+"), ("age", OTHER), ("age", UNKNOWN),
        ("income", "15-24K"), ("income", "Under 15K"), ("income", "100-124K"),
    ]  # fmt: skip
    for (attribute, value), rows in groups.items():
        if value == UNKNOWN:
            expected = [row for row, each in enumerate(held) if attribute not in each]
        elif value == OTHER:
            expected = [row for row, each in enumerate(held) if each.get(attribute) in ("a=b", "rare")]
        else:
            expected = [row for row, each in enumerate(held) if each.get(attribute) == value]
        assert rows == expected
    assert len(groups["age", "65+"]) >= MIN_CUSTOMERS > len(groups["age", OTHER]) / 2


def test_a_window_without_attributes_has_no_groups():
    assert attribute_groups(*one_window([{} for _ in range(30)])) == []


def test_figures_are_those_of_the_groups_pairs_alone():
    rng = np.random.default_rng(2)
    probabilities = rng.beta(0.5, 3, size=(CUSTOMERS, 3)).astype(np.float32)
    labels = rng.random(probabilities.shape) < probabilities
    groups = attribute_groups(*one_window(attributes(rng)))
    slices = slices_of(labels, probabilities, groups)
    assert len(slices) == len(groups)
    for each, group in zip(slices, groups, strict=True):
        mine, said = labels[group.rows], probabilities[group.rows]
        assert (each.attribute, each.value, each.customers) == (group.attribute, group.value, len(mine))
        assert each.log_loss == log_loss(mine, said)
        assert each.ece == expected_calibration_error(mine, said)
        assert each.mean_propensity == pytest.approx(said.astype(float).mean())
        assert each.positive_share == pytest.approx(mine.mean())
        assert each.gap == pytest.approx(said.astype(float).mean() - mine.mean())
        gaps = [float(np.mean([float(p) - int(y) for p, y in zip(*pair, strict=True)]))
                for pair in zip(said, mine, strict=True)]  # fmt: skip
        assert each.gap_error == pytest.approx(np.std(gaps, ddof=1) / math.sqrt(len(gaps)))
        assert Slice.from_dict(each.to_dict()) == each


def test_a_biased_group_stands_out_and_an_honest_one_does_not():
    rng = np.random.default_rng(3)
    true = rng.beta(1, 4, size=(4000, 5))
    labels = rng.random(true.shape) < true
    said = true.copy()
    said[:1000] *= 0.8
    biased, honest = slices_of(labels, said, [Group("g", "b", np.arange(1000)), Group("g", "h", np.arange(1000, 4000))])
    assert biased.gap < -4 * biased.gap_error
    assert abs(honest.gap) < 3 * honest.gap_error


def test_a_single_customer_has_no_error_to_speak_of():
    (alone,) = slices_of(np.array([[True, False]]), np.array([[0.5, 0.5]]), [Group("g", "one", np.array([0]))])
    assert math.isnan(alone.gap_error)
    assert alone.to_dict()["gap_error"] is None
    assert math.isnan(Slice.from_dict(alone.to_dict()).gap_error)

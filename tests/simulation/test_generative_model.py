"""The simulated events have the distributions that docs/simulation.md states, and the truth is that of the events."""

from __future__ import annotations

import dataclasses
import tracemalloc
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pyarrow.compute as pc
import pytest
from scipy import stats

from propensity.errors import SettingsError
from propensity.simulation import population as parameters
from propensity.simulation.customers import make_customers
from propensity.simulation.events import events_of_chunk
from propensity.simulation.population import Population, population
from propensity.simulation.propensities import Window, _at_least, _no_purchase, truth_of_chunk
from propensity.simulation.purchases import make_purchases
from propensity.simulation.world import CAMPAIGN_GAP_DAYS, make_world

START = datetime(2023, 1, 1, 5, tzinfo=UTC)
SMALL = {"customers": 2000, "categories": 30, "features": 150, "days": 300, "seed": 3}


def window_from(day: float, days: int = 30) -> Window:
    as_of = START + timedelta(days=day)
    return Window(START, as_of, as_of + timedelta(days=days))


def truth_of(chosen: Population, window: Window):
    """Return propensities and labels of all chunks, float64 and bool."""
    world = make_world(chosen)
    chunks = [truth_of_chunk(world, chunk, window) for chunk in range(chosen.chunks)]
    return (
        np.concatenate([chunk.propensities for chunk in chunks]).astype(float),
        np.concatenate([chunk.labels for chunk in chunks]),
    )


def deviation(propensities, labels) -> float:
    """Return labels less propensities in binomial standard errors."""
    return float((labels - propensities).sum() / np.sqrt((propensities * (1 - propensities)).sum()))


# Truth ------------------------------------------------------------------------------------------------------------

EXTRAS = {
    "steady": {"steady": True},
    "default": {},
    "regular": {"max_cycle": 6, "campaigns_per_week": 0.0},
    "campaigns": {"campaigns_per_week": 12.0, "campaign_share": 0.5, "max_cycle": 2},
    "cold and new": {"cold_start": 0.8, "new_categories": 0.5, "seasonality": 1.0, "drift": 1.0},
}


@pytest.mark.parametrize("extras", EXTRAS.values(), ids=EXTRAS)
def test_truth_is_calibrated(extras):
    """Purchases are independent given what the truth knows, so deviations are standard normal; 4 is one in 16,000."""
    chosen = population(**SMALL | extras)
    propensities, labels = truth_of(chosen, window_from(220.3))
    assert propensities.min() >= 0
    assert propensities.max() <= 1
    assert abs(deviation(propensities, labels)) < 4
    decile = np.digitize(propensities, np.quantile(propensities, np.arange(0.1, 1, 0.1)))
    for number in range(10):
        assert abs(deviation(propensities[decile == number], labels[decile == number])) < 4
    for category in range(chosen.categories):
        if propensities[:, category].sum() > 20:
            assert abs(deviation(propensities[:, category], labels[:, category])) < 4.5


def test_truth_knows_campaigns_that_are_coming_but_not_who_gets_them():
    chosen = population(**SMALL, campaigns_per_week=12.0, campaign_share=0.5, campaign_lift=4.0)
    world, window = make_world(chosen), window_from(220.3)
    coming = [each for each in world.campaigns if window.days[0] <= each.begins < window.days[1]]
    assert len(coming) >= 5
    customers, known = make_customers(world, 0), truth_of_chunk(world, 0, window)
    positions = np.searchsorted(customers.names, known.customer_id)
    unlifted = dataclasses.replace(
        world, campaigns=tuple(each for each in world.campaigns if each.number < coming[0].number)
    )
    as_if_none_came = _at_least(unlifted, customers, _last_purchases(world, customers, 220.3), window)[positions, 0]
    gaps, turned_out = [], []
    for campaign in coming:
        received = customers.received[campaign.number][positions]
        propensity, label = known.propensities[:, campaign.category], known.labels[:, campaign.category]
        assert (propensity >= as_if_none_came[:, campaign.category] - 1e-6).all()
        gaps.append(propensity[received].mean() - propensity[~received].mean())
        turned_out.append(label[received].mean() - label[~received].mean())
    # Beforehand those who will receive it look like the rest; afterwards they have bought more.
    assert abs(np.mean(gaps)) < 0.02
    assert np.mean(turned_out) > 0.05


def _last_purchases(world, customers, as_of):
    bought = make_purchases(world, customers, 0)
    last = np.full(customers.rate.shape, -1.0)
    before = bought.day < as_of
    last[bought.customer[before], bought.category[before]] = bought.day[before]
    return last


def test_a_month_after_a_purchase_a_regular_one_is_due():
    """With k = 6 the chance rises with the time since the last purchase; with k = 1 it doesn't."""
    age, ahead = np.array([[0.1], [1.0]]), np.array([[0.3], [0.3]])
    bought = np.ones((2, 1), bool)
    regular = 1 - _no_purchase(np.array([6]), age, ahead, bought)
    assert regular[1, 0] > 5 * regular[0, 0]
    poisson = 1 - _no_purchase(np.array([1]), age, ahead, bought)
    assert poisson == pytest.approx(1 - np.exp(-0.3))


@pytest.mark.parametrize("k", [1, 2, 5])
def test_survival_is_that_of_scipys_erlang(k):
    gap = stats.gamma(k, scale=1 / k)
    age, ahead = np.array([[0.0, 0.7, 3.0]]), np.array([[0.4, 0.2, 1.5]])
    cycle = np.full(3, k)
    expected = gap.sf(age + ahead) / gap.sf(age)
    assert _no_purchase(cycle, age, ahead, np.ones((1, 3), bool)) == pytest.approx(expected)
    # Without a purchase: the integral of the survival function is that of the time to the first (mean 1).
    grid = np.linspace(0, 60, 400_001)
    tail = np.cumsum(gap.sf(grid)[::-1])[::-1] * (grid[1] - grid[0])
    first = np.interp(age + ahead, grid, tail) / np.interp(age, grid, tail)
    assert _no_purchase(cycle, age, ahead, np.zeros((1, 3), bool)) == pytest.approx(first, rel=1e-3)


def test_very_long_silence_is_no_division_by_zero():
    silent = _no_purchase(np.array([8]), np.array([[500.0]]), np.array([[0.1]]), np.ones((1, 1), bool))
    assert 0 < silent[0, 0] < 1


# Events -----------------------------------------------------------------------------------------------------------


def test_counts_are_poisson_without_extras():
    """Counts of a pair over the whole time have the variance of their mean, whatever the mean."""
    chosen = population(**SMALL, steady=True)
    world = make_world(chosen)
    customers = make_customers(world, 0)
    bought = make_purchases(world, customers, 0)
    counts = np.zeros(customers.rate.shape)
    np.add.at(counts, (bought.customer, bought.category), 1)
    mean = customers.rate * chosen.days
    assert deviation_of_sum(counts, mean) < 4
    dispersion = ((counts - mean) ** 2 / mean)[mean > 1].mean()
    assert dispersion == pytest.approx(1, abs=4 * np.sqrt(2.5 / (mean > 1).sum()))


def deviation_of_sum(counts, mean) -> float:
    return abs(counts.sum() - mean.sum()) / np.sqrt(mean.sum())


def test_regular_purchases_have_steadier_gaps():
    chosen = population(**SMALL, steady=True, max_cycle=5, purchases_per_day=4.0)
    world = make_world(chosen)
    customers = make_customers(world, 0)
    bought = make_purchases(world, customers, 0)
    pair = bought.customer * chosen.categories + bought.category
    gap = np.diff(bought.day) * customers.rate.ravel()[pair[1:]]
    # Long gaps don't fit into the simulated time: only frequent pairs show their distribution.
    usable = (np.diff(pair) == 0) & (customers.rate.ravel()[pair[1:]] * chosen.days > 30)
    for k in range(1, 6):
        of_k = gap[usable & (world.cycle[bought.category[1:]] == k)]
        if len(of_k) > 2000:
            assert of_k.var() / of_k.mean() ** 2 == pytest.approx(1 / k, rel=0.12), k


def test_categories_and_product_types_follow_zipfs_law():
    chosen = population(customers=2000, categories=30, features=1200, days=200, steady=True, taste_strength=0.0)
    world = make_world(chosen)
    events = events_of_chunk(world, 0, START)
    for column, of in (("category", 30), ("product_type", 40)):
        rows = events if column == "category" else events.filter(pc.equal(events["category"], "CATEGORY 00000"))
        counts = np.sort(rows[column].value_counts().field("counts").to_numpy())[::-1][:of]
        slope = stats.linregress(np.log(np.arange(1, of + 1)), np.log(counts)).slope
        assert slope == pytest.approx(-chosen.zipf, abs=0.06), column
    assert set(events["category"].to_pylist()) == {f"CATEGORY {number:05d}" for number in range(30)}


def test_activity_is_what_the_flag_says():
    chosen = population(**SMALL | {"customers": 4000}, steady=True, purchases_per_day=0.5, taste_strength=0.3)
    events = [events_of_chunk(make_world(chosen), chunk, START).num_rows for chunk in range(chosen.chunks)]
    assert sum(events) / (4000 * 300) == pytest.approx(0.5, rel=0.05)


def test_cold_customers_new_categories_and_weekends():
    chosen = population(**SMALL, cold_start=0.5, new_categories=0.3, campaigns_per_week=0.0)
    world = make_world(chosen)
    customers = make_customers(world, 0)
    bought = make_purchases(world, customers, 0)
    assert 0.4 < (customers.joins > 0).mean() < 0.6
    assert (bought.day >= customers.joins[bought.customer]).all()
    assert (world.opens > 0).sum() == 9
    assert (bought.day >= world.opens[bought.category]).all()
    weekend = (chosen.start.weekday() + np.floor(bought.day).astype(int)) % 7 >= 5
    share = [weekend[customers.rhythm[bought.customer] == rhythm].mean() for rhythm in range(3)]
    assert share == pytest.approx([2 / 7, 4.25 / 7, 0.5 / 7], abs=0.03)


def test_coupons_raise_the_rate_while_they_are_valid():
    chosen = population(**SMALL, campaigns_per_week=4.0, campaign_share=0.5, max_cycle=1, seasonality=0.0, drift=0.0)
    world = make_world(chosen)
    customers = make_customers(world, 0)
    bought = make_purchases(world, customers, 0)
    with_coupon, without = np.zeros((2, 2))  # purchases, and what they would be at a rate of 1
    for campaign in world.campaigns:
        valid = (bought.category == campaign.category) & (bought.day >= campaign.begins) & (bought.day < campaign.ends)
        received = customers.received[campaign.number]
        ready = customers.joins < campaign.begins
        rate = customers.rate[:, campaign.category]
        with_coupon += [received[bought.customer[valid]].sum(), rate[received].sum()]
        others = ~received & ready
        without += [others[bought.customer[valid]].sum(), rate[others].sum()]
    ratio = (with_coupon[0] / with_coupon[1]) / (without[0] / without[1])
    assert ratio == pytest.approx(1 + chosen.campaign_lift, rel=0.1)


def test_a_categorys_campaigns_keep_their_distance():
    world = make_world(population(**SMALL, campaigns_per_week=20.0))
    for category in {each.category for each in world.campaigns}:
        own = [each for each in world.campaigns if each.category == category]
        assert all(b.begins - a.ends >= CAMPAIGN_GAP_DAYS for a, b in pairwise(own))


# Seeds and memory -------------------------------------------------------------------------------------------------


def test_a_seed_fixes_every_event():
    chosen = population(**SMALL)
    first = events_of_chunk(make_world(chosen), chosen.chunks - 1, START)
    again = events_of_chunk(make_world(chosen), chosen.chunks - 1, START)
    assert first.equals(again)
    other = dataclasses.replace(chosen, seed=4)
    assert not events_of_chunk(make_world(other), chosen.chunks - 1, START).equals(first)


def test_chunks_are_different_and_whole():
    chosen = population(**SMALL | {"customers": 5000})
    assert chosen.chunks > 1
    world = make_world(chosen)
    names = [make_customers(world, chunk).names for chunk in range(chosen.chunks)]
    assert len(np.unique(np.concatenate(names))) == 5000
    a, b = (make_customers(world, chunk).rate[:10] for chunk in (0, 1))
    assert not np.allclose(a, b)


def test_memory_is_that_of_a_chunk(monkeypatch):
    """Ten times the customers take no more memory: they are more chunks, not larger ones."""
    monkeypatch.setattr(parameters, "CHUNK_CELLS", 100_000)
    peaks = []
    for customers in (400, 4000):
        chosen = population(customers=customers, categories=400, features=400, days=300, steady=True)
        world = make_world(chosen)
        events_of_chunk(world, 0, START)  # what is kept with the world
        tracemalloc.start()
        for chunk in range(min(3, chosen.chunks)):
            events_of_chunk(world, chunk, START)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert chosen.chunks > 10
    assert peaks[1] < 1.1 * peaks[0]
    assert peaks[1] < 60e6  # 600 bytes a pair or event


@pytest.mark.parametrize("size", [{"customers": 1_000_000, "categories": 2000, "features": 200_000}, {"days": 3650}])
def test_chunks_of_any_size_fit_the_bound(size):
    chosen = population(**size)
    assert chosen.chunk_customers * chosen.categories <= parameters.CHUNK_CELLS
    expected = chosen.chunk_customers * chosen.purchases_per_day * chosen.days
    assert expected <= parameters.CHUNK_CELLS


# Parameters -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "least", "most"), parameters.LIMITS)
def test_limits_are_said_by_their_flag(name, least, most):
    for value in (least - 1, most * 2 + 1):
        with pytest.raises(SettingsError, match=parameters.flag(name)):
            population(**{name: value})


def test_every_parameter_that_is_a_number_has_limits():
    numbers = {field.name for field in dataclasses.fields(Population) if field.type in ("int", "float")}
    assert numbers == {name for name, *_ in parameters.LIMITS}


def test_parameters_survive_json_and_name_the_population():
    chosen = population(steady=True, seed=12)
    assert Population.from_json(chosen.to_json()) == chosen
    assert chosen.name == population(steady=True, seed=12).name
    assert len({population(seed=seed).name for seed in range(5)} | {chosen.name}) == 6
    assert population(steady=True, drift=0.2).drift == 0.2

"""Every output form says what the full vectors say, as far as it keeps them."""

from __future__ import annotations

import shutil
from importlib import resources

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from propensity.api import Platform
from propensity.errors import LookupFailedError, SettingsError
from propensity.scoring.output_forms import FORMS, OutputForm, quantised, restored
from propensity.warehouse.lake import Lake
from propensity.warehouse.schemas import ABOVE_FIELDS, COMPACT_FIELD, COMPACT_STEPS, PROPENSITY_SCHEMA
from tests import shop

THRESHOLD = 0.3
SMALLER_FORMS = [name for name in FORMS if name != "full"]


def of_form(home, form) -> Platform:
    return Platform(shop.settings_of(home, scoring={"output": form, "threshold": THRESHOLD}))


def table_of(platform, run):
    (file,) = Lake(platform.settings.lake).files("category_propensity", "us", run_id=run.run_id)
    return pq.ParquetFile(file).read()


@pytest.fixture(scope="module")
def full(finished_home):
    """The publication of the finished home."""
    platform = Platform(shop.settings_of(finished_home))
    return table_of(platform, platform.score(shop.AS_OF).run)


@pytest.fixture(scope="module")
def scores(full):
    """Its propensities, (n_customers, n_categories)."""
    return np.stack(full["propensities"].to_numpy())


@pytest.fixture(scope="module", params=SMALLER_FORMS)
def published(request, finished_home, tmp_path_factory):
    """(form, platform, table) of a home whose newest publication has another form; for reading."""
    home = shutil.copytree(finished_home, tmp_path_factory.mktemp(request.param) / "home")
    platform = of_form(home, request.param)
    result = platform.score(shop.AS_OF)
    assert not result.already_published
    assert platform.score(shop.AS_OF).already_published
    assert result.run.detail["output"]["form"] == request.param
    return request.param, platform, table_of(platform, result.run)


@given(st.lists(st.floats(0, 1, width=32), min_size=1))
def test_a_compact_score_is_as_near_as_it_is_said_to_be(values):
    exact = np.sort(np.array(values, np.float32))
    steps = quantised(exact)
    assert steps.dtype == np.int16
    assert steps.min() >= 0
    assert steps.max() <= COMPACT_STEPS
    assert (np.diff(steps) >= 0).all()  # whoever was likelier isn't less likely now
    error = np.abs(restored(steps).astype(float) - exact)
    bound = np.sqrt(exact.astype(float)) / COMPACT_STEPS + 1 / (2 * COMPACT_STEPS) ** 2
    assert (error <= bound + 2e-7 * exact + 1e-12).all()
    assert error.max() <= 2.5e-4
    np.testing.assert_array_equal(quantised(restored(steps)), steps)


def test_the_views_read_compact_scores_by_the_same_steps():
    text = resources.files("propensity.warehouse").joinpath("views/propensity.sql").read_text()
    assert text.count(f"(q / {COMPACT_STEPS}e0) ** 2") == 2


def test_each_form_has_the_tables_columns_and_its_own(published, full, scores):
    form, _, table = published
    own = {"top_k": [], "above_threshold": list(ABOVE_FIELDS), "compact": [COMPACT_FIELD]}[form]
    assert table.schema.equals(pa.schema([*PROPENSITY_SCHEMA, *own]))
    assert table["propensities"].null_count == table.num_rows
    for name in ("customer_id", "event_timestamp", "model_version", "top_categories", "top_propensities"):
        assert table[name].equals(full[name]), name
    if form == "above_threshold":
        found = {}
        for row, (categories, values) in enumerate(
            zip(table["above_categories"].to_pylist(), table["above_propensities"].to_pylist(), strict=True)
        ):
            assert categories == sorted(categories)
            found |= {(row, category): value for category, value in zip(categories, values, strict=True)}
        assert found == kept(form, scores)


def kept(form, scores) -> dict[tuple[int, int], float]:
    """Return what a form keeps of the scores, by row and position, in full precision."""
    keep = np.ones(scores.shape, bool)
    if form == "top_k":
        keep[:] = False
        np.put_along_axis(keep, np.argsort(-scores, axis=1, kind="stable")[:, :5], values=True, axis=1)
    elif form == "above_threshold":
        keep = scores >= np.float32(THRESHOLD)
        assert 0.01 < keep.mean() < 0.5
    return {(int(row), int(position)): float(scores[row, position]) for row, position in np.argwhere(keep)}


def test_propensity_long_works_over_each_form(published, full, scores):
    form, platform, _ = published
    names = platform.sql(
        "SELECT category FROM model_categories JOIN categories USING (region, category_index) ORDER BY position"
    )["category"].tolist()
    customers = full["customer_id"].to_pylist()
    expected = {(customers[row], names[position]): value for (row, position), value in kept(form, scores).items()}
    long = platform.sql("FROM propensity_long")
    assert len(long) == len(expected)
    for row in long.itertuples():
        assert row.propensity == pytest.approx(
            expected[row.customer_id, row.category], abs=2.5e-4 * (form == "compact")
        )
    by_event = platform.sql("FROM propensity_by_event")
    assert set(by_event["event_type"]) == {"purchase"}
    assert sorted(by_event["propensity"]) == sorted(long["propensity"])


def test_the_other_views_know_no_difference(published, finished_home):
    _, platform, _ = published
    query = "SELECT * EXCLUDE (run_id) FROM top_categories ORDER BY customer_id, rank"
    theirs = Platform(shop.settings_of(finished_home))
    pd.testing.assert_frame_equal(platform.sql(query), theirs.sql(query))
    columns = [list(each.sql("FROM propensity LIMIT 0").columns) for each in (platform, theirs)]
    assert columns[0] == columns[1]


def test_a_lake_may_hold_runs_of_several_forms(home, scores):
    platform = of_form(home, "full")
    days = {shop.AS_OF: "top_k", "2024-08-05": "above_threshold", shop.SOON_AFTER: "compact"}
    platform.build_features(list(days)[1:])
    for day, form in days.items():
        of_form(home, form).score(day)
        assert len(platform.sql("FROM propensity_latest")) == shop.CUSTOMERS
        wide = {"top_k": 5, "compact": len(shop.CATEGORIES)}.get(form)
        long = len(platform.sql("FROM propensity_long"))
        assert long == wide * shop.CUSTOMERS if wide else shop.CUSTOMERS / 2 < long < 6 * shop.CUSTOMERS
    have = platform.sql(
        "SELECT event_timestamp, count(propensities) AS vectors, count(above_categories) AS above, count(*) AS n "
        "FROM propensity GROUP BY ALL ORDER BY ALL"
    )
    assert have["n"].tolist() == [shop.CUSTOMERS] * 3
    assert have["vectors"].tolist() == [0, 0, shop.CUSTOMERS]
    assert have["above"].tolist() == [0, shop.CUSTOMERS, 0]
    platform.score(shop.SOON_AFTER)
    assert platform.sql("SELECT count(propensities) AS n FROM propensity_latest")["n"][0] == shop.CUSTOMERS


def test_an_audience_is_whole_or_an_error(published, finished_home):
    form, platform, _ = published
    whole = Platform(shop.settings_of(finished_home))
    category = "MILK"
    likely = whole.audience(category, 100, minimum=THRESHOLD)
    few = len(likely) - 1
    assert 1 < few < shop.CUSTOMERS - 2
    if form == "top_k":
        with pytest.raises(
            LookupFailedError, match=r"'top_k': it keeps each customer's likeliest categories only.*full"
        ):
            platform.audience(category, 1)
        return
    for found, expected in (
        (platform.audience(category, 100, minimum=THRESHOLD), likely),
        (platform.audience(category, few), whole.audience(category, few)),
    ):
        assert len(found) == len(expected)
        np.testing.assert_allclose(found["propensity"], expected["propensity"], atol=2.5e-4 if form == "compact" else 0)
    if form == "above_threshold":
        pd.testing.assert_frame_equal(platform.audience(category, few), whole.audience(category, few))
        with pytest.raises(
            LookupFailedError, match=rf"{len(likely)} customers have: ask for no more, .* minimum of 0.3"
        ):
            platform.audience(category, few + 2)
    else:
        assert len(platform.audience(category, 1000)) == shop.CUSTOMERS


def test_feast_has_the_top_categories_of_each_form(home, full):
    platform = of_form(home, "above_threshold")
    result = platform.score(shop.AS_OF)
    assert platform.materialize(result)
    expected = full.to_pylist()[1]
    asked = pd.DataFrame(
        {"customer_id": [expected["customer_id"]], "event_timestamp": [pd.Timestamp(expected["event_timestamp"])]}
    )
    features = ["category_propensity_top:top_propensities", "category_propensity:propensities"]
    found = platform.feature_store().get_historical_features(entity_df=asked, features=features).to_arrow()
    assert found["top_propensities"].to_pylist() == [expected["top_propensities"]]
    assert found["propensities"].to_pylist() == [None]
    assert [each.propensity for each in platform.top(expected["customer_id"], 3)] == pytest.approx(
        expected["top_propensities"][:3]
    )


@pytest.mark.parametrize("form", SMALLER_FORMS)
def test_full_vectors_that_are_to_be_served_must_be_kept(home, form):
    settings = shop.settings_of(home, online_full_vectors=True, scoring={"output": form})
    with pytest.raises(SettingsError, match=f"the output '{form}' doesn't keep. Set PROPENSITY_SCORING__OUTPUT=full"):
        Platform(settings).score(shop.AS_OF)


def test_more_classes_are_kept_where_the_form_keeps_vectors():
    rng = np.random.default_rng(0)
    anything = rng.random((4, 3)).astype(np.float32)
    anything[1] = 0.1  # nothing above the threshold
    scores = np.stack((anything, anything / 2), axis=1)
    index = np.array([1, 4, 6], np.int32)
    for form in SMALLER_FORMS:
        output = OutputForm(form, 0.5 if form == "above_threshold" else None)
        kept = output.keep(4, 3, index)
        assert kept.full is None
        kept.take(3, scores[3:])  # blocks come in any order
        kept.take(0, scores[:3])
        made = kept.columns()
        assert made["propensities"].null_count == made["class_propensities"].null_count == 4
        assert set(made) - {"propensities", "class_propensities"} == {field.name for field in output.fields(3)}
        for field in output.fields(3):
            assert made[field.name].type.equals(field.type)
        if form == "compact":
            back = restored(made["compact_class_propensities"].flatten().to_numpy()).reshape(4, 3)
            np.testing.assert_allclose(back, anything / 2, atol=2.5e-4)
        if form == "above_threshold":
            expected = [index[row >= 0.5].tolist() for row in anything]
            assert expected[1] == []
            assert made["above_categories"].to_pylist() == expected

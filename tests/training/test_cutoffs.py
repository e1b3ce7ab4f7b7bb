"""Cut-offs: no label window ends after the training's as_of, and validation comes after training."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from propensity.errors import TrainingError
from propensity.features.labels import label_window_end
from propensity.settings import LabelSettings, Settings, TrainingSettings
from propensity.training import cutoffs
from propensity.training.cutoffs import training_cutoffs
from propensity.warehouse.regions import local_days_later
from propensity.warehouse.runs import RunRecord

ZONE = ZoneInfo("America/New_York")
FIRST = datetime(2017, 1, 1, 11, 53, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _one_import(monkeypatch):
    run = RunRecord(
        "import-1", "us", "import", "finished", None, 1, 0, FIRST, {"first_event_timestamp": FIRST.isoformat()}
    )
    monkeypatch.setattr(cutoffs, "event_imports", lambda _: [run])


def options(horizon_days=30, n_cutoffs=13, every=14) -> Settings:
    return Settings(
        labels=LabelSettings(horizon_days=horizon_days),
        training=TrainingSettings(cutoffs=n_cutoffs, cutoff_every_days=every),
    )


def test_the_demos_cutoffs():
    """As of 2017-11-01: the newest window ends that day, the validation's training windows before it begins."""
    found = training_cutoffs(options(), datetime(2017, 11, 1, 4, tzinfo=UTC))
    days = [as_of.astimezone(ZONE).date().isoformat() for as_of in found.refit]
    assert (len(days), days[0], days[-1]) == (13, "2017-04-17", "2017-10-02")
    assert found.validation == found.refit[-1]
    assert [as_of.astimezone(ZONE).date().isoformat() for as_of in found.train][-1] == "2017-08-21"


@settings(max_examples=300, deadline=None)
@given(
    st.datetimes(datetime(2017, 3, 1), datetime(2019, 12, 31), timezones=st.just(UTC)),
    st.sampled_from([1, 7, 30]),
    st.integers(2, 20),
    st.integers(1, 30),
)
@example(datetime(2018, 4, 10, 6, 30, tzinfo=UTC), 30, 13, 14)  # 30 days before, 2:30 was skipped
@example(datetime(2017, 12, 5, 6, 30, tzinfo=UTC), 30, 13, 14)  # 30 days before, 1:30 came twice
def test_no_window_ends_after_the_trainings_as_of(trained_as_of, horizon_days, n_cutoffs, every):
    configured = options(horizon_days, n_cutoffs, every)
    try:
        found = training_cutoffs(configured, trained_as_of)
    except TrainingError:
        # Too little history: the first of two windows would begin before a horizon has passed.
        shortest = local_days_later(FIRST, 3 * horizon_days + every, configured)
        assert trained_as_of < shortest + timedelta(hours=2) or n_cutoffs * every <= horizon_days + 2 * every
        return
    ends = [label_window_end(configured, as_of) for as_of in found.refit]
    assert max(ends) <= trained_as_of
    assert found.refit == tuple(sorted(set(found.refit)))
    assert len(found.refit) <= n_cutoffs
    assert found.validation == found.refit[-1]
    assert found.train
    assert set(found.train) < set(found.refit)
    assert all(label_window_end(configured, as_of) <= found.validation for as_of in found.train)
    assert min(found.refit) >= local_days_later(FIRST, horizon_days, configured)


def test_too_little_history_says_what_it_takes():
    with pytest.raises(TrainingError, match="choose a later --as-of") as raised:
        training_cutoffs(options(), datetime(2017, 3, 1, 5, tzinfo=UTC))
    assert "\n" not in str(raised.value)

from __future__ import annotations

import optuna
import pytest

from propensity.experiments.search_space import SEARCH_SPACE, distributions, drawn, with_drawn
from propensity.settings import TrainingSettings

UNUSUAL = TrainingSettings(
    learning_rate=0.1, epochs=40, batch_size=48, dropout=0.9, hidden=(7,), aligned_hidden=(5,), embedding=1,
    context=200, weight_decay=0.0, category_weight_decay=0.5,
)  # fmt: skip


@pytest.mark.parametrize("current", [TrainingSettings(), UNUSUAL], ids=["default", "unusual"])
def test_the_current_settings_are_in_the_space(current):
    space, values = distributions(optuna, current), drawn(current)
    assert space.keys() == SEARCH_SPACE.keys()
    for name, value in values.items():
        assert space[name]._contains(space[name].to_internal_repr(value)), name
    assert with_drawn(current, values) == current
    # A logarithmic scale has no zero: the only setting that is left out.
    assert space.keys() - values.keys() == ({"weight_decay"} if current is UNUSUAL else set())


def test_what_is_drawn_is_a_setting_of_few_digits():
    current = TrainingSettings()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    seen = set()
    for _ in range(50):
        trial = study.ask(distributions(optuna, current))
        training = with_drawn(current, trial.params)
        for name in SEARCH_SPACE:
            value = getattr(training, name)
            seen.add((name, value))
            assert not isinstance(value, float) or value == float(f"{value:.3g}")
        assert {name: value for name, value in training.model_dump().items() if name not in SEARCH_SPACE} == {
            name: value for name, value in current.model_dump().items() if name not in SEARCH_SPACE
        }
    assert all(len({value for named, value in seen if named == name}) > 2 for name in SEARCH_SPACE)

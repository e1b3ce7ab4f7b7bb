"""Models in a catalogue without artifacts worth the name: what the registry sees of one."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

from propensity.models.decisions import Decision, settle
from propensity.models.gate import Ruling
from propensity.models.registry import CHAMPION, RegisteredModel, list_models, register_model
from propensity.settings import Settings

PASSED = Ruling(passed=True, checks=(), reason="good enough")
FAILED = Ruling(passed=False, checks=(), reason="micro AUC is low")


def day(number: int) -> datetime:
    return datetime(2024, 1, number, tzinfo=UTC)


def register(settings: Settings, version: str, trained_as_of: datetime, categories=(0, 1, 2)) -> RegisteredModel:
    metadata = SimpleNamespace(
        model_version=version,
        metrics={"validation": {"log_loss": 0.5}},
        categories=[SimpleNamespace(category_index=index) for index in categories],
    )
    directory = settings.models / settings.region / version
    directory.mkdir(parents=True, exist_ok=True)
    return register_model(settings, SimpleNamespace(metadata=metadata, directory=directory), trained_as_of)


def judged(settings: Settings, version: str, trained_as_of: datetime, ruling: Ruling = PASSED) -> Decision:
    """Register a model and settle a ruling on it, as a training does."""
    register(settings, version, trained_as_of)
    champion = next((model.model_version for model in list_models(settings) if model.state == CHAMPION), None)
    decision = settle(settings, version, ruling, None, champion)
    assert decision is not None
    return decision


def states(settings: Settings) -> dict[str, str]:
    return {model.model_version: model.state for model in list_models(settings)}

"""Decisions on models: who becomes champion, who is refused, and why. Each is one transaction with its numbers."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, select

from propensity.errors import ArtifactError, GateError, UnknownModelError
from propensity.models.gate import CAVEAT
from propensity.models.registry import CHALLENGER, CHAMPION, REFUSED, RETIRED, RegisteredModel, find_model
from propensity.warehouse.catalogue import GateDecision, ModelVersion
from propensity.warehouse.catalogue_session import catalogue_session

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from propensity.models.gate import Ruling, WindowFigures
    from propensity.settings import Settings

PROMOTED, FORCED, SHELVED, WITHDRAWN, RESTORED = "promoted", "forced", "shelved", "withdrawn", "restored"
CHAMPIONING: Final = (PROMOTED, FORCED, RESTORED)
"""Verdicts that made their model the champion."""


@dataclass(frozen=True)
class Decision:
    """A stored decision; see `catalogue.GateDecision`.

    Attributes:
        model_version: The model it is about.
        decided_timestamp: When, UTC; later than that of every decision before it in the region.
        verdict: promoted, forced, shelved, refused, withdrawn or restored.
        window_as_of: Start of the label window judged on; None for a decision by hand.
        previous_champion: Champion until then; None when there was none.
        reason: In one line.
        figures: The numbers: `window` (WindowFigures), `checks` (every rule), `gate` (its settings); empty by hand.
    """

    model_version: str
    decided_timestamp: datetime
    verdict: str
    window_as_of: datetime | None
    previous_champion: str | None
    reason: str
    figures: dict[str, Any] = field(repr=False)


def list_decisions(settings: Settings, model_version: str | None = None) -> list[Decision]:
    """Return the region's decisions, oldest first, of one model if named. Read-only."""
    query = select(GateDecision).where(GateDecision.region == settings.region).order_by(GateDecision.decided_timestamp)
    if model_version is not None:
        query = query.where(GateDecision.model_version == model_version)
    with catalogue_session(settings) as session:
        return [_decision(row) for row in session.scalars(query)]


def settle(
    settings: Settings, model_version: str, ruling: Ruling, figures: WindowFigures | None, compared_with: str | None
) -> Decision | None:
    """Store a ruling on a challenger and act on it: it becomes champion, is shelved or refused.

    A challenger that passes, but was trained as of an earlier instant than the champion, is shelved: it may score what
    lies before the champion's training.

    Args:
        figures: What was ruled on; None when nothing could be measured.
        compared_with: The champion the figures hold; None when there was none.

    Returns:
        The decision, or None when meanwhile another model became champion: judge again. One that was settled before
        keeps its decision, which comes back.

    Raises:
        UnknownModelError: There is no such model.
        GateError: It is no challenger, and no decision on it is stored.

    Side effects: one transaction on the catalogue.
    """
    with catalogue_session(settings) as session:
        challenger = _row(session, settings, model_version)
        champion = _champion(session, settings)
        if challenger.state != CHALLENGER:
            found = _decisions_of(session, settings, model_version)
            if not found:
                raise GateError(
                    f"Model {model_version!r} is {challenger.state}, not a challenger. See: propensity models list"
                )
            return _decision(found[-1])
        if compared_with != (None if champion is None else champion.model_version):
            return None
        if not ruling.passed:
            challenger.state, verdict = REFUSED, REFUSED
        elif champion is not None and champion.trained_as_of > challenger.trained_as_of:
            challenger.state, verdict = RETIRED, SHELVED
        else:
            verdict = PROMOTED
            _crown(challenger, champion)
        described = {
            "window": None if figures is None else figures.to_json(),
            "checks": [asdict(check) for check in ruling.checks],
            "caveat": CAVEAT,
        }
        return _store(
            session,
            settings,
            model_version,
            verdict,
            previous=champion,
            reason=ruling.reason,
            window_as_of=None if figures is None else figures.window_as_of,
            figures=described | {"gate": settings.gate.model_dump(mode="json")},
        )


def promote(settings: Settings, model_version: str, *, force: bool = False, reason: str | None = None) -> Decision:
    """Make a model the champion by hand; the champion retires.

    Args:
        model_version: A retired model; with `force` also one that was refused or not judged yet.
        force: Overrule the gate.
        reason: Stored with the decision; needed with `force`.

    Raises:
        UnknownModelError: There is no such model.
        ArtifactError: Its artifact is lost.
        GateError: It's the champion already, or the gate stands against it and `force` or the reason is missing.

    Side effects: one transaction on the catalogue. The next scoring takes it; nothing is scored here.
    """
    reason = (reason or "").strip()
    _has_artifact(find_model(settings, model_version))
    with catalogue_session(settings) as session:
        row, champion = _row(session, settings, model_version), _champion(session, settings)
        if row.state == CHAMPION:
            raise GateError(f"Model {model_version!r} is the champion already. See: propensity models list")
        against = row.state in (REFUSED, CHALLENGER)
        if against and not (force and reason):
            found = _decisions_of(session, settings, model_version)
            why = (
                f"was {found[-1].verdict}: {found[-1].reason}"
                if found
                else "has not been judged: propensity run does it"
            )
            raise GateError(
                f"Model {model_version!r} {why}. To promote it all the same: "
                f"propensity models promote {model_version} --force --reason TEXT"
            )
        _crown(row, champion)
        return _store(
            session,
            settings,
            model_version,
            FORCED if against else PROMOTED,
            previous=champion,
            reason=f"promoted by hand: {reason}" if reason else "promoted by hand",
        )


def rollback(settings: Settings, reason: str | None = None) -> Decision:
    """Make the previous champion the champion again; the one it replaces is refused, so it doesn't score by default.

    Returns:
        The decision on the model that is champion now; one on the model that was is stored with it.

    Raises:
        UnknownModelError: There is no champion.
        GateError: There was none before it that could score.
        ArtifactError: The previous champion's artifact is lost.

    Side effects: one transaction on the catalogue. The next scoring takes the champion; nothing is scored here.
    """
    said = f"rolled back by hand{': ' + reason.strip() if reason and reason.strip() else ''}"
    current = find_model(settings)
    with catalogue_session(settings) as session:
        champion = _champion(session, settings)
        previous = _previous_champion(session, settings)
        if champion is None or previous is None or champion.model_version != current.model_version:
            raise GateError(
                f"Region {settings.region!r} has no earlier champion to go back to than {current.model_version!r}. "
                "Promote a model by name: propensity models promote VERSION. See: propensity models list"
            )
        directory = settings.home / previous.artifact
        _has_artifact_at(previous.model_version, directory)
        champion.state, previous.state = REFUSED, CHAMPION
        _store(session, settings, champion.model_version, WITHDRAWN, previous=champion, reason=said)
        return _store(session, settings, previous.model_version, RESTORED, previous=champion, reason=said)


def _previous_champion(session: Session, settings: Settings) -> ModelVersion | None:
    """Walk back through the champions to the newest that is retired: neither the current one nor withdrawn."""
    for decision in reversed(_decisions_of(session, settings)):
        if decision.verdict in CHAMPIONING and decision.previous_champion is not None:
            row = session.get(ModelVersion, (settings.region, decision.previous_champion))
            if row is not None and row.state == RETIRED:
                return row
    return None


def _crown(row: ModelVersion, champion: ModelVersion | None) -> None:
    if champion is not None:
        champion.state = RETIRED
    row.state = CHAMPION


def _row(session: Session, settings: Settings, model_version: str) -> ModelVersion:
    row = session.get(ModelVersion, (settings.region, model_version))
    if row is None:
        raise UnknownModelError(f"Unknown model {model_version!r}. See: propensity models")
    return row


def _champion(session: Session, settings: Settings) -> ModelVersion | None:
    query = select(ModelVersion).where(ModelVersion.region == settings.region, ModelVersion.state == CHAMPION)
    return session.scalars(query).first()


def _decisions_of(session: Session, settings: Settings, model_version: str | None = None) -> list[GateDecision]:
    query = select(GateDecision).where(GateDecision.region == settings.region)
    if model_version is not None:
        query = query.where(GateDecision.model_version == model_version)
    return list(session.scalars(query.order_by(GateDecision.decided_timestamp)))


def _store(
    session: Session,
    settings: Settings,
    model_version: str,
    verdict: str,
    *,
    previous: ModelVersion | None,
    reason: str,
    window_as_of: datetime | None = None,
    figures: dict[str, Any] | None = None,
) -> Decision:
    session.flush()
    newest = session.scalar(
        select(func.max(GateDecision.decided_timestamp)).where(GateDecision.region == settings.region)
    )
    now = datetime.now(UTC)
    if newest is not None:  # the order of decisions outlives a clock that was set back
        now = max(now, newest.astimezone(UTC) + timedelta(microseconds=1))
    row = GateDecision(
        region=settings.region,
        model_version=model_version,
        decided_timestamp=now,
        verdict=verdict,
        window_as_of=window_as_of,
        previous_champion=None if previous is None else previous.model_version,
        reason=reason,
        figures=json.dumps(figures or {}, allow_nan=False),
    )
    session.add(row)
    session.flush()
    return _decision(row)


def _has_artifact(model: RegisteredModel) -> None:
    _has_artifact_at(model.model_version, model.artifact)


def _has_artifact_at(model_version: str, directory: Any) -> None:
    if not directory.is_dir():
        raise ArtifactError(
            f"The artifact of model {model_version!r} is lost: {directory}. Restore it, or choose another model. "
            "See: propensity models list"
        )


def _decision(row: GateDecision) -> Decision:
    return Decision(
        row.model_version,
        row.decided_timestamp.astimezone(UTC),
        row.verdict,
        None if row.window_as_of is None else row.window_as_of.astimezone(UTC),
        row.previous_champion,
        row.reason,
        json.loads(row.figures),
    )

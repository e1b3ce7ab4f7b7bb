"""Locating each spine row's newest feature row, by keys and event times alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from propensity.feast_duckdb import dialect
from propensity.feast_duckdb.request import ViewRequest, Window
from propensity.feast_duckdb.spine import Spine, unique_name


def span_of(table: str, column: str) -> tuple[Window, list[str]]:
    """Measure a table's instants into variables, which prune row groups where a subquery would not."""
    statements = [
        f"SET VARIABLE {table}_{bound} = (SELECT {function}({column}) FROM {table})"
        for bound, function in (("lower", "min"), ("upper", "max"))
    ]
    return Window(f"getvariable('{table}_lower')", f"getvariable('{table}_upper')"), statements


@dataclass(frozen=True)
class Instants:
    """The spine as one view's keys see it: temporary tables of numbered keys and of (id, event_us, pos)."""

    entities: str
    table: str
    statements: tuple[str, ...]


def instants_of(spine: Spine, ours: tuple[str, ...]) -> Instants:
    entities, table = unique_name("entities"), unique_name("instants")
    names = [f"k{place}" for place in range(len(ours))]
    statements = (
        dialect.render(
            "entities",
            entities=entities,
            spine=spine.table,
            key_names="".join(f"{name}, " for name in names),
            keys=", ".join(f"{column} AS {name}" for name, column in zip(names, ours, strict=True)) or "NULL",
        ),
        dialect.render(
            "instants",
            instants=table,
            entities=entities,
            spine=spine.table,
            matching=_matching(ours),
        ),
    )
    return Instants(entities, table, statements)


def _matching(columns: Sequence[str]) -> str:
    return dialect.conjunction(f"{column} = entity.k{place}" for place, column in enumerate(columns))


def locate(
    request: ViewRequest, instants: Instants, located: str, span: Window, window: Window, *, known_only: bool
) -> list[str]:
    relation, event_us, created_us = request.relation, request.event_us(), request.created_us()
    candidates, newest = unique_name("candidates"), unique_name("newest")
    within = partial(relation.between, request.timestamp)
    ttl = request.ttl_us
    parts: dict[str, str] = {
        "candidates": candidates,
        "newest": newest,
        "located": located,
        "entities": instants.entities,
        "instants": instants.table,
        "source": relation.from_sql,
        "matching": _matching([relation.column(column) for column in request.keys.values()]),
        "event_us": event_us,
        "created_us": created_us,
        "place": relation.place(),
        "place_number": relation.place_number(),
        "winner": ", ".join(f"{part} AS {name}" for name, part in relation.places_of("winner").items()),
        # Feast's ttl is inclusive, so the edge row must match.
        "alive": "TRUE" if ttl is None else f"candidate.t >= instant.event_us - {ttl}",
    }
    if known_only and request.created:
        known_us = f"greatest({event_us}, {created_us})"
        created_by = partial(relation.between, request.created, None)  # a NULL creation is never known
        after = dialect.conjunction(
            [within(window.lower, window.upper), created_by(span.upper), f"{known_us} > {span.lower}"]
        )
        parts |= {
            "known_us": known_us,
            "oldest_us": str(span.lower),
            "until_spine": dialect.conjunction([within(window.lower, span.lower), created_by(span.lower)]),
            "within_spine": after,
        }
        return [
            dialect.render("candidates_known", **parts),
            dialect.render("located_known", **parts),
            f"DROP TABLE {candidates}",
        ]
    found, measured = span_of(newest, "t")
    parts |= {
        "until_spine": within(window.lower, span.lower),
        "within_spine": within(window.lower, window.upper, after_us=span.lower),
        "within_newest": within(found.lower, found.upper),
    }
    return [
        dialect.render("candidates", **parts),
        dialect.render("newest", **parts),
        f"DROP TABLE {candidates}",
        *measured,
        dialect.render("located", **parts),
        f"DROP TABLE {newest}",
    ]

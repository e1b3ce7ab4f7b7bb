"""Point-in-time retrieval as SQL: locate each spine row's newest feature row by key, then fetch the winners.

The ASOF join carries keys and row numbers only, so its cost grows with rows, not with rows × snapshots, and
wide columns (lists) are read once, for winning rows alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from propensity.feast_duckdb import dialect, types
from propensity.feast_duckdb.errors import EntityFrameError
from propensity.feast_duckdb.relation import Relation
from propensity.feast_duckdb.spine import EVENT_TIMESTAMP, Spine, unique_name

_NEVER_CREATED = "(-9223372036854775807)"  # rows without a creation time lose every tie
_NUMBERS = (
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "UTINYINT",
    "USMALLINT",
    "UINTEGER",
    "UBIGINT",
    "DOUBLE",
)


@dataclass(frozen=True)
class Script:
    """Statements to run in order on one connection, and the query that then gives the rows.

    Attributes:
        statements: set-up.
        query: the result; its columns come in the order of `names`.
        names: the result's column names, free of the rules that SQL has for names.
    """

    statements: tuple[str, ...]
    query: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class ViewRequest:
    """What one feature view adds to the result.

    Attributes:
        view: its name, for messages.
        relation: where its rows are.
        keys: spine column -> source column.
        timestamp, created: source columns of the event time and, if any, of the creation time.
        features: (output name, source column, declared Feast type), in output order.
        ttl_us: for how many microseconds a row lives, its last instant included; None for ever.
    """

    view: str
    relation: Relation
    keys: dict[str, str]
    timestamp: str
    created: str | None
    features: tuple[tuple[str, str, Any], ...]
    ttl_us: int | None

    def event_us(self) -> str:
        """Write the event time in microseconds."""
        return self.relation.epoch_us(self.timestamp)

    def created_us(self) -> str:
        """Write the creation time in microseconds."""
        if self.created is None:
            return _NEVER_CREATED
        return f"coalesce({self.relation.epoch_us(self.created)}, {_NEVER_CREATED})"

    def require(self) -> None:
        """Check that the source has each column that the view names.

        Raises:
            MissingColumnError: it hasn't.
        """
        role = f"needed by feature view {self.view!r}"
        created = [self.created] if self.created else []
        features = [source for _, source, _ in self.features]
        self.relation.require([*self.keys.values(), self.timestamp, *created, *features], role)


@dataclass(frozen=True)
class Window:
    """The event times that can matter to a view, as SQL in microseconds; no `lower` reaches back for ever."""

    lower: str | None
    upper: str


def join_script(
    requests: Sequence[ViewRequest], spine: Spine, *, known_only: bool, window: Window | None = None
) -> Script:
    """Write the join of a spine with any number of views.

    Args:
        requests: the views; those without files give NULL of their declared types.
        spine: the rows to join to.
        known_only: leave out rows created after the spine row's event time (Feast's
            filter_by_created_timestamp); views without a created column are not affected.
        window: event times of a retrieval by date range; otherwise they follow from the spine and the ttl.

    Raises:
        EntityFrameError: names or key types can't be joined.
    """
    _require_distinct_names(spine, requests)
    span, statements = _span_of(spine.table, "event_us")
    instants: dict[tuple[str, ...], _Instants] = {}
    columns = [f"{spine.column(name)} AS {dialect.name(name)}" for name in spine.names]
    joins: list[str] = []
    for index, request in enumerate(requests):
        spine.require(tuple(request.keys))
        if request.relation.is_empty:
            columns += [f"NULL::{types.duckdb_type(kind)} AS {dialect.name(out)}" for out, _, kind in request.features]
            continue
        oldest = f"({span.lower} - {request.ttl_us})" if request.ttl_us is not None else None
        view_window = window or Window(oldest, span.upper)
        staged, staging = _numbered(request, view_window)
        keys = tuple(_spine_key(request, spine, key) for key in request.keys)
        if keys not in instants:  # views of one entity share its numbers
            instants[keys] = _instants(spine, keys)
            statements += instants[keys].statements
        located = unique_name("located")
        winners, measured = _span_of(located, "t")
        locating = _locate(staged, instants[keys], located, span, view_window, known_only=known_only)
        statements += [*staging, *locating, *measured]
        joins.append(_fetch(staged, located, winners, index))
        columns += [
            f"view_{index}.f{place} AS {dialect.name(out)}" for place, (out, _, _) in enumerate(staged.features)
        ]
    query = dialect.render("result", columns=", ".join(columns), spine=spine.table, joins="\n".join(joins))
    names = (*spine.names, *(out for request in requests for out, _, _ in request.features))
    return Script((*spine.statements, *statements), query, names)


def _require_distinct_names(spine: Spine, requests: Sequence[ViewRequest]) -> None:
    seen = set(spine.names)
    for request in requests:
        for out, _, _ in request.features:
            if out in seen:
                raise EntityFrameError(
                    f"Feature {out!r} of view {request.view!r} has the name of another column in the result. "
                    "Use full_feature_names=True, or rename the entity frame's column."
                )
            seen.add(out)


def _numbered(request: ViewRequest, window: Window) -> tuple[ViewRequest, list[str]]:
    relation = request.relation
    if relation.row_id:
        return request, []
    created = [request.created] if request.created else []
    features = [source for _, source, _ in request.features]
    kept = [*request.keys.values(), request.timestamp, *created, *features]
    within = relation.between(request.timestamp, window.lower, window.upper)
    staged, statements = relation.staged(unique_name("staged"), kept, within)
    return replace(request, relation=staged), statements


def _span_of(table: str, column: str) -> tuple[Window, list[str]]:
    """Measure a table's instants into variables, which prune row groups where a subquery would not."""
    statements = [
        f"SET VARIABLE {table}_{bound} = (SELECT {function}({column}) FROM {table})"
        for bound, function in (("lower", "min"), ("upper", "max"))
    ]
    return Window(f"getvariable('{table}_lower')", f"getvariable('{table}_upper')"), statements


@dataclass(frozen=True)
class _Instants:
    """The spine as one view's keys see it: temporary tables of numbered keys and of (id, event_us, pos)."""

    entities: str
    table: str
    statements: tuple[str, ...]


def _instants(spine: Spine, ours: tuple[str, ...]) -> _Instants:
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
    return _Instants(entities, table, statements)


def _matching(columns: Sequence[str]) -> str:
    return dialect.conjunction(f"{column} = entity.k{place}" for place, column in enumerate(columns))


def _locate(
    request: ViewRequest, instants: _Instants, located: str, span: Window, window: Window, *, known_only: bool
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
    found, measured = _span_of(newest, "t")
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


def _spine_key(request: ViewRequest, spine: Spine, key: str) -> str:
    ours, theirs = spine.kind(key), request.relation.columns[request.keys[key]]
    if ours.strip('"') == "NULL":
        return f"CAST({spine.column(key)} AS {theirs})"
    if {ours, theirs} & {"VARCHAR"} and {ours, theirs} & set(_NUMBERS):
        raise EntityFrameError(
            f"Join key {key!r} is {ours} in the entity frame and {theirs} in {request.relation.label}. "
            "Convert the frame's column."
        )
    return spine.column(key)


def _fetch(request: ViewRequest, located: str, winners: Window, index: int) -> str:
    relation = request.relation
    features = [relation.column(source) for _, source, _ in request.features] or ["NULL"]
    return dialect.render(
        "fetch",
        index=str(index),
        located=located,
        columns=", ".join(f"wide.f{place}" for place in range(len(features))),
        features=", ".join(f"{column} AS f{place}" for place, column in enumerate(features)),
        source=relation.from_sql,
        row_id=", ".join(f"{column} AS {name}" for name, column in relation.place_names().items()),
        row_id_names=", ".join(relation.place_names()),
        within=relation.between(request.timestamp, winners.lower, winners.upper),
    )


def spine_of_range(requests: Sequence[ViewRequest], window: Window) -> Spine:
    """Make a spine of every (keys, event time) that occurs in the views within a date range.

    Views with fewer keys give NULL for the others, and match no other view there.
    """
    keys = tuple(dict.fromkeys(key for request in requests for key in request.keys))
    names = (EVENT_TIMESTAMP, *keys)
    kinds = dict.fromkeys(keys, "VARCHAR")
    parts = [_no_rows(keys)]
    for request in requests:
        relation = request.relation
        if relation.is_empty:
            continue
        kinds |= {key: relation.columns[column] for key, column in request.keys.items()}
        columns = [f"{relation.column(column)} AS e{names.index(key)}" for key, column in request.keys.items()]
        selected = ", ".join([f"{relation.epoch_us(request.timestamp)} AS event_us", *columns])
        within = relation.between(request.timestamp, window.lower, window.upper)
        present = [f"{relation.column(column)} IS NOT NULL" for column in request.keys.values()]
        condition = dialect.conjunction([within, *present])
        parts.append(f"SELECT {selected} FROM {relation.from_sql} AS src WHERE {condition}")
    # Without rows of its own, the first part only fixes the order of columns.
    table = unique_name("spine")
    order = ", ".join(["event_us", *(f"e{place}" for place in range(1, len(names)))])
    create = dialect.render("spine_of_range", spine=table, order=order, rows=" UNION ALL BY NAME ".join(parts))
    return Spine(table, names, ("TIMESTAMP WITH TIME ZONE", *(kinds[key] for key in keys)), (create,))


def _no_rows(keys: Sequence[str]) -> str:
    columns = ["NULL::BIGINT AS event_us", *(f"NULL AS e{place}" for place in range(1, len(keys) + 1))]
    return f"SELECT {', '.join(columns)} WHERE FALSE"

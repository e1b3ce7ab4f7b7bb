"""Reading propensities: a customer's categories from the online store, a category's customers by SQL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import duckdb

from propensity import columns
from propensity.errors import (
    InputError,
    LookupFailedError,
    MissingSnapshotError,
    SettingsError,
    UnknownCustomerError,
    WarehouseError,
    did_you_mean,
)
from propensity.features.feature_store import open_feature_store
from propensity.warehouse.categories import load_categories
from propensity.warehouse.lake import Lake
from propensity.warehouse.publications import age_order, publications
from propensity.warehouse.regions import check_region
from propensity.warehouse.sql_views import sql_connection

if TYPE_CHECKING:
    import pandas as pd

    from propensity.settings import Settings
    from propensity.warehouse.runs import RunRecord


_ATTEMPTS: Final = 5


@dataclass(frozen=True)
class TopCategory:
    """One of a customer's likeliest categories.

    Attributes:
        category: Its name.
        propensity: Calibrated probability that the customer acts in it within the horizon.
        as_of: Start of that horizon: how old the score is.
        model_version: Which model said so.
    """

    category: str
    propensity: float
    as_of: datetime
    model_version: str


def top_categories(settings: Settings, customer_id: str, n: int = 5) -> list[TopCategory]:
    """Return the customer's `n` likeliest categories, likeliest first, from Feast's online store. Read-only.

    Raises:
        UnknownCustomerError: The online store has no score for the customer.
        SettingsError: `n` is below 1 or above the `top_k` that scoring kept.
        MissingSnapshotError: Nothing is online yet.
    """
    if not 1 <= n <= settings.top_k:
        raise SettingsError(
            f"Scoring keeps the {settings.top_k} likeliest categories; can't give {n}. Choose 1 to {settings.top_k}, "
            "or raise PROPENSITY_TOP_K and score again."
        )
    _require_publication(settings, online=True)
    store = open_feature_store(settings)
    answer = store.get_online_features(
        features=store.get_feature_service(columns.SERVING_SERVICE), entity_rows=[{columns.CUSTOMER_ID: customer_id}]
    )
    values = answer.to_dict(include_event_timestamps=True)
    indices = values[columns.TOP_CATEGORIES][0]
    if indices is None:
        raise UnknownCustomerError(
            f"Customer {customer_id!r} of region {settings.region!r} has no score online. Known ones: "
            'propensity sql "SELECT DISTINCT customer_id FROM propensity_latest LIMIT 5"'
        )
    names = load_categories(settings).names
    as_of = _instant(values[columns.TOP_CATEGORIES + "__ts"][0])
    version = values[columns.MODEL_VERSION][0]
    return [
        TopCategory(names[index], float(propensity), as_of, version)
        for index, propensity in zip(indices[:n], values[columns.TOP_PROPENSITIES][0], strict=False)
    ]


def audience(
    settings: Settings, category: str, n: int = 100, *, minimum: float = 0.0, event_type: str | None = None
) -> pd.DataFrame:
    """Return the `n` customers likeliest to act in a category, likeliest first, from the newest publication. Read-only.

    Columns: customer_id, propensity, as_of, model_version. Ties are in the order of customer_id.

    Args:
        minimum: Leave out customers below this propensity.
        event_type: How likely they do this or something of more commitment; by default anything the labels count.

    Raises:
        UnknownCategoryError: The region has no such category.
        SettingsError: `n` is below 1.
        LookupFailedError: The scores aren't about such an event type, or the output form they were published in leaves
            out customers who may belong to the audience.
        MissingSnapshotError: Nothing was published yet.
    """
    if n < 1:
        raise SettingsError(f"An audience of {n} customers can't be given. Choose 1 or more.")
    check_region(settings)
    index = load_categories(settings).index_of(category, settings.region)
    _require_publication(settings)
    newest = _newest_publication(settings)
    above = 0 if event_type is None else _events_below(settings, newest, event_type)
    output = newest.detail.get("output", {"form": "full"})
    form, threshold = output["form"], output.get("threshold", 0.0)
    if form == "top_k" or (form == "above_threshold" and above):
        kept = "each customer's likeliest categories only" if form == "top_k" else "no propensities by event type"
        raise _incomplete(settings, newest, f"it keeps {kept}")
    first = f"{above - 1} * len(propensities) + 1"
    of_pair = f"class_propensities[{first} + position]" if above else "propensities[position + 1]"
    if form == "above_threshold":
        of_pair = "above_propensities[list_position(above_categories, category_index)]"
    query = f"""
        SELECT customer_id, {of_pair} AS propensity, event_timestamp AS as_of, model_version
        FROM propensity_latest
        JOIN model_categories USING (region, model_version)
        WHERE region = $region AND category_index = $index AND {of_pair} >= $minimum
        ORDER BY propensity DESC, customer_id
        LIMIT $n
        """
    values = {"region": settings.region, "index": index, "minimum": minimum, "n": n}
    found = _answer(settings, lambda connection: connection.execute(query, values).df())
    if len(found) < n and minimum < threshold:
        kept = f"propensities of {threshold} or more only, which {len(found)} customers have"
        raise _incomplete(settings, newest, f"it keeps {kept}: ask for no more, or for a minimum of {threshold}")
    return found


def run_sql(settings: Settings, query: str) -> pd.DataFrame:
    """Run a query over the catalogue's tables and the views; return the result. Read-only as to the home.

    Raises:
        duckdb.Error: The query is wrong.
        InputError: It is a statement that returns nothing, such as an INSERT, and would be lost.
    """

    def ask(connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
        statements = connection.extract_statements(query)
        if not statements or not _answers(statements[-1]):
            raise InputError(
                "That is no query: SQL here works on a copy of the catalogue, so what it changes is lost. "
                'See the tables: propensity sql "SHOW TABLES"'
            )
        return connection.execute(query).df()

    return _answer(settings, ask)


def _answer(settings: Settings, ask: Callable[[duckdb.DuckDBPyConnection], pd.DataFrame]) -> pd.DataFrame:
    """Ask, and again where publications were replaced meanwhile and their files deleted.

    The catalogue is a copy, so it may name a run as the newest that is gone when its files are looked for.

    Raises:
        WarehouseError: They are replaced faster than this query reads them.
    """
    lost: set[str] = set()  # also in a newer copy of the catalogue: somebody has removed them by hand
    for _ in range(_ATTEMPTS):
        with sql_connection(settings) as connection:
            try:
                answer = ask(connection)
            except duckdb.IOException as error:
                if "No such file" not in str(error):
                    raise
                continue
            gone = _gone(settings, connection)
        if gone <= lost:
            return answer
        lost |= gone
    raise WarehouseError(
        f"The runs that this query reads expired {_ATTEMPTS} times while it ran. Ask again, or keep them for longer: "
        "PROPENSITY_RETENTION__RUNS_PER_AS_OF"
    )


def _gone(settings: Settings, connection: duckdb.DuckDBPyConnection) -> set[str]:
    """Return the publications that the views of the connection read, and that have no directory in the lake."""
    newest = connection.execute(
        """
        SELECT run_id, region, as_of
        FROM runs
        WHERE kind = 'scoring' AND state = 'published'
        QUALIFY row_number() OVER (PARTITION BY region, as_of ORDER BY created_timestamp DESC, run_id) = 1
        """
    ).fetchall()
    lake = Lake(settings.lake)
    return {
        run_id for run_id, region, as_of in newest
        if not lake.has_run(columns.CATEGORY_PROPENSITY, region, run_id, as_of)
    }  # fmt: skip


def _answers(statement: duckdb.Statement) -> bool:
    expected = statement.expected_result_type
    changes = duckdb.ExpectedResultType.CHANGED_ROWS in expected
    return statement.type == duckdb.StatementType.COPY or (
        duckdb.ExpectedResultType.QUERY_RESULT in expected and not changes
    )


def _require_publication(settings: Settings, *, online: bool = False) -> None:
    check_region(settings)
    published = publications(settings)
    if not any(run.detail.get("online") or not online for run in published):
        raise MissingSnapshotError(
            f"Nothing {'is online' if published else 'was published'} for region {settings.region!r} yet. "
            "Score: propensity run --as-of DATE"
        )


def _newest_publication(settings: Settings) -> RunRecord:
    return max(publications(settings), key=age_order)


def _incomplete(settings: Settings, newest: RunRecord, why: str) -> LookupFailedError:
    as_of = "" if newest.as_of is None else newest.as_of.isoformat()
    return LookupFailedError(
        f"The audience isn't whole in run {newest.run_id} of region {settings.region!r}, whose output form is "
        f"{newest.detail['output']['form']!r}: {why}. Or score again: PROPENSITY_SCORING__OUTPUT=full propensity score "
        f"--as-of {as_of}"
    )


def _events_below(settings: Settings, newest: RunRecord, event_type: str) -> int:
    """Return how many event types of the publication's labels are of less commitment than this one."""
    known = newest.detail.get("event_types", [])
    if event_type not in known:
        raise LookupFailedError(
            f"The scores of region {settings.region!r} aren't about {event_type!r}.{did_you_mean(event_type, known)} "
            + (f"They are about: {', '.join(known)}." if known else "Score again: propensity score --help")
        )
    return int(known.index(event_type))


def _instant(value: Any) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromtimestamp(int(value), UTC)

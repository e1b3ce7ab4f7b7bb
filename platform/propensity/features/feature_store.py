"""Opening and applying the Feast repository for the configured home and region."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from propensity.errors import WarehouseError
from propensity.settings import project_root
from propensity.spark_session import check_spark, spark_options, use_own_python
from propensity.warehouse.runs import fingerprint

if TYPE_CHECKING:
    from feast import FeatureStore

    from propensity.settings import Settings


SOURCES: Final = {"duckdb": "DuckDBSource", "spark": "SparkLakeSource"}
"""Class of the definitions' sources, by the setting offline_store."""


def repository() -> Path:
    """Return `feature_repo/`.

    Raises:
        WarehouseError: It isn't in the project root.
    """
    path = project_root() / "feature_repo"
    if not (path / "feature_store.yaml").is_file():
        raise WarehouseError(f"{path} holds no feature_store.yaml. Set PROPENSITY_PROJECT to the checkout.")
    return path


def store_options(settings: Settings) -> dict[str, Any]:
    """Return `feature_store.yaml` with the project and paths of the configured region and home.

    Paths stay relative to the repository where the home lies on the same file system, so nothing absolute is stored.

    Raises:
        RuntimeMissingError: The setting offline_store is spark, and pyspark or Java isn't installed.
    """
    options: dict[str, Any] = yaml.safe_load((repository() / "feature_store.yaml").read_text())
    home = Path(os.path.relpath(settings.home, repository()))
    options["project"] = settings.feast_project
    options["registry"]["path"] = str(home / "feast" / "registry.pb")
    if settings.offline_store == "spark":
        options["offline_store"] = _spark_store(settings, home)
    else:
        options["offline_store"] |= {
            "base_path": str(home),
            "threads": settings.threads,
            "memory_limit": settings.memory_limit,
        }
    options["online_store"]["path"] = str(home / "feast" / "online_store.db")
    return options


def _spark_store(settings: Settings, home: Path) -> dict[str, Any]:
    check_spark()
    return {
        "type": "propensity.feast_spark.store.SparkLakeOfflineStore",
        "base_path": str(home),
        "staging_location": str(settings.home / "tmp"),
        "spark_conf": {
            "spark.app.name": f"propensity feast {settings.region}",
            "spark.sql.session.timeZone": "UTC",
            "spark.sql.execution.arrow.pyspark.enabled": "true",
            **spark_options(settings),
        },
    }


def open_feature_store(settings: Settings) -> FeatureStore:
    """Open Feast's store of the configured region. Read-only until something is written through it.

    Raises:
        WarehouseError: `feast apply` was never run for this home, or for another offline store.
        RuntimeMissingError: The setting offline_store is spark, and pyspark or Java isn't installed.

    Side effects: sets the process's time zone to UTC: Feast's sqlite store reads event times as local time, so in
    New York every score would look four hours older than it is. With Spark, `use_own_python`.
    """
    from feast import FeatureStore  # noqa: PLC0415 - seconds that most commands needn't wait for

    os.environ["TZ"] = "UTC"
    time.tzset()
    if settings.offline_store == "spark":
        use_own_python()  # Feast starts the session, and scoring may go on with it
    if not _registry(settings).is_file():
        raise WarehouseError(f"There is no Feast registry in {settings.home}. Create it: propensity apply")
    with _rendered(settings) as options:
        # Not FeatureStore(config=…): that takes the working directory for the repository.
        store = FeatureStore(repo_path=str(repository()), fs_yaml_file=options)
    applied = {type(source).__name__ for source in store.list_data_sources()}
    for name, source in SOURCES.items():
        if name != settings.offline_store and source in applied:
            raise WarehouseError(
                f"Feast's registry in {settings.home} was applied with offline_store = {name}, and the setting is "
                f"{settings.offline_store}. Apply it again: propensity apply"
            )
    return store


def apply_repository(settings: Settings) -> bool:
    """Run `feast apply` unless the definitions, project and home are as they were; return whether it ran.

    Raises:
        WarehouseError: Feast refused; the message carries its last line.
        RuntimeMissingError: The setting offline_store is spark, and pyspark or Java isn't installed.

    Side effects: writes Feast's registry (by one rename) and creates online tables.
    """
    sources = {path.name: path.read_text() for path in sorted(repository().glob("*.py"))}
    # With two classes the state is the one it was before there were more.
    classes = () if settings.labels.n_classes == 2 else (settings.labels.event_types,)
    state = fingerprint(store_options(settings), sources, settings.online_full_vectors, settings.region, *classes)
    marker = settings.home / "feast" / f"applied-{settings.region}"
    if marker.is_file() and _registry(settings).is_file() and marker.read_text() == state:
        return False
    marker.parent.mkdir(parents=True, exist_ok=True)
    with feast_command(settings, ["apply"]) as (command, environment):
        done = subprocess.run(  # noqa: S603 - our own interpreter and arguments
            command, env=environment, capture_output=True, text=True, check=False
        )
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
        raise WarehouseError(f"feast apply failed: {last} See it whole: propensity feast apply")
    marker.write_text(state)
    return True


@contextmanager
def feast_command(settings: Settings, arguments: list[str]) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Yield a command line and environment that run Feast's own CLI with these settings.

    The repository's definitions read the settings from the environment, so flags are handed on there.
    """
    environment = os.environ | {
        "PROPENSITY_HOME": str(settings.home),
        "PROPENSITY_REGION": settings.region,
        "PROPENSITY_ONLINE_FULL_VECTORS": str(settings.online_full_vectors),
        "PROPENSITY_OFFLINE_STORE": settings.offline_store,
        "PROPENSITY_LABELS__EVENT_TYPES": json.dumps(settings.labels.event_types),
        "TZ": "UTC",
        "FEAST_USAGE": "False",
        "PYTHONWARNINGS": "ignore",
    }
    with _rendered(settings) as options:
        yield (
            [sys.executable, "-m", "feast.cli.cli", "-c", str(repository()), "-f", str(options), *arguments],
            environment,
        )


@contextmanager
def _rendered(settings: Settings) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="propensity-feast-") as directory:
        options = Path(directory) / "feature_store.yaml"
        options.write_text(yaml.safe_dump(store_options(settings)))
        yield options


def _registry(settings: Settings) -> Path:
    return settings.home / "feast" / "registry.pb"

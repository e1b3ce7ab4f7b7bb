"""Where a source's data lies: paths relative to the repository, never to the working directory."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path
from typing import Any

from propensity.feast_duckdb.errors import SourceDefinitionError

_REMOTE = re.compile(r"^[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_WILDCARD = re.compile(r"[*?\[]")


def is_remote(path: str) -> bool:
    """Tell whether a path is a URL, such as s3://…, which DuckDB resolves by itself."""
    return bool(_REMOTE.match(path))


def has_wildcard(path: str) -> bool:
    """Tell whether a path is a glob."""
    return bool(_WILDCARD.search(path))


def repo_path(config: Any) -> Path:
    """Give the Feast repository's directory, absolute.

    Raises:
        SourceDefinitionError: the configuration has none, so that relative paths would mean nothing.
    """
    if config.repo_path is None:
        raise SourceDefinitionError(
            "The Feast configuration has no repo_path, so relative paths can't be resolved. "
            "Use FeatureStore(repo_path=…), RepoConfig(repo_path=…), or an absolute offline_store.base_path."
        )
    return Path(config.repo_path).absolute()


def base_path(config: Any) -> Path:
    """Give the directory that relative source paths start from: `offline_store.base_path`."""
    base = Path(getattr(config.offline_store, "base_path", ".") or ".").expanduser()
    return base if base.is_absolute() else Path(_normal(repo_path(config) / base))


def absolute(base: Path, path: str) -> str:
    """Resolve a path or glob against `base`; URLs and absolute paths stay."""
    if is_remote(path) or Path(path).is_absolute():
        return path
    return _normal(base / path)


def parquet_files(base: Path, path: str) -> list[str]:
    """List the Parquet files of a file, directory (recursively) or glob, sorted.

    Files and directories that a wildcard matches and whose names start with "." or "_" are skipped, as Spark
    and Arrow do: writers stage unfinished data under such names. A URL is returned as it is.
    """
    if is_remote(path):
        return [f"{path}**/*.parquet" if path.endswith("/") else path]
    if not has_wildcard(path):
        place = Path(absolute(base, path))
        if place.is_dir():
            return _visible(place, "**/*.parquet")
        return [str(place)] if place.is_file() else []
    root = Path(path).anchor or str(base)
    return _visible(Path(root), str(Path(path).relative_to(root)) if Path(path).is_absolute() else path)


def _visible(root: Path, pattern: str) -> list[str]:
    literal = set(Path(pattern).parts)
    return sorted(
        _normal(root / match)
        for match in glob.glob(pattern, root_dir=root, recursive=True, include_hidden=False)  # noqa: PTH207
        if not any(part.startswith(("_", ".")) and part not in literal for part in Path(match).parts)
        and (root / match).is_file()
    )


def _normal(path: Path) -> str:
    return os.path.normpath(path)  # Path.resolve() would follow links, and a lake may be one

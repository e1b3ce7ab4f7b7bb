"""What README and docs/ show is run, against Complete Journey, in the order it is shown.

Blocks fenced `bash` and `python` run; `csv` blocks become the file named in the comment before them. A block that can't
run here says why: `<!-- not run: … -->` on the line before it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

from tests.conftest import built_once

PROJECT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([PROJECT / "README.md", *(PROJECT / "docs").glob("*.md")])
BLOCK = re.compile(r"(?:^<!-- (?P<comment>[^\n]*) -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.M | re.S)
QUICK = {
    "PROPENSITY_TRAINING__CUTOFFS": "4",
    "PROPENSITY_TRAINING__EPOCHS": "1",
    # One epoch over one cut-off is no match for a well-made count.
    "PROPENSITY_GATE__BASELINES": '["global_popularity"]',
}

pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True)
class Block:
    """A fenced block of a document."""

    language: str
    code: str
    comment: str


def blocks(document: Path) -> Iterator[Block]:
    for match in BLOCK.finditer(document.read_text()):
        yield Block(match["language"], match["code"], match["comment"] or "")


@pytest.fixture(scope="session")
def environment(shared_directory: Path) -> dict[str, str]:
    """A home with Complete Journey scored by a quickly trained net, as a reader of the docs has after `make demo`."""
    variables = (
        os.environ
        | QUICK
        | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONWARNINGS": "ignore",
        }
    )

    def build(home: Path) -> None:
        for command in ("migrate", "import complete-journey", "run --as-of 2017-11-01"):
            run(["propensity", *command.split()], home.parent, variables | {"PROPENSITY_HOME": str(home)})

    return variables | {"PROPENSITY_HOME": str(built_once(shared_directory / "complete-journey", build))}


def run(command: list[str], directory: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def checkout(project: Path, home: Path) -> Path:
    """A reader's checkout: plain Feast commands write to the default home in it, which is this one's and not ours."""
    shutil.copytree(PROJECT / "feature_repo", project / "feature_repo", ignore=shutil.ignore_patterns("__pycache__"))
    (project / ".propensity").symlink_to(home)
    return project


def test_there_is_something_to_run() -> None:
    runnable = [block for document in DOCUMENTS for block in blocks(document) if block.language in ("bash", "python")]
    assert len(runnable) >= 10
    assert len(DOCUMENTS) >= 7


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_document_runs_as_shown(document: Path, environment: dict[str, str], tmp_path: Path) -> None:
    # A day's new events, after the as_of that the docs score: they must not make yesterday's work stale.
    duckdb.sql(
        "SELECT '1' AS customer_id, TIMESTAMPTZ '2017-12-20 10:00:00+00' AS event_timestamp, 'purchase' AS event_type, "
        "'SOFT DRINKS' AS category, 1.0 AS quantity, 2.5 AS value"
    ).write_parquet(str(tmp_path / "events.parquet"))
    environment = environment | {"PROJECT": str(checkout(tmp_path / "checkout", Path(environment["PROPENSITY_HOME"])))}
    for block in blocks(document):
        if block.comment.startswith("not run:"):
            continue
        if block.comment.startswith("file: "):
            (tmp_path / block.comment.removeprefix("file: ")).write_text(block.code)
        elif block.language == "bash":
            run(["bash", "-euo", "pipefail", "-c", block.code], tmp_path, environment)
        elif block.language == "python":
            run([sys.executable, "-c", block.code], tmp_path, environment)


def test_links_between_documents_resolve() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"

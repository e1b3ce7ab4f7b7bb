"""Ids of runs that are derived from what the run is made of.

Feast and SQL let the run recorded last win. So when settings or SQL go back to what they were two runs ago, the first
run's id, though its files are still there, would leave the second one's rows in force: the same contents then make a
new run, the next generation.
"""

from __future__ import annotations

from collections.abc import Sequence


def run_of_contents(contents: str, recorded: Sequence[str]) -> str:
    """Return the id of the run that has `contents` (e.g. `features-0123456789ab`) and wins over all `recorded` ones.

    Args:
        recorded: Ids of the runs of the same rows, oldest first.
    """
    generations = [run_id for run_id in recorded if contents_of(run_id) == contents]
    if not generations:
        return contents
    if recorded[-1] in generations:
        return recorded[-1]
    return f"{contents}-{len(generations) + 1}"


def contents_of(run_id: str) -> str:
    """Return what names the run's contents, equal in all its generations."""
    return "-".join(run_id.split("-")[:2])

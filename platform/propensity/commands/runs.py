"""`propensity runs …`: what was run, and publications by hand: one again as the newest, old ones away."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from propensity.commands.listing import listed_when_alone
from propensity.commands.options import HomeOption, JsonOption, OptionalAsOfOption, RegionOption, days, platform_of
from propensity.console import messages, output, print_frame, print_rows, stage
from propensity.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from propensity.warehouse.runs import RunRecord

runs = typer.Typer(help="Runs: list, show, republish, expire.")

RunArgument = Annotated[str, typer.Argument(help="Run id, as `propensity runs list` names it.")]


@listed_when_alone(runs)
@runs.command("list")
def list_(
    kind: Annotated[str | None, typer.Option("--kind", help="Only these, e.g. scoring, features, import.")] = None,
    as_of: OptionalAsOfOption = None,
    state: Annotated[str | None, typer.Option("--state", help="Only these, e.g. published, expired.")] = None,
    *,
    as_json: JsonOption = False,
    home: HomeOption = None,
    region: RegionOption = None,
) -> None:
    """List the region's runs, oldest first."""
    _print(platform_of(home, region).runs(kind=kind, as_of=as_of, state=state), as_json=as_json)


@runs.command()
def show(
    run: RunArgument, *, as_json: JsonOption = False, home: HomeOption = None, region: RegionOption = None
) -> None:
    """Show a run whole: what it was made of, how long it took, its files, and who reads it."""
    details = platform_of(home, region).run_details(run)
    record = details.run
    if as_json:
        standing = {"is_newest": details.is_newest, "is_online": details.is_online, "bytes": details.bytes}
        files = [asdict(file) for file in details.files]
        typer.echo(json.dumps(asdict(record) | standing | {"files": files}, default=_text, ensure_ascii=False))
        return
    facts = [
        ("kind", record.kind),
        ("state", record.state),
        ("as of", _text(record.as_of)),
        ("created", _text(record.created_timestamp)),
        ("rows", f"{record.rows:,}"),
        ("seconds", f"{record.seconds:.1f}"),
        ("files", f"{len(details.files)}, {details.bytes:,} bytes"),
    ]
    if record.kind == "scoring":
        facts.append(("newest of its as_of", "yes" if details.is_newest else "no"))
        facts.append(("newest online", "yes" if details.is_online else "no"))
    facts += [(name, _text(value)) for name, value in sorted(record.detail.items())]
    print_rows(("run", record.run_id), facts)
    if details.files:
        output.print()
        print_rows(
            ("file", "rows", "bytes"),
            [(file.path, "" if file.rows is None else f"{file.rows:,}", f"{file.bytes:,}") for file in details.files],
        )


@runs.command()
def republish(run: RunArgument, home: HomeOption = None, region: RegionOption = None) -> None:
    """Publish an older scoring run again as the newest of its as_of, and put it online: a rollback."""
    platform = platform_of(home, region)
    with stage("republish") as (done, observer):
        result = platform.republish(run, observer.progress)
        what = "is the newest already" if result.already_newest else f"published again as {result.run.run_id}"
        done.extend([f"{result.run.rows:,} customers of run {run}, {what}", *result.retention.sentences])
    with stage("materialize") as (done, observer):
        online = platform.materialize(result, observer.progress)
        done.append("online" if online else "online already, or a newer run is")


@runs.command()
def expire(
    run: Annotated[list[str] | None, typer.Argument(help="Run ids; by default those that options choose.")] = None,
    older_than: Annotated[
        str | None, typer.Option("--older-than", help="Those replaced by newer ones and published before, e.g. 30d.")
    ] = None,
    keep: Annotated[int | None, typer.Option("--keep", min=1, help="All but the newest so many of each as_of.")] = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would expire.")] = False,
    as_json: JsonOption = False,
    home: HomeOption = None,
    region: RegionOption = None,
) -> None:
    """Take publications back and delete their files; with no arguments, those that the retention settings choose.

    Never the newest of an as_of, nor the one that is online.
    """
    if run and (older_than or keep):
        raise SettingsError("Give either run ids, or --older-than and --keep.")
    age = None if older_than is None else timedelta(days=days("--older-than", older_than))
    platform = platform_of(home, region)
    result = platform.expire(run or (), keep=keep, older_than=age, dry_run=dry_run)
    _print(result.runs, as_json=as_json)
    verb = "would expire" if dry_run else "expired"
    counted = f"{len(result.runs)} {'run' if len(result.runs) == 1 else 'runs'}"
    for sentence in (f"{counted} {verb}, {result.bytes_freed:,} bytes", *result.problems):
        messages.print(Text(sentence))
    if result.problems:
        raise typer.Exit(1)


def _print(found: Iterable[RunRecord], *, as_json: bool) -> None:
    import pandas as pd  # noqa: PLC0415 - as for Platform

    rows = [
        (
            record.run_id,
            record.kind,
            record.state,
            record.as_of.isoformat() if record.as_of else "",
            record.rows,
            round(record.seconds, 1),
            record.created_timestamp.isoformat(timespec="seconds"),
            ",".join(record.detail.get("online_views", [])),
        )
        for record in found
    ]
    heads = ["run", "kind", "state", "as_of", "rows", "seconds", "created", "was_online"]
    print_frame(pd.DataFrame(rows, columns=heads), as_json=as_json)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return "" if value is None else value.isoformat() if hasattr(value, "isoformat") else str(value)

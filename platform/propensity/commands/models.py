"""Commands on models: which there are, why each stands where it does, and the two levers by hand."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from propensity.commands.listing import listed_when_alone
from propensity.commands.options import HomeOption, JsonOption, OptionalAsOfOption, RegionOption, platform_of
from propensity.console import messages, output, print_frame, print_rows, stage
from propensity.errors import UnknownModelError, did_you_mean

if TYPE_CHECKING:
    from propensity.exports.service import Export
    from propensity.models.decisions import Decision
    from propensity.models.registry import RegisteredModel

models = typer.Typer(help="Models: list, show, compare, promote, roll back, export.")

VersionArgument = Annotated[str, typer.Argument(help="Model version, as `propensity models list` names it.")]
ReasonOption = Annotated[str | None, typer.Option("--reason", help="Why; stored with the decision.")]


@listed_when_alone(models)
@models.command("list")
def list_(*, as_json: JsonOption = False, home: HomeOption = None, region: RegionOption = None) -> None:
    """List the region's models, oldest first, each with its state and the newest decision on it."""
    import pandas as pd  # noqa: PLC0415 - as for Platform

    platform = platform_of(home, region)
    newest = {decision.model_version: decision for decision in platform.decisions()}
    rows = []
    for model in platform.models():
        decision = newest.get(model.model_version)
        rows.append(
            (
                model.model_version,
                model.state,
                model.trained_as_of.isoformat(),
                "" if decision is None else decision.verdict,
                str(model.artifact) if model.artifact.is_dir() else f"{model.artifact} (lost)",
            )
        )
    columns = ["model", "state", "trained_as_of", "decision", "artifact"]
    print_frame(pd.DataFrame(rows, columns=columns), as_json=as_json)


@models.command()
def show(
    version: Annotated[str | None, typer.Argument(help="Model version; by default the champion.")] = None,
    *,
    as_json: JsonOption = False,
    home: HomeOption = None,
    region: RegionOption = None,
) -> None:
    """Show a model's state and every decision on it with its numbers."""
    platform = platform_of(home, region)
    model = _model(platform.models(), version)
    decisions = platform.decisions(model.model_version)
    if as_json:
        described = asdict(model) | {"decisions": [asdict(decision) for decision in decisions]}
        typer.echo(json.dumps(described, default=_text, ensure_ascii=False))
        return
    facts = (
        ("state", model.state),
        ("trained as of", model.trained_as_of.isoformat()),
        ("registered", f"{model.created_timestamp:%Y-%m-%d %H:%M:%SZ}"),
        ("artifact", str(model.artifact)),
    )
    print_rows(("model", model.model_version), facts)
    for decision in decisions:
        _print_decision(decision)
    if not decisions:
        output.print("No decision on it is stored.")


@models.command()
def compare(
    first: VersionArgument,
    second: VersionArgument,
    as_of: OptionalAsOfOption = None,
    *,
    as_json: JsonOption = False,
    home: HomeOption = None,
    region: RegionOption = None,
) -> None:
    """Compare two models on a label window that neither has seen, by default the newest one."""
    platform = platform_of(home, region)
    with stage("compare") as (done, observer):
        result = platform.compare(first, second, as_of, observer.progress)
        done.append(f"{result.customers:,} customers x {result.categories} categories")
    if as_json:
        typer.echo(json.dumps(asdict(result), default=_text))
        return
    calibration = "calibrations cross-fitted on the window" if result.cross_fitted else "each as it scores"
    nets = ", ".join(f"{version} ({net} net)" for version, net in zip(result.models, result.nets, strict=True))
    figures = asdict(result.qualities[0])
    print_rows(
        ("figure", *result.models),
        [(name, *(f"{getattr(quality, name):.5f}" for quality in result.qualities)) for name in figures],
        title=f"Label window from {result.window_as_of:%Y-%m-%d %H:%MZ}: {nets}; {calibration}",
    )
    print_rows(
        ("first less second", "difference", "low", "high"),
        [(name, f"{gain.mean:+.5f}", f"{gain.low:+.5f}", f"{gain.high:+.5f}") for name, gain in result.gains.items()],
        title="Paired 95 % bootstrap intervals over customers",
    )


@models.command()
def promote(
    version: VersionArgument,
    *,
    force: Annotated[bool, typer.Option("--force", help="Also a refused or unjudged model; takes --reason.")] = False,
    reason: ReasonOption = None,
    home: HomeOption = None,
    region: RegionOption = None,
) -> None:
    """Make a model the champion by hand."""
    _say(platform_of(home, region).promote(version, force=force, reason=reason))


@models.command()
def rollback(reason: ReasonOption = None, home: HomeOption = None, region: RegionOption = None) -> None:
    """Make the previous champion the champion again; the one it replaces no longer scores by default."""
    _say(platform_of(home, region).rollback(reason))


@models.command()
def export(
    to: Annotated[Path, typer.Option("--to", help="Directory to make; it must not exist, or be empty.")],
    version: Annotated[str | None, typer.Argument(help="Model version; by default the champion.")] = None,
    file_format: Annotated[str, typer.Option("--format", help="onnx or mxnet.")] = "onnx",
    home: HomeOption = None,
    region: RegionOption = None,
) -> None:
    """Write a model as a graph for other runtimes, such as DJL, after holding it against the scorer."""
    platform = platform_of(home, region)
    with stage("export") as (done, _):
        done.append(_exported(platform.export_model(version, to=to, file_format=file_format)))


@models.command("check-export")
def check_export(
    directory: Annotated[Path, typer.Argument(help="What `propensity models export` wrote.")],
    home: HomeOption = None,
    region: RegionOption = None,
) -> None:
    """Check that an export is whole and still does what the scorer does with the model it was made from."""
    platform = platform_of(home, region)
    with stage("check-export") as (done, _):
        done.append(_exported(platform.check_export(directory)))


def _exported(export: Export) -> str:
    signature = export.signature
    return (
        f"model {signature.model_version} as {signature.format} in {export.directory}, "
        f"within {signature.largest_difference:.1g} of the scorer"
    )


def _model(known: list[RegisteredModel], version: str | None) -> RegisteredModel:
    for model in known:
        if model.model_version == version or (version is None and model.state == "champion"):
            return model
    if version is None:
        raise UnknownModelError("There is no champion model. See: propensity models list")
    near = did_you_mean(version, [model.model_version for model in known])
    raise UnknownModelError(f"Unknown model {version!r}.{near} See: propensity models list")


def _print_decision(decision: Decision) -> None:
    output.print()
    output.print(Text(f"{decision.decided_timestamp:%Y-%m-%d %H:%M:%SZ} {decision.verdict}: {decision.reason}"))
    window = decision.figures.get("window")
    if window:
        champion = window["champion"]
        rows = [("this model, validated net", window["challenger"]), *window["baselines"].items()]
        if champion is not None and champion["quality"] is not None:
            rows.append((f"champion {champion['model_version']}, {champion['net']} net", champion["quality"]))
        figures = list(window["challenger"])
        print_rows(
            ("on the window", *figures),
            [(name, *(_number(quality[figure]) for figure in figures)) for name, quality in rows],
            title=f"Label window from {window['window_as_of']}: {window['customers']:,} customers x "
            f"{window['categories']} categories, {window['positives']:,} positives",
        )
    checks = decision.figures.get("checks")
    if checks:
        print_rows(
            ("rule", "value", "bound", "holds", ""),
            [
                (
                    check["rule"],
                    _number(check["value"]),
                    _number(check["bound"]),
                    ("yes" if check["passed"] else "NO") if check["value"] is not None else "not applied",
                    check["says"],
                )
                for check in checks
            ],
        )
        output.print(Text(decision.figures["caveat"]))


def _say(decision: Decision) -> None:
    was = "" if decision.previous_champion is None else f", instead of {decision.previous_champion}"
    messages.print(
        Text(f"Model {decision.model_version} is the champion{was}. Score with it: propensity score --as-of DATE")
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.5f}"


def _text(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)

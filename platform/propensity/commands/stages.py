"""The stages of the flow, one command each, and `run`, which goes through them all."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from propensity.commands.options import (
    AsOfOption,
    BaselinesOption,
    BuilderOption,
    EngineOption,
    EveryOption,
    FirstOption,
    HomeOption,
    LastOption,
    MasterOption,
    ModelOption,
    OptionalAsOfOption,
    RegionOption,
    platform_of,
    series,
)
from propensity.console import ConsoleObserver, messages, output, stage

stages = typer.Typer()
features = typer.Typer(help="Feature snapshots.", no_args_is_help=True)
labels = typer.Typer(help="Labels.", no_args_is_help=True)
stages.add_typer(features, name="features")
stages.add_typer(labels, name="labels")


@stages.command()
def migrate(home: HomeOption = None) -> None:
    """Create the catalogue, or bring it to this version's schema."""
    platform = platform_of(home, None)
    with stage("migrate") as (done, _):
        platform.migrate()
        done.append(str(platform.settings.warehouse))


@features.command("build")
def features_build(
    as_of: OptionalAsOfOption = None,
    first: FirstOption = None,
    last: LastOption = None,
    every: EveryOption = None,
    engine: BuilderOption = None,
    master: MasterOption = None,
    home: HomeOption = None,
    region: RegionOption = None,
) -> None:
    """Build feature snapshots: `--as-of 2017-11-01`, or `--from … --to … --every 7d`."""
    platform = platform_of(home, region, features={"engine": engine}, scoring={"spark_master": master})
    with stage("features") as (done, observer):
        built = platform.build_features(series(platform, as_of, first, last, every), observer.progress)
        done.append(f"{len(built)} snapshots, {sum(snapshot.rows for snapshot in built):,} rows")


@labels.command("build")
def labels_build(
    as_of: OptionalAsOfOption = None,
    first: FirstOption = None,
    last: LastOption = None,
    every: EveryOption = None,
    engine: BuilderOption = None,
    master: MasterOption = None,
    home: HomeOption = None,
    region: RegionOption = None,
) -> None:
    """Build labels of the windows that start at the given dates."""
    platform = platform_of(home, region, features={"engine": engine}, scoring={"spark_master": master})
    with stage("labels") as (done, observer):
        built = platform.build_labels(series(platform, as_of, first, last, every), observer.progress)
        done.append(f"{len(built)} label windows, {sum(snapshot.rows for snapshot in built):,} rows")


@stages.command()
def apply(home: HomeOption = None, region: RegionOption = None) -> None:
    """Run `feast apply` with the configured home and region, unless nothing has changed."""
    platform = platform_of(home, region)
    with stage("apply") as (done, _):
        done.append("feast apply" if platform.apply() else "Feast's registry is up to date")


@stages.command()
def train(
    as_of: AsOfOption,
    from_model: Annotated[
        str | None, typer.Option("--from-model", help="Start from this model's weights; by default from new ones.")
    ] = None,
    *,
    only_forecast: Annotated[
        bool, typer.Option("--forecast", help="Print what memory and time the training will take, and don't train.")
    ] = False,
    beyond_memory: Annotated[
        bool, typer.Option("--beyond-memory", help="Train also where the forecast says that memory won't do.")
    ] = False,
    home: HomeOption = None,
    region: RegionOption = None,
) -> None:
    """Train a model on label windows that ended by the as_of; the gate promotes or refuses it."""
    platform = platform_of(home, region)
    if only_forecast:
        for line in platform.forecast(as_of, from_model=from_model).lines:
            typer.echo(line)
        return
    with ConsoleObserver() as observer:
        model = platform.train(as_of, observer, from_model=from_model, beyond_memory=beyond_memory).model
    messages.print(Text(f"Model {model.model_version} is {model.state}. Artifact: {model.artifact}"))


@stages.command()
def evaluate(
    as_of: AsOfOption,
    model: ModelOption = None,
    baselines: BaselinesOption = "simple",
    home: HomeOption = None,
    region: RegionOption = None,
) -> None:
    """Evaluate a model beside the baselines on the label window that starts at the as_of."""
    from propensity.baselines import chosen  # noqa: PLC0415 - as for Platform
    from propensity.evaluation.report import comparison_table  # noqa: PLC0415

    platform, names = platform_of(home, region), chosen(baselines)
    with stage("evaluate") as (done, observer):
        platform.build_labels([as_of], observer.progress)
        result = platform.evaluate(as_of, model, observer.progress, baselines=names)
        done.append(
            f"{result.check['households']:,} customers x {result.check['categories']} categories, "
            f"report {result.report}"
        )
    title = f"Held-out label window from {as_of}, model {result.model.model_version}"
    known = {} if result.oracle is None else {"oracle": result.oracle}
    output.print(comparison_table(result.evaluations | known, title=title))
    for event_type, evaluations in result.by_event.items():
        output.print(comparison_table(evaluations, title=f"\nOf these, {event_type} or a higher class"))


@stages.command()
def report(
    model: ModelOption = None,
    as_of: OptionalAsOfOption = None,
    baselines: Annotated[
        str | None, typer.Option("--baselines", help="As for evaluate; by default those of the report that is there.")
    ] = None,
    home: HomeOption = None,
    region: RegionOption = None,
) -> None:
    """Write a model's page (HTML, one file, no network) and print its path; evaluate the model where that's missing."""
    platform = platform_of(home, region)
    with stage("report") as (done, observer):
        page = platform.report(model, as_of, observer.progress, baselines=baselines)
        done.append(f"model {page.model.model_version}" + (f"; {page.not_evaluated}" if page.not_evaluated else ""))
    typer.echo(page.path)


@stages.command()
def score(
    as_of: AsOfOption,
    model: ModelOption = None,
    engine: EngineOption = None,
    master: MasterOption = None,
    home: HomeOption = None,
    region: RegionOption = None,
) -> None:
    """Score the snapshot of the as_of, publish the propensities and put them online."""
    platform = platform_of(home, region, scoring={"engine": engine, "spark_master": master})
    with stage("score") as (done, observer):
        result = platform.score(as_of, model, observer.progress)
        done.append(
            f"{result.run.rows:,} customers by model {result.model.model_version}, run {result.run.run_id}, "
            + ("published before" if result.already_published else "published")
        )
        done.extend(result.retention.sentences)
    with stage("materialize") as (done, observer):
        done.append(
            "online" if platform.materialize(result, observer.progress) else "online already, or a newer run is"
        )


@stages.command()
def run(as_of: AsOfOption, home: HomeOption = None, region: RegionOption = None) -> None:
    """Build what is missing, train if due, score and publish. Safe to repeat; goes on where it was stopped."""
    platform = platform_of(home, region)
    with ConsoleObserver() as observer:
        platform.run(as_of, observer)


@stages.command()
def demo(home: HomeOption = None) -> None:
    """Run the whole job on Complete Journey: import, build, train, score, publish, evaluate, read."""
    from propensity.demo import run_demo  # noqa: PLC0415 - as for Platform

    run_demo(platform_of(home, None))

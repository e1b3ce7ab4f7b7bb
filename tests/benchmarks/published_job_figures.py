"""The figures of bench_published_job.py as Markdown, for docs/published_job.md."""

from __future__ import annotations

import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench_scoring import FORMS
from published_job import Line, Machines, Opening, Sample, Work, fewest

Given = dict[str, Any]
"""The options of bench_published_job.py."""


def written(given: Given, samples: list[Sample], opened: Opening, disk: float) -> str:
    """Return all of it.

    Args:
        given: Options.
        samples: By rising numbers of customers.
        opened: Model and snapshot.
        disk: Bytes a second, written from end to end.
    """
    lines = {form: Line.through(samples[0], samples[-1], form) for form in FORMS}
    work = works(given, samples[-1], lines, opened)
    parts = [*measured(given, samples, lines, opened, disk), "", *extrapolated(given, work, samples[-1].cores)]
    return "\n".join(parts) + "\n"


def works(given: Given, last: Sample, lines: dict[str, Line], opened: Opening) -> dict[str, Work]:
    """Return the job in each output form."""
    from propensity.scoring.output_forms import OutputForm  # noqa: PLC0415 - callers that measure stay small
    from propensity.scoring.parts import parts_of  # noqa: PLC0415

    held = {form: OutputForm(form).held_row_bytes(given["categories"], 2) for form in FORMS}
    parts = {form: parts_of(given["job_customers"], held[form]) for form in FORMS}
    return {
        form: Work(
            parts=len(parts[form]),
            part_rows=len(parts[form][0].rows),
            row_seconds=line.each,
            part_seconds=opened.snapshot["again"],
            once_seconds=max(line.once, opened.model["seconds"]) + opened.snapshot["once"],
            read_bytes=last.read_bytes,
            written_bytes=last.written(form),
            process_bytes=last.forms[form]["peak"] + opened.snapshot["bytes"],
        )
        for form, line in lines.items()
    }


def measured(given: Given, samples: list[Sample], lines: dict[str, Line], opened: Opening, disk: float) -> list[str]:
    """Return what was measured."""
    last = samples[-1]
    rows = {
        "**rows a second of processor time**": [f"**{1 / line.each:,.0f}**" for line in lines.values()],
        "seconds that a run takes once": [f"{line.once:.1f}" for line in lines.values()],
    }
    for each in samples:
        customers = f"{each.customers:,} customers"
        rows |= {
            f"{customers}: rows/s by the clock": [f"{each.rate(form):,.0f}" for form in FORMS],
            f"{customers}: cores busy": [f"{each.busy(form):.0%}" for form in FORMS],
            f"{customers}: CPU µs a row": [f"{each.forms[form]['cpu'] / each.customers * 1e6:.1f}" for form in FORMS],
            f"{customers}: peak memory, MB": [f"{each.forms[form]['peak'] / 1e6:,.0f}" for form in FORMS],
        }
    for each in samples[1:-1]:
        rows[f"{each.customers:,} customers: CPU beside the line through the others"] = [
            f"{line.error(each, form):+.1%}" for form, line in lines.items()
        ]
    rows["bytes written a row"] = [f"{last.written(form):,.0f}" for form in FORMS]
    rows["of the disk's sequential rate"] = [f"{last.rate(form) * last.written(form) / disk:.0%}" for form in FORMS]
    alone = [
        f"One core alone scores {run['rows'] / run['seconds']:,.0f} rows/s (`{form}`, {each.customers:,} customers) in "
        f"{run['peak'] / 1e6:,.0f} MB."
        for each in samples
        for form, run in each.alone.items()
    ]
    model, snapshot = opened.model, opened.snapshot
    shape = f"200,000 features, {last.non_zeros:.1f} a row, 256-128 hidden, {given['categories']:,} categories"
    opens = f"{snapshot['once']:.2f} s and {snapshot['bytes'] / 1e6:,.0f} MB"
    groups = f"{opened.row_groups:,} row groups in each file"
    return [
        f"Measured in one run on {processor()}, {last.cores} cores: {shape}.",
        "",
        *table("measured", rows),
        "",
        *(f"- {line}" for line in alone),
        f"- A row's features are {last.read_bytes:,.0f} bytes in the lake. The disk writes {disk / 1e6:,.0f} MB/s.",
        f"- The model is {model['bytes'] / 1e6:,.0f} MB; a process checks and opens it in {model['seconds']:.1f} s.",
        f"- A snapshot of {given['job_customers']:,} customers has {groups}.",
        f"  A process reads these footers in {opens}, and opens a part's range in {snapshot['again']:.2f} s then.",
    ]


def extrapolated(given: Given, job: dict[str, Work], used: int) -> list[str]:
    """Return what follows for the job, on the `used` cores that were measured and on others."""
    cores, share, works = given["cores"], given["share"], list(job.values())
    customers = given["job_customers"]
    machine = Machines(1, cores, share, given["gigabits"] * 1e9 / 8)
    rows = {
        "parts": [f"{work.parts:,}" for work in works],
        "core hours": [f"{work.parts * machine.part_seconds(work) / 3600:,.1f}" for work in works],
        "read, GB": [f"{customers * work.read_bytes / 1e9:,.0f}" for work in works],
        "written, GB": [f"{customers * work.written_bytes / 1e9:,.0f}" for work in works],
        f"the {used} cores that were measured alone, hours": [
            f"{replace(machine, cores=used).core_seconds(work) / 3600:,.1f}" for work in works
        ],
        f"one machine of {cores} cores: its cores take, hours": [
            f"{machine.core_seconds(work) / 3600:,.2f}" for work in works
        ],
        f"one machine of {cores} cores: its link takes, hours": [
            f"{machine.link_seconds(work) / 3600:,.2f}" for work in works
        ],
        "memory of a machine at most, GB": [f"{cores * work.process_bytes / 1e9:,.0f}" for work in works],
    }
    for hours in given["hours"]:
        plans = [(fewest(work, machine, hours * 3600), work) for work in works]
        within = f"within {hours:g} h"
        rows |= {
            f"**{within}: machines of {cores} cores**": [f"**{plan.count:,}**" for plan, _ in plans],
            f"{within}: hours": [f"{plan.seconds(work) / 3600:.2f}" for plan, work in plans],
            f"{within}: a machine reads, MB/s": [f"{plan.read_rate(work) / 1e6:,.0f}" for plan, work in plans],
            f"{within}: a machine writes, MB/s": [f"{plan.write_rate(work) / 1e6:,.0f}" for plan, work in plans],
            f"{within}: cores cost": [f"${plan.cost(work, given['core_hour']):,.2f}" for plan, work in plans],
        }
    spark = f"Spark at {share:.0%} of the local engine's rate" if share < 1 else "as if Spark itself took nothing"
    told = f"{customers:,} customers, {spark} (`--share`)"
    costs = f"{given['gigabits']:g} Gbit/s a machine (`--gigabits`), ${given['core_hour']:.4f} a core hour"
    return [f"**Extrapolated** to {told}, {costs}:", "", *table("for all customers", rows)]


def table(first: str, rows: dict[str, list[str]]) -> list[str]:
    """Return a table with a column for each output form."""
    head = [f"| {first} | " + " | ".join(f"`{form}`" for form in FORMS) + " |", "|---|" + "--:|" * len(FORMS)]
    return [*head, *(f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows.items())]


def processor() -> str:
    """Return this machine's processor by name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()

"""The command line: one command, one call of the API.

Exit codes, for cron: 0 finished, also when nothing was left to do; 1 an error, named in one line on standard error;
2 the command line itself is wrong; 75 (EX_TEMPFAIL) another process holds the catalogue, try again later; 130 stopped
by Ctrl-C.
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import subprocess
import sys
import time
import warnings
from typing import Final, NoReturn

import typer

from propensity.commands.experiments import experiments
from propensity.commands.imports import imports
from propensity.commands.models import models
from propensity.commands.reading import reading
from propensity.commands.runs import runs
from propensity.commands.simulation import simulation
from propensity.commands.stages import stages
from propensity.console import messages, print_error
from propensity.errors import PropensityError, WarehouseLockedError
from propensity.settings import load_settings

EX_TEMPFAIL: Final = 75
KILLED: Final = 128
"""A shell adds the number of the signal."""
STOPPED: Final = KILLED + signal.SIGINT

LIBRARIES: Final = {
    "_duckdb": "Check the home directory and its disk; `propensity config` names it.",
    "duckdb": "Check the home directory and its disk; `propensity config` names it.",
    "pyarrow": "A file of the lake can't be read: restore it, or remove its run's directory and build it again.",
    "sqlalchemy": "Check the catalogue; `propensity config` names the home directory.",
    "alembic": "The catalogue may be of a newer version: update this package.",
    "feast": "See more of it: propensity feast apply",
    "pyspark": "Check Spark's options; `propensity config` shows scoring.spark_master and scoring.spark.",
    "py4j": "Check Spark's options; `propensity config` shows scoring.spark_master and scoring.spark.",
    "sqlite3": "Another process may use Feast's online store: try again.",
}
"""Libraries whose errors come from the world (disks, files, settings), and what to do about them."""

app = typer.Typer(
    help="How likely is each customer to act in each product category soon?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)
app.add_typer(imports, name="import")
app.add_typer(simulation, name="simulate")
app.add_typer(stages)
app.add_typer(experiments)
app.add_typer(models, name="models")
app.add_typer(runs, name="runs")
app.add_typer(reading)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def feast(context: typer.Context) -> None:
    """Run Feast's own command line with the configured home and region, e.g. `propensity feast entities list`."""
    from propensity.features.feature_store import feast_command  # noqa: PLC0415 - Feast takes seconds to import

    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C goes to Feast as well, which knows how it wants to end
    with feast_command(load_settings(), context.args) as (command, environment):
        code = subprocess.run(command, env=environment, check=False).returncode  # noqa: S603
    raise typer.Exit(code if code >= 0 else KILLED - code)


def main() -> None:
    """Run the command line; errors a user can act on become one line and an exit code."""
    # Feast's sqlite store reads naive local times; see features.feature_store.
    os.environ["TZ"] = "UTC"
    time.tzset()
    atexit.register(gc.freeze)  # else the last collection goes through all that libraries have left: half a second
    warnings.filterwarnings("ignore")  # libraries' deprecations are for our tests, not for our users
    before = signal.signal(signal.SIGINT, _stop)
    try:
        app(prog_name="propensity")  # else it would be called what started it, such as `python -m pytest`
    except WarehouseLockedError as error:
        _fail(str(error), EX_TEMPFAIL)
    except PropensityError as error:
        _fail(str(error), 1)
    except OSError as error:
        _fail(f"{error}. Check the path and the disk, then repeat the command.", 1)
    except Exception as error:
        what_next = LIBRARIES.get(type(error).__module__.partition(".")[0])
        if what_next is None:
            raise
        _fail(f"{_first_line(error)} {what_next}", 1)
    finally:
        signal.signal(signal.SIGINT, before)


def _stop(number: int, frame: object) -> NoReturn:
    """Leave at once: every stage can be killed, and the libraries below each have their own way with Ctrl-C."""
    del number, frame
    messages.show_cursor()
    print_error("Stopped. What was finished stays; the same command goes on from there.")
    os._exit(STOPPED)


def _fail(message: str, code: int) -> NoReturn:
    print_error(message)
    sys.exit(code)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0] if lines[0].endswith((".", "!", "?")) else f"{lines[0]}."

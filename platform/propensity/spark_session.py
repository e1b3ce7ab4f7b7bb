"""Spark's door: the one module that imports pyspark, and the application that scoring and building run in."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from propensity.errors import EngineError, PropensityError, RuntimeMissingError, SettingsError
from propensity.spark_classes import KINDS, java_options
from propensity.spark_waiting import await_master, idle_told

if TYPE_CHECKING:
    from pathlib import Path

    from propensity.settings import Settings

JAVA: Final = "openjdk-17-jre-headless"
"""Debian's package of a Java that Spark runs on."""
OPTIONS: Final = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",  # a command has a bar of its own
    # A task is one lane: more threads of BLAS or OpenMP in it would contend with the other tasks of its machine.
    "spark.executorEnv.OMP_NUM_THREADS": "1",
    "spark.executorEnv.OPENBLAS_NUM_THREADS": "1",
    "spark.executorEnv.TZ": "UTC",
}
"""Unless Spark's configuration or the setting `scoring.spark` says otherwise."""
LOCAL_OPTIONS: Final = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
"""Where driver and workers are one process: nobody else has to reach it."""
AT_START: Final = ("spark.driver.", "spark.ui.showConsoleProgress")
"""How options begin that the driver's JVM has to know when it starts; they overrule Spark's own configuration."""
_SMALL_JVM: Final = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
SMALL_JVMS: Final = {
    # Where rows never pass through a JVM, one that hands out tasks starts in less time if it optimises nothing.
    "spark.driver.defaultJavaOptions": _SMALL_JVM,
    "spark.executor.defaultJavaOptions": _SMALL_JVM,
}
NOTHING: Final[Mapping[str, str]] = {}
LOG: Final = "spark.log"
"""In the home: what Spark itself has to say of the last application that was begun there."""
JAVA_MISSING: Final = ("JAVA_HOME is not set", "java: not found", "java: No such file", "UnsupportedClassVersionError")
"""What Spark's scripts and Java write where there is none, or one too old."""
SQL_OPTIONS: Final = {
    "spark.sql.session.timeZone": "UTC",
    # What doesn't fit its type is an error, as it is for DuckDB.
    "spark.sql.ansi.enabled": "true",
    # Rows that lie together by customer aren't shuffled to be joined by customer and snapshot.
    "spark.sql.requireAllClusterKeysForCoPartition": "false",
    # Nor are they once they are kept: Spark knows then that they lie so.
    "spark.sql.optimizer.canChangeCachedPlanOutputPartitioning": "false",
}
"""Of a session that builds: what the results depend on."""

NO_PYSPARK: Final = f"Spark isn't installed. Install it with: make spark (pyspark; and Java 17: apt-get install {JAVA})"
NO_JAVA: Final = f"Spark found no Java it runs on. On Debian: apt-get install {JAVA}"


def check_spark() -> None:
    """Find out whether Spark can be started here. Starts nothing.

    Raises:
        RuntimeMissingError: pyspark or Java isn't installed.
    """
    if importlib.util.find_spec("pyspark") is None:
        raise RuntimeMissingError(NO_PYSPARK)
    if "JAVA_HOME" not in os.environ and shutil.which("java") is None:
        raise RuntimeMissingError(NO_JAVA)


def use_own_python() -> None:
    """Let workers on this machine run this process's Python, with its packages, and not the first on the PATH.

    Side effects: sets `PYSPARK_PYTHON`, which pyspark reads when a context starts, unless it names one already.
    """
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)


def spark_options(settings: Settings) -> dict[str, str]:
    """Return the options of an application of ours, by Spark's names; without a master unless one is set."""
    return OPTIONS | _chosen(settings)


def _with_classes(options: dict[str, str]) -> dict[str, str]:
    """Return options with those that let JVMs start from archives of Spark's classes, where there are some."""
    for kind in KINDS:
        name = f"spark.{kind}.defaultJavaOptions"
        if java := [*filter(None, [options.get(name)]), *java_options(kind)]:
            options = options | {name: " ".join(java)}
    return options


def _chosen(settings: Settings) -> dict[str, str]:
    """Return the options that are set."""
    master = settings.scoring.spark_master
    return settings.scoring.spark | ({} if master is None else {"spark.master": master})


@contextmanager
def spark_context(settings: Settings, name: str, options: Mapping[str, str] = NOTHING) -> Iterator[Any]:
    """Yield a SparkContext: the one of this process, as a notebook made it, or one of our own.

    Options come from, first to last: `OPTIONS` and `options`; Spark's own configuration and `spark-submit`;
    `scoring.spark` and `scoring.spark_master`.

    Args:
        settings: Of the home.
        name: Of the application.
        options: What this application does best with.

    Raises:
        RuntimeMissingError: pyspark or Java isn't installed.
        EngineError: The master can't be reached, or an option isn't Spark's.

    Side effects: what Spark prints goes to the home's `spark.log`, unless `spark-submit` has started it.
    """
    try:
        pyspark = importlib.import_module("pyspark")
    except ImportError as error:
        raise RuntimeMissingError(NO_PYSPARK) from error
    there = pyspark.SparkContext._active_spark_context  # noqa: SLF001 - getOrCreate would not say whose it is
    if there is not None:
        yield there
        return
    use_own_python()
    chosen = _chosen(settings)
    printed = settings.home / LOG
    printed.unlink(missing_ok=True)  # an application that is still running goes on with its own
    try:
        defaults = _with_classes(OPTIONS | dict(options))
        at_start = {option: value for option, value in defaults.items() if option.startswith(AT_START)}
        gateway = _gateway(pyspark, at_start | chosen, printed)
        conf = pyspark.SparkConf(_jvm=gateway.jvm).setAppName(name)
        for option, value in chosen.items():
            conf.set(option, value)
        if conf.get("spark.master", "local[*]").startswith("local"):
            defaults |= LOCAL_OPTIONS
        for option, value in defaults.items():
            conf.setIfMissing(option, value)
        await_master(conf.get("spark.master", "local[*]"))
        with _interrupts_as_before():
            context = pyspark.SparkContext(conf=conf, gateway=gateway)
    except PropensityError:
        raise
    except Exception as error:
        said = printed.read_text(errors="replace") if printed.is_file() else ""
        if any(words in said for words in JAVA_MISSING):
            raise RuntimeMissingError(NO_JAVA) from error
        master = chosen.get("spark.master", "local[*]")
        raise EngineError(f"Spark can't be started with master {master}: {_reason(error, said)}") from error
    try:
        yield context
    finally:
        _stop(context)


@contextmanager
def spark_sql(settings: Settings, name: str) -> Iterator[Any]:
    """Yield a SparkSession in UTC whose views and options are its own, in the SparkContext of `spark_context`.

    Raises:
        RuntimeMissingError: pyspark or Java isn't installed.
        EngineError: The master can't be reached, an option isn't Spark's, or Spark gave up within the block.
    """
    with spark_context(settings, name) as context:
        refused = (
            importlib.import_module("pyspark.errors").PySparkException,
            importlib.import_module("py4j.protocol").Py4JError,
        )
        logger = importlib.import_module("pyspark.logger").PySparkLogger.getLogger("SQLQueryContextLogger")
        logger.disabled = True  # else pyspark prints pages of JSON for what becomes a line
        try:
            # Here a master shows that answered and then didn't take the application.
            spark = importlib.import_module("pyspark.sql").SparkSession(context).newSession()
            for option, value in SQL_OPTIONS.items():
                spark.conf.set(option, value)
            with idle_told(context):
                yield spark
        except PropensityError:
            raise
        except refused as error:
            raise EngineError(f"Spark gave up. {_told(error, settings)} The same command begins again.") from error
        finally:
            logger.disabled = False


def run_query(spark: Any, query: str, where: str) -> Any:
    """Return the DataFrame of a query, which is checked but not run yet.

    Raises:
        SettingsError: Spark refuses the query; the message begins with `where`.
    """
    try:
        return spark.sql(query)
    except importlib.import_module("pyspark.errors").AnalysisException as error:
        raise SettingsError(f"{where}: Spark refuses it: {_cause(error)}") from error


def _gateway(pyspark: Any, options: dict[str, str], log: Path) -> Any:
    """Return the way to this process's JVM; start it if there is none.

    Args:
        pyspark: The package.
        options: What the JVM has to know when it starts, among others.
        log: Gets what the JVM prints. One that `spark-submit` started prints where that was told to.
    """
    running = pyspark.SparkContext._gateway  # noqa: SLF001 - outlives its context, and there can't be two
    if running is not None:
        return running
    conf = pyspark.SparkConf(loadDefaults=False)
    for option, value in options.items():
        conf.set(option, value)
    launch = importlib.import_module("pyspark.java_gateway").launch_gateway
    if "PYSPARK_GATEWAY_PORT" in os.environ:  # spark-submit's JVM waits there
        return launch(conf)
    with log.open("ab") as file:
        return launch(conf, {"stdout": file, "stderr": file})


@contextmanager
def _interrupts_as_before() -> Iterator[None]:
    """Undo what a new SparkContext does to Ctrl-C: whoever called us has settled that."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)


def _stop(context: Any) -> None:
    """Stop a context, but don't wait for its server of accumulators, which looks once a second whether to end."""
    server, context._accumulatorServer = getattr(context, "_accumulatorServer", None), None  # noqa: SLF001 - see above
    try:
        context.stop()
    finally:
        if server is not None:
            threading.Thread(target=server.shutdown, name="accumulators", daemon=True).start()


def _reason(error: Exception, said: str) -> str:
    """Return in a line why Spark didn't start: what a JVM that didn't start printed, else the last error told of."""
    if refused := re.search(r"^(?:Error: (?!A fatal|Could not create)|Invalid ).+", said, re.MULTILINE):
        return refused.group()
    for text in (str(error), said):
        causes = re.findall(r"(?:\w+\.)+\w*(?:Exception|Error): (.+)", text)
        if causes:
            return str(causes[-1]).strip()
    return (said.strip() or str(error).strip() or type(error).__name__).splitlines()[-1].strip()


def why_it_stopped(settings: Settings) -> str:
    """Return in a line why the application ended by itself: the last error in the home's `spark.log`."""
    log = settings.home / LOG
    if not log.is_file():
        return "It ended by itself; what it printed says why."
    told = re.findall(r" ERROR \S+: (.+)", log.read_text(errors="replace"))
    return str(told[-1]).strip() if told else f"It ended by itself; see {log}."


def _told(error: Exception, settings: Settings) -> str:
    """Return in a line why Spark gave up, and what to look at."""
    text = str(error)
    if "stopped SparkContext" in text or "SparkContext was shut down" in text:
        return f"{why_it_stopped(settings)} Check scoring.spark_master and scoring.spark: propensity config."
    cause, home = _cause(error), str(settings.home)
    if home not in cause:
        return cause
    return f"{cause} Do all machines see the home under {home}, and may they read and write there?"


def _cause(error: Exception) -> str:
    """Return what a worker raised, else what Spark says, in a line."""
    told = raised(error) or [text for name, text in _errors(error) if name.startswith("Spark")]
    lines = str(error).strip().splitlines() or [type(error).__name__]
    line = told[0] if told else lines[0]
    return line if line.endswith((".", "!", "?")) else f"{line}."


def raised(error: Exception) -> list[str]:
    """Return in a line each what workers, or Java below Spark, raised, as Spark's own error tells of it."""
    of_spark = ("Spark", "Py4J", "Python")
    return [f"{name}: {text}" for name, text in _errors(error) if not name.startswith(of_spark)]


def _errors(error: Exception) -> list[tuple[str, str]]:
    """Return the errors in an error's text: the name of each and what it says."""
    # At a line's beginning, or a Java class behind what wraps it: `SparkException: Job …: java.io.IOException: …`
    found = r"^(?:: |.*: (?=\w+\.\w+\.))?(?:\w+\.)*(\w+(?:Error|Exception)): (.+)$"
    return re.findall(found, str(error), re.MULTILINE)

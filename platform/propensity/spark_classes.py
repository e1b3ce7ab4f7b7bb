"""Archives of Spark's classes, loaded and checked, with which a JVM of Spark's starts in about half the time.

Java calls it class-data sharing (JEP 350). `make spark` makes one for drivers and one for executors, in this Python's
environment; a JVM that finds one of another Java or another Spark, or none, goes on without. Every machine has its own.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final, Literal

Kind = Literal["driver", "executor"]
KINDS: Final[tuple[Kind, ...]] = ("driver", "executor")


def archive(kind: Kind) -> Path:
    """Return where the archive of such JVMs is, or would be."""
    return Path(sys.prefix) / "share" / "propensity" / f"spark-{kind}.jsa"


def java_options(kind: Kind) -> list[str]:
    """Return the options that let such a JVM use its archive; none where this machine has no archive."""
    file = archive(kind)
    # A JVM that finds another Java's or another Spark's would say so at each start.
    return [f"-XX:SharedArchiveFile={file}", "-Xlog:cds=off", "-Xlog:cds+dynamic=off"] if file.is_file() else []

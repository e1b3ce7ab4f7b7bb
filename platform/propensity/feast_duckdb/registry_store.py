"""A Feast registry file that is whole at every instant."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from feast.infra.registry.file import FileRegistryStore
from feast.protos.feast.core.Registry_pb2 import Registry as RegistryProto
from feast.utils import _utc_now


class AtomicFileRegistryStore(FileRegistryStore):
    """Feast's file registry, replaced by one rename: a reader or a killed writer never leaves half a file.

    In feature_store.yaml:
        registry:
          registry_store_type: propensity.feast_duckdb.AtomicFileRegistryStore
          path: data/registry.pb
    """

    def _write_registry(self, registry_proto: RegistryProto) -> None:
        registry_proto.version_id = str(uuid.uuid4())
        registry_proto.last_updated.FromDatetime(_utc_now())
        target = Path(os.path.realpath(self._filepath))  # a link to the registry stays a link
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_file(target, registry_proto.SerializeToString())


def replace_file(target: Path, content: bytes) -> None:
    """Write a file so that it has either its old or its new content, also after a crash.

    Replaces `target`; its directory must exist.
    """
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(target.parent)


def sync_directory(directory: Path) -> None:
    """Make renames within a directory survive a power failure."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

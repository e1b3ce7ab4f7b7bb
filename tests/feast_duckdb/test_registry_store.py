"""The registry file: whole at every instant."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from feast.protos.feast.core.Registry_pb2 import Registry as RegistryProto
from feast.repo_config import RegistryConfig

from propensity.feast_duckdb import AtomicFileRegistryStore


def open_store(repo: Path) -> AtomicFileRegistryStore:
    return AtomicFileRegistryStore(RegistryConfig(path="deep/down/registry.pb"), repo)


def test_write_makes_directories_and_leaves_no_litter(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with pytest.raises(FileNotFoundError):
        store.get_registry_proto()
    store.update_registry_proto(RegistryProto(registry_schema_version="1"))
    store.update_registry_proto(RegistryProto(registry_schema_version="2"))
    assert open_store(tmp_path).get_registry_proto().registry_schema_version == "2"
    assert [file.name for file in (tmp_path / "deep/down").iterdir()] == ["registry.pb"]
    store.teardown()
    assert list((tmp_path / "deep/down").iterdir()) == []


def test_failed_write_leaves_the_old_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path)
    store.update_registry_proto(RegistryProto(registry_schema_version="1"))
    before = (tmp_path / "deep/down/registry.pb").read_bytes()

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        store.update_registry_proto(RegistryProto(registry_schema_version="2"))
    assert (tmp_path / "deep/down/registry.pb").read_bytes() == before
    assert len(list((tmp_path / "deep/down").iterdir())) == 1


def test_linked_registry_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/down").symlink_to(tmp_path / "shared")
    (tmp_path / "shared/real.pb").touch()
    (tmp_path / "shared/registry.pb").symlink_to("real.pb")
    open_store(tmp_path).update_registry_proto(RegistryProto(registry_schema_version="1"))
    assert (tmp_path / "shared/registry.pb").is_symlink()
    assert (tmp_path / "shared/real.pb").stat().st_size > 0

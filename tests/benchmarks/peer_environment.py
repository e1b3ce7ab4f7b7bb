"""The environment of peers that can't be installed beside the platform: `.venv-peers`, which `make bench` makes."""

from __future__ import annotations

import subprocess
from pathlib import Path

PEERS = Path(__file__).resolve().parents[2] / ".venv-peers" / "bin" / "python"


def peers_have(module: str) -> bool:
    """Return whether the environment is there and can import a module."""
    asked = [str(PEERS), "-W", "ignore", "-c", f"import {module}"]
    return PEERS.exists() and subprocess.run(asked, capture_output=True, check=False).returncode == 0


def has_torch() -> bool:
    """Return whether PyTorch can be measured; where it can't, say so."""
    found = peers_have("torch")
    if not found:
        print(f"PyTorch is left out: {PEERS} can't import it. Install it where pip finds a CPU build: make bench")
    return found

"""What the whole test run shares: which programs are there, and where the samples are."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

#: For each peer of the marker `peer`: a program of it, and the Debian package that brings it.
PEERS = {
    "dcmtk": ("storescu", "dcmtk"),
    "orthanc": ("Orthanc", "orthanc"),
    "dicom3tools": ("dciodvfy", "dicom3tools"),
}
#: Debian puts servers where only root's path looks.
_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"


def find_program(name: str) -> str | None:
    """Full path of a program, also of those that a user's path leaves out."""
    return shutil.which(name, path=_PATH)


def missing_peers() -> dict[str, str]:
    """Peer -> Debian package, of those that are not installed."""
    return {peer: package for peer, (program, package) in PEERS.items() if find_program(program) is None}


def samples_folder() -> Path | None:
    """The folder that HOUNSFIELD_SAMPLES names; None where it is not set."""
    named = os.environ.get("HOUNSFIELD_SAMPLES")
    return Path(named) if named else None


@pytest.fixture(scope="session")
def samples() -> Path:
    """For tests marked `samples`."""
    folder = samples_folder()
    assert folder is not None and folder.is_dir(), f"HOUNSFIELD_SAMPLES names {folder}, which is no folder"
    return folder


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    missing = missing_peers()
    chosen, left_out = [], []
    for item in items:
        if item.get_closest_marker("samples") is not None and samples_folder() is None:
            left_out.append(item)
            continue
        chosen.append(item)
        for marker in item.iter_markers("peer"):
            for peer in marker.args:
                assert peer in PEERS, f"{item.nodeid}: unknown peer {peer!r}"
                if peer in missing:
                    reason = f"{peer} is not installed: apt-get install {missing[peer]}"
                    item.add_marker(pytest.mark.skip(reason=reason))
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = chosen


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    missing = missing_peers()
    if missing:
        terminalreporter.section("peers that were not found")
        terminalreporter.line(f"Tests against {', '.join(missing)} were skipped. On Debian or Ubuntu:")
        terminalreporter.line(f"  apt-get install {' '.join(missing.values())}")
    if samples_folder() is None:
        terminalreporter.line("HOUNSFIELD_SAMPLES is not set: tests that read sample files were left out.")

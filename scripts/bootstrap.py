#!/usr/bin/env python3
"""Make the virtual environment: locked, hashed requirements, then this clone itself, editable.

    python3 scripts/bootstrap.py [VENV]

Only the standard library: this runs before anything is installed. Where Debian's python3-venv package is
missing, and with it ensurepip, pip comes from the package index (PIP_INDEX_URL) by a pinned hash.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements" / "dev.txt"
OLDEST = (3, 11)
PIP_WHEEL = "pip-26.3-py3-none-any.whl"
PIP_SHA256 = "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"
DEFAULT_INDEX = "https://pypi.org/simple"


def main() -> int:
    venv = Path(sys.argv[1] if len(sys.argv) > 1 else ".venv").absolute()
    if sys.version_info < OLDEST:
        found = ".".join(map(str, sys.version_info[:3]))
        return fail(f"Python {found} is too old: Hounsfield needs 3.11 or newer; use make PYTHON=python3.12")
    python = venv / "bin" / "python"
    if not (python.exists() and works(python, "-m", "pip", "--version")):
        print(f"Making {venv}", flush=True)
        make_venv(venv)
    print("Installing the locked requirements; the first time takes a minute or two", flush=True)
    pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    for arguments in (
        ["--require-hashes", "--no-deps", "-r", str(REQUIREMENTS)],
        ["--no-deps", "--no-build-isolation", "-e", str(ROOT)],
    ):
        if subprocess.run([*pip, *arguments], check=False).returncode != 0:
            return fail(
                "pip could not install the requirements: its message is above. Behind a proxy or "
                "with a mirror set PIP_INDEX_URL, PIP_PROXY or PIP_CERT"
            )
    (venv / ".ready").touch()
    return 0


def make_venv(venv: Path) -> None:
    """`python -m venv`, with pip from wherever there is one."""
    if importlib.util.find_spec("ensurepip") is not None:
        run(sys.executable, "-m", "venv", "--clear", str(venv))
        return
    run(sys.executable, "-m", "venv", "--clear", "--without-pip", str(venv))
    with tempfile.TemporaryDirectory() as folder:
        wheel = fetch_pip(Path(folder))
        # a wheel is a ZIP that Python runs from: pip installs itself
        run(
            str(venv / "bin" / "python"),
            f"{wheel}/pip",
            "install",
            "--quiet",
            "--no-index",
            "--no-deps",
            str(wheel),
        )


def fetch_pip(folder: Path) -> Path:
    """The pinned pip wheel from the package index. Exits with what to do where it cannot be had."""
    index = os.environ.get("PIP_INDEX_URL", DEFAULT_INDEX).rstrip("/") + "/pip/"
    try:
        with urllib.request.urlopen(index, timeout=60) as answer:
            page = answer.read().decode()
            link = re.search(r'href="([^"]*/' + re.escape(PIP_WHEEL) + r'[^"]*)"', page)
            if link is None:
                raise OSError(f"{index} does not list {PIP_WHEEL}")
            address = urllib.parse.urljoin(answer.url, link[1].replace("&amp;", "&"))
        with urllib.request.urlopen(address, timeout=120) as answer:
            content: bytes = answer.read()
    except OSError as error:
        raise SystemExit(
            f"This Python has no ensurepip, and pip could not be fetched from the package index ({error}).\n"
            "Install it (Debian, Ubuntu: apt-get install python3-venv) and run make again."
        ) from error
    if hashlib.sha256(content).hexdigest() != PIP_SHA256:
        raise SystemExit(f"{address} is not the {PIP_WHEEL} that this clone was made for (sha256 differs).")
    wheel = folder / PIP_WHEEL
    wheel.write_bytes(content)
    return wheel


def works(*command: str | Path) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def run(*command: str) -> None:
    if subprocess.run(command, check=False).returncode != 0:
        shown = " ".join(command)
        raise SystemExit(f"This failed: {shown}\nOn Debian or Ubuntu: apt-get install python3-venv")


def fail(message: str) -> int:
    print(message, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())

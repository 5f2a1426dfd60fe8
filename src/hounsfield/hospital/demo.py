"""What `serve --demo` brings in at the first start: pydicom's own test files, and the synthetic studies."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pydicom

from hounsfield.domain.stored import Origin, Outcome
from hounsfield.hospital.synthetic import demo_studies
from hounsfield.services.indexing import Result
from hounsfield.services.store import Store
from hounsfield.wire.dicomfile.part10 import read_meta

#: Objects handed to the store and not answered yet.
IN_FLIGHT = 16
#: Where the ledger says they came from.
SOURCE = "demo"


def real_files() -> Path:
    """The folder of test files that comes with the pydicom package."""
    return Path(pydicom.__file__).parent / "data" / "test_files"


def bring_in_synthetic(store: Store, run: str, progress: Callable[[int], None]) -> int:
    """Make and store the synthetic studies; `progress` gets how many are in. Returns how many were new."""
    origin = Origin(SOURCE, "", run, "synthetic studies")
    flying: deque[Future[Result]] = deque()
    done = new = 0

    def settle() -> None:
        nonlocal done, new
        done += 1
        new += flying.popleft().result().outcome is Outcome.STORED
        progress(done)

    for data in demo_studies():
        meta = read_meta(data)
        receiver = store.begin(
            meta.sop_class_uid,
            meta.sop_instance_uid,
            meta.transfer_syntax_uid,
            origin,
            meta=data[: meta.meta_length],
        )
        receiver.write(memoryview(data)[meta.meta_length :])
        flying.append(receiver.finish())
        while len(flying) > IN_FLIGHT:
            settle()
    while flying:
        settle()
    return new

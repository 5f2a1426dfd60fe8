"""import: files, folders, DICOMDIR, ZIP."""

from __future__ import annotations

import dataclasses
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from hounsfield.cli.session import Session, command
from hounsfield.services.importing import Import, Report
from hounsfield.services.walking import Found, walk

#: Exit code after Ctrl-C, as shells have it.
INTERRUPTED = 130
NOTES_SHOWN = 20


def register(app: typer.Typer) -> None:
    command(app, "import")(import_)


def import_(
    session: Session,
    paths: Annotated[
        list[Path], typer.Argument(help="Files, folders, DICOMDIR, ZIP.", exists=True, show_default=False)
    ],
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Index the files where they are; nothing is copied.")
    ] = False,
    character_set: Annotated[
        str, typer.Option(help='Of objects that name none, such as "ISO_IR 100".', show_default=False)
    ] = "",
) -> None:
    """Import files into the archive. Stopped, the same command goes on where it was.

    Exit code 9 where files were refused, 130 where it was stopped.
    """
    stop = threading.Event()
    with (
        session.archive(make=True) as archive,
        session.wiring.store(archive, "import") as store,
        bar(session.out.errors, paths) as progress,
        _until_interrupted(stop),
    ):
        run = Import(
            store,
            archive.database,
            archive.clock,
            state=archive.settings.data / "imports",
            in_place=in_place,
            character_set=character_set,
            progress=progress,
            stop=stop.is_set,
        )
        report = run.run(paths)
    _tell(session, report)
    if not report.complete:
        raise typer.Exit(INTERRUPTED)
    if report.refused:
        raise typer.Exit(9)


@contextmanager
def bar(console: Console, paths: Sequence[Path]) -> Iterator[Callable[[Report], None]]:
    """A progress bar for an import; the files are counted meanwhile. Nothing where there is no terminal."""
    if not console.is_terminal:
        yield lambda report: None
        return
    ended = threading.Event()
    with Progress(
        TextColumn("Importing"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[size]}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    ) as progress:
        task = progress.add_task("import", total=None, size="")

        def count() -> None:
            files = 0
            for found in walk(paths):
                if ended.is_set():
                    return
                files += isinstance(found, Found)
            progress.update(task, total=files)

        def show(report: Report) -> None:
            progress.update(task, completed=report.files - report.skipped, size=f"{report.bytes >> 20} MiB")

        threading.Thread(target=count, daemon=True).start()
        try:
            yield show
        finally:
            ended.set()


@contextmanager
def _until_interrupted(stop: threading.Event) -> Iterator[None]:
    """The first Ctrl-C lets what is in flight end; a second one breaks off."""

    def ask(number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, before)
        stop.set()

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _tell(session: Session, report: Report) -> None:
    if session.out.as_json:
        values = dataclasses.asdict(report)
        values["notes"] = [{"file": name, "kind": kind, "why": why} for name, kind, why in report.notes]
        session.out.record(values)
        return
    for name, kind, why in report.notes[:NOTES_SHOWN]:
        session.out.warn(f"{kind}: {name}: {why}")
    if len(report.notes) > NOTES_SHOWN:
        session.out.warn(f"... and {len(report.notes) - NOTES_SHOWN} more; --json names them")
    counts = ("new", "identical", "conflicting", "quarantined", "refused", "skipped", "resumed")
    told = ", ".join(f"{getattr(report, name)} {name}" for name in counts if getattr(report, name))
    session.out.say(f"{told or 'No files'}; {report.bytes / 1e6:.1f} MB in {report.seconds:.1f} s.")
    if not report.complete:
        session.out.say("Stopped before the end; the same command goes on with the rest.")

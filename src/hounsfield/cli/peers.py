"""echo, find, send, get, move: ourselves as the client of another application entity."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from dataclasses import replace
from typing import Annotated, TypeVar

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from hounsfield.cli.output import to_json
from hounsfield.cli.session import Session, command
from hounsfield.domain.attributes import ATTRIBUTES, UNIQUE_KEY
from hounsfield.domain.device import Device
from hounsfield.domain.errors import NotFoundError, PeerError
from hounsfield.domain.query import Level
from hounsfield.domain.study import StoredInstance
from hounsfield.ports.peers import SendResult, SubOperations
from hounsfield.services import device_records

T = TypeVar("T")

Peer = Annotated[str, typer.Argument(help="Device name, or AET@HOST:PORT.", show_default=False)]
Tls = Annotated[bool, typer.Option("--tls", help="Call over TLS.")]
Patient = Annotated[str, typer.Option(help="Patient ID.", show_default=False)]
Studies = Annotated[list[str] | None, typer.Option("--study", help="Study Instance UID.", show_default=False)]
SeriesUids = Annotated[
    list[str] | None, typer.Option("--series", help="Series Instance UID.", show_default=False)
]
Instances = Annotated[
    list[str] | None, typer.Option("--instance", help="SOP Instance UID.", show_default=False)
]
#: Information models, and their levels (PS3.4 C.6).
MODELS: Mapping[str, tuple[Level, ...]] = {
    "study": (Level.STUDY, Level.SERIES, Level.IMAGE),
    "patient": tuple(Level),
    "patient-study-only": (Level.PATIENT, Level.STUDY),
}
Model = Annotated[
    str,
    typer.Option(
        help=f"Information model: {', '.join(MODELS)}. Default: study; patient where no study is named.",
        show_default=False,
    ),
]
#: What `find` shows where no key is asked for by name.
SHOWN: Mapping[Level, tuple[str, ...]] = {
    Level.PATIENT: ("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    Level.STUDY: (
        "PatientID",
        "PatientName",
        "StudyDate",
        "AccessionNumber",
        "ModalitiesInStudy",
        "StudyDescription",
        "StudyInstanceUID",
    ),
    Level.SERIES: ("Modality", "SeriesNumber", "SeriesDescription", "SeriesInstanceUID"),
    Level.IMAGE: ("InstanceNumber", "SOPClassUID", "SOPInstanceUID"),
}


def register(app: typer.Typer) -> None:
    for name, function in (("echo", echo), ("find", find), ("send", send), ("get", get), ("move", move)):
        command(app, name)(function)


def echo(session: Session, peer: Peer, tls: Tls = False) -> None:
    """Ask a peer whether it is there (C-ECHO), and show how it presents itself."""
    device = named_device(session, peer, tls)
    shown = asyncio.run(session.wiring.peers(session.settings).echo(device))
    session.out.record({"peer": device.name, **shown})


def find(
    session: Session,
    peer: Peer,
    keys: Annotated[
        list[str] | None,
        typer.Argument(help="KEYWORD=VALUE to match, KEYWORD to have it returned.", show_default=False),
    ] = None,
    level: Annotated[str, typer.Option(help="patient, study, series or image.")] = "study",
    model: Annotated[str, typer.Option(help=f"Information model: {', '.join(MODELS)}.")] = "study",
    limit: Annotated[int, typer.Option(help="Stop after so many; 0: all.", min=0)] = 0,
    tls: Tls = False,
) -> None:
    """Query a peer (C-FIND), for instance: find PACS 'PatientName=DOE*' StudyDate=20240101-"""
    at = _level(level)
    _check_model(model, at)
    asked = _keys(keys or [])
    columns = [*dict.fromkeys((*asked, *(SHOWN[at] if not asked else ()), UNIQUE_KEY[at]))]
    identifier = dict.fromkeys(columns, "") | asked
    device = named_device(session, peer, tls)
    answers = session.wiring.peers(session.settings).find(device, model, at, identifier)
    session.out.rows(columns, _streamed(answers, limit), empty="The peer found nothing.")


def send(
    session: Session,
    peer: Peer,
    patient: Patient = "",
    study: Studies = None,
    series: SeriesUids = None,
    instance: Instances = None,
    tls: Tls = False,
) -> None:
    """Send what the archive keeps to a peer (C-STORE)."""
    device = named_device(session, peer, tls)
    with session.archive() as archive:
        chosen: dict[str, StoredInstance] = {}
        with archive.database.read() as tx:
            for uid in study or ():
                chosen |= {i.sop_instance_uid: i for i in tx.index.instances(study=uid)}
            if series:
                chosen |= {i.sop_instance_uid: i for i in tx.index.instances(series=series)}
            if instance:
                chosen |= {i.sop_instance_uid: i for i in tx.index.instances(sop=instance)}
            if patient:
                chosen |= {i.sop_instance_uid: i for i in tx.index.instances(patient=patient)}
        if not chosen:
            raise NotFoundError(
                "Nothing of what was named is kept", "Name it with --study, --series, --instance or --patient"
            )
        counts = SubOperations(remaining=len(chosen))
        with _Showing(session, len(chosen)) as show:

            def progress(result: SendResult) -> None:
                counts.remaining -= 1
                if result.status == 0:
                    counts.completed += 1
                elif result.status >> 12 == 0xB:
                    counts.warning += 1
                else:
                    counts.failed += 1
                    counts.failures.append(result)
                show(counts)

            asyncio.run(archive.peers.send(device, list(chosen.values()), progress))
    _ended(session, "sent", device, counts)


def get(
    session: Session,
    peer: Peer,
    patient: Patient = "",
    study: Studies = None,
    series: SeriesUids = None,
    instance: Instances = None,
    model: Model = "",
    tls: Tls = False,
) -> None:
    """Fetch from a peer into the archive, over the same association (C-GET)."""
    level, identifier = _identifier(patient, study, series, instance, model)
    device = named_device(session, peer, tls)
    with (
        session.archive(make=True) as archive,
        session.wiring.store(archive, "retrieve") as store,
        _Showing(session, None) as show,
    ):
        peers = session.wiring.peers(archive.settings, archive, store)
        counts = asyncio.run(peers.get(device, level, identifier, show, model=model))
    _ended(session, "fetched", device, counts)


def move(
    session: Session,
    peer: Peer,
    to: Annotated[
        str, typer.Option(help="AE title that the peer is to send to; default: ours.", show_default=False)
    ] = "",
    patient: Patient = "",
    study: Studies = None,
    series: SeriesUids = None,
    instance: Instances = None,
    model: Model = "",
    tls: Tls = False,
) -> None:
    """Ask a peer to send to another application entity, or to us (C-MOVE)."""
    level, identifier = _identifier(patient, study, series, instance, model)
    device = named_device(session, peer, tls)
    destination = to or session.settings.ae_title
    with _Showing(session, None) as show:
        peers = session.wiring.peers(session.settings)
        counts = asyncio.run(peers.move(device, level, identifier, destination, show, model=model))
    _ended(session, f"moved to {destination}", device, counts)


def named_device(session: Session, text: str, tls: bool) -> Device:
    """The peer; the archive's database is only asked where it is named by its device name."""
    device = device_records.parse_peer(text)
    if device is None:
        with session.archive() as archive:
            device = device_records.reachable(archive.database, text)
    return replace(device, tls=True) if tls else device


def _level(text: str) -> Level:
    try:
        return Level[text.upper()]
    except KeyError:
        raise typer.BadParameter(f"{text!r} is none of patient, study, series, image") from None


def _keys(texts: list[str]) -> dict[str, str]:
    keys = {}
    for text in texts:
        keyword, _, value = text.partition("=")
        if keyword not in ATTRIBUTES:
            raise typer.BadParameter(f"{keyword!r} is no keyword that we query; PatientName is one")
        keys[keyword] = value
    return keys


def _check_model(model: str, level: Level) -> None:
    if model not in MODELS:
        raise typer.BadParameter(f"{model!r} is none of {', '.join(MODELS)}")
    if level not in MODELS[model]:
        raise typer.BadParameter(f"the {model} model has no level {level.name.lower()}")


def _identifier(
    patient: str,
    study: list[str] | None,
    series: list[str] | None,
    instance: list[str] | None,
    model: str,
) -> tuple[Level, dict[str, str]]:
    """Level and unique keys of a retrieve: the deepest that is named (PS3.4 C.4.2.2.1)."""
    named = {Level.PATIENT: [patient] if patient else [], Level.STUDY: study or []}
    named |= {Level.SERIES: series or [], Level.IMAGE: instance or []}
    given = [level for level in Level if named[level]]
    if not given:
        raise typer.BadParameter("name what you want with --study, --series, --instance or --patient")
    if model:
        _check_model(model, given[-1])
        if model != "study" and not patient:
            raise typer.BadParameter(f"the {model} model needs --patient as well")
    return given[-1], {UNIQUE_KEY[level]: "\\".join(named[level]) for level in given}


def _streamed(answers: AsyncIterator[T], limit: int) -> Iterator[T]:
    """Answers as they come, for printing that knows nothing of asyncio."""
    with asyncio.Runner() as runner:
        count = 0
        try:
            while not limit or count < limit:
                count += 1
                yield runner.run(_next(answers))
        except StopAsyncIteration:
            return
        finally:
            close: Callable[[], Coroutine[object, object, None]] | None = getattr(answers, "aclose", None)
            if close is not None:
                runner.run(close())


async def _next(answers: AsyncIterator[T]) -> T:
    return await anext(answers)


class _Showing:
    """A progress bar on a terminal; nothing otherwise."""

    def __init__(self, session: Session, total: int | None) -> None:
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=session.out.errors,
            disable=not session.out.errors.is_terminal,
            transient=True,
        )
        self.task = self.bar.add_task("objects", total=total)

    def __enter__(self) -> Callable[[SubOperations], None]:
        self.bar.start()
        return self.show

    def __exit__(self, *exception: object) -> None:
        self.bar.stop()

    def show(self, counts: SubOperations) -> None:
        done = counts.completed + counts.failed + counts.warning
        self.bar.update(self.task, completed=done, total=done + counts.remaining)


def _ended(session: Session, verb: str, peer: Device, counts: SubOperations) -> None:
    failures = [
        {"sop": f.sop_instance_uid, "status": f"{f.status:04X}", "reason": f.reason} for f in counts.failures
    ]
    values: dict[str, object] = {
        "peer": peer.name,
        "completed": counts.completed,
        "warning": counts.warning,
        "failed": counts.failed,
        "remaining": counts.remaining,
    }
    if session.out.as_json:
        session.out.line(to_json(values | {"failures": failures}))
    else:
        session.out.say(
            f"{counts.completed + counts.warning} objects {verb}, {counts.failed} failed "
            f"({counts.warning} with a warning)."
        )
        for failure in failures:
            session.out.warn(f"{failure['sop']}: status {failure['status']} {failure['reason']}")
    if counts.failed or counts.remaining:
        raise PeerError(
            f"{counts.failed + counts.remaining} objects were not {verb}",
            "See the reasons and the ledger",
        )

"""Doctor: look the archive over, and say of everything that is wrong what to do."""

from __future__ import annotations

import errno
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from hounsfield.domain.access import Role
from hounsfield.domain.admit import UnknownDevices
from hounsfield.domain.device import DeviceState
from hounsfield.domain.stored import QuarantineReason
from hounsfield.ports.jobs import JobState
from hounsfield.ports.ledger import LedgerFilter
from hounsfield.services.archive import Archive
from hounsfield.services.certificates import judge_certificate
from hounsfield.services.inventory import Inventory, take_inventory
from hounsfield.services.running import Running, running
from hounsfield.services.verify import Verified, Verifier
from hounsfield.settings import LOOPBACK, Settings, unknown_variables

#: This release did not exist before; a clock that says so is wrong.
RELEASED = datetime(2025, 1, 1, tzinfo=UTC)
#: How far ahead of the clock the ledger may be (microseconds): a step of the clock, not a fault.
AHEAD = 60_000_000
MOST_DETAILS = 20

#: What is looked at, how many so far, of how many.
Progress = Callable[[str, int, int], None]


class Verdict(StrEnum):
    FINE = "fine"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `todo` is set where the verdict is not fine."""

    check: str
    verdict: Verdict
    what: str
    todo: str = ""
    details: tuple[str, ...] = ()


def examine(
    archive: Archive,
    config: Path | None,
    versions: Mapping[str, str],
    *,
    actor: str,
    deep: bool,
    progress: Progress = lambda what, done, total: None,
) -> Iterator[Finding]:
    """Every check, in order. `deep` reads everything that is kept. May be left at any time.

    `progress` hears, of what takes long, how many objects of how many were looked at."""
    settings = archive.settings
    roles = running(settings.data)
    yield from _configuration(settings, config)
    yield from _certificate(settings)
    yield from _ports(settings, roles)
    yield _disk(archive)
    yield _database(archive)
    yield _clock(archive)
    yield _versions(versions)
    yield from _people(archive)
    yield from _jobs(archive, roles)
    with archive.database.read() as tx:
        counts = tx.index.counts()
    total = counts["instances"] + counts["quarantine"]
    looked = take_inventory(
        archive.database, archive.blobs, lambda done: progress("Pixels against index", done, total)
    )
    yield from _pixels(looked)
    yield from _set_aside(archive)
    if deep:
        yield _ledger(archive)
        yield _hashes(archive, actor, lambda done: progress("Reading every object", done.objects, total))


def _fine(check: str, what: str) -> Finding:
    return Finding(check, Verdict.FINE, what)


def _warn(check: str, what: str, todo: str, details: Sequence[str] = (), count: int = 0) -> Finding:
    return Finding(check, Verdict.WARNING, what, todo, _some(details, count))


def _bad(check: str, what: str, todo: str, details: Sequence[str] = (), count: int = 0) -> Finding:
    return Finding(check, Verdict.PROBLEM, what, todo, _some(details, count))


def _some(details: Sequence[str], count: int = 0) -> tuple[str, ...]:
    more = max(count, len(details)) - MOST_DETAILS
    return (*details[:MOST_DETAILS], *([f"... and {more} more"] if more > 0 else []))


def _configuration(settings: Settings, config: Path | None) -> Iterator[Finding]:
    yield _fine("configuration", f"read from {config}" if config else "no configuration file; that is fine")
    if strangers := unknown_variables():
        yield _warn(
            "configuration",
            f"no setting is called {', '.join(strangers)}",
            "Correct the spelling of these environment variables; docs/reference/settings.md has all",
        )
    if not settings.loopback and settings.unknown_devices is UnknownDevices.ACCEPT:
        yield _warn(
            "configuration",
            f"whoever reaches {settings.host} can store: unknown devices are accepted",
            "Set unknown_devices to quarantine, and admit your devices",
        )
    reachable = settings.http_port and not settings.web_host.startswith(LOOPBACK)
    if reachable and not settings.https and not settings.public_url.startswith("https:"):
        yield _warn(
            "configuration",
            f"passwords and images go over the network to {settings.web_host} as they are, without TLS",
            "Set http_certificate, or http_host to 127.0.0.1 and a proxy with HTTPS before it",
        )


def _certificate(settings: Settings) -> Iterator[Finding]:
    for prefix, certificate, key, authorities in (
        ("tls", settings.tls_certificate, settings.tls_key, settings.tls_client_ca),
        ("http", settings.http_certificate, settings.http_key, None),
    ):
        if certificate is None:
            continue
        judged = judge_certificate(certificate, key, authorities)
        if judged.fault:
            names = f"{prefix}_certificate, {prefix}_key" + (", tls_client_ca" if authorities else "")
            yield _bad("certificate", judged.fault, f"Renew it, or correct {names}")
        elif judged.days < 30:
            yield _warn("certificate", f"expires in {judged.days} days", "Renew it, then restart")
        else:
            yield _fine("certificate", f"valid for {judged.days} days more")


def _ports(settings: Settings, roles: Sequence[Running]) -> Iterator[Finding]:
    wanted = [("dicom_port", settings.host, settings.dicom_port)]
    wanted += [("dicom_tls_port", settings.host, settings.dicom_tls_port)] if settings.tls else []
    wanted += [("http_port", settings.web_host, settings.http_port)]
    for name, host, port in wanted:
        if not port:
            continue
        ours = [role for role in roles if port in role.ports]
        if ours:
            pids = ", ".join(f"{role.name} (process {role.pid})" for role in ours)
            yield _fine("ports", f"{host}:{port} is served by {pids}")
        elif not (why := _taken(host, port)):
            yield _fine("ports", f"{host}:{port} is free")
        else:
            yield _bad("ports", f"{host}:{port} cannot be used: {why}", f"Free it, or set {name} to another")
    ports = {port for _, _, port in wanted}
    for role in roles:
        if elsewhere := sorted(set(role.ports) - ports):
            listed = ", ".join(f"{role.host}:{port}" for port in elsewhere)
            yield _fine("ports", f"{listed} is served by {role.name} (process {role.pid}), started otherwise")


def _taken(host: str, port: int) -> str:
    """Why a port cannot be listened on; '' where it can."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return "another program listens there"
        return error.strerror or str(error)
    return ""


def _disk(archive: Archive) -> Finding:
    free, needed = archive.blobs.free_bytes(), archive.settings.min_free << 20
    total = shutil.disk_usage(archive.settings.data).total
    told = f"{free / 1e9:.1f} GB of {total / 1e9:.1f} GB free"
    if free < needed:
        return _bad("disk", f"{told}: objects are refused", "Make room, or lower min_free")
    if free < 5 * needed or free < total // 20:
        return _warn("disk", told, "Make room before objects have to be refused")
    return _fine("disk", told)


def _database(archive: Archive) -> Finding:
    told = ", ".join(f"{key} {value}" for key, value in archive.database.describe().items())
    with archive.database.read() as tx:
        counts = tx.index.counts()
    return _fine("database", f"{told}; " + ", ".join(f"{count} {name}" for name, count in counts.items()))


def _clock(archive: Archive) -> Finding:
    now = archive.clock.now()
    shown = datetime.fromtimestamp(now / 1e6, UTC).isoformat(timespec="seconds")
    if now < RELEASED.timestamp() * 1e6:
        return _bad("clock", f"the clock says {shown}, before this release", "Set it; keep it set with NTP")
    with archive.database.read() as tx:
        ahead = next(iter(tx.ledger.read(LedgerFilter(since=now + AHEAD, limit=1))), None)
    if ahead is not None:
        return _bad(
            "clock",
            f"the clock says {shown}, and the ledger has an event after that: it was wrong then, or is now",
            "Compare it with a time server; keep it set with NTP",
        )
    return _fine("clock", shown)


def _versions(versions: Mapping[str, str]) -> Finding:
    if missing := [name for name, version in versions.items() if version == "missing"]:
        return _bad("versions", f"{', '.join(missing)} not installed", "Install requirements/run.txt again")
    return _fine("versions", ", ".join(f"{name} {version}" for name, version in versions.items()))


def _people(archive: Archive) -> Iterator[Finding]:
    with archive.database.read() as tx:
        waiting = [d.name for d in tx.devices.all() if d.state is DeviceState.WAITING]
        accounts = tx.accounts.all()
        held = tx.index.counts().get("quarantine", 0)
    if waiting:
        yield _warn(
            "devices", f"{len(waiting)} wait to be admitted", "hounsfield device admit or refuse", waiting
        )
    if held:
        yield _warn("quarantine", f"{held} objects are held", "See `hounsfield quarantine list`")
    if not any(account.role == Role.ADMINISTRATOR and not account.disabled for account in accounts):
        yield _warn("users", "there is no administrator", "hounsfield user add NAME --role administrator")


def _jobs(archive: Archive, roles: Sequence[Running]) -> Iterator[Finding]:
    with archive.database.read() as tx:
        counts = tx.jobs.counts()
        dead = tx.jobs.list(state=JobState.DEAD)
    total: dict[str, int] = {}
    for (_, state), count in counts.items():
        total[state] = total.get(state, 0) + count
    if dead:
        yield _warn(
            "jobs",
            f"{total.get('dead', len(dead))} were set aside after failing again and again",
            "Correct the cause, then: hounsfield job revive NUMBER",
            [f"{job.id} {job.kind}: {job.error}" for job in dead],
        )
    told = ", ".join(f"{count} {state}" for state, count in total.items() if state != "dead")
    worker = any(not role.ports for role in roles)  # the others listen
    yield _fine("jobs", f"{told or 'none waiting'}; {'a worker runs' if worker else 'no worker runs here'}")


def _pixels(found: Inventory) -> Iterator[Finding]:
    """Pixels against index, both ways."""
    if found.faulty:
        yield _bad(
            "pixels",
            f"{found.faulty} of {found.objects} objects are not where the index says",
            "Bring the named files back from a backup, then run this again",
            [f"{fault.sop_instance_uid}: {fault.why}" for fault in found.faults],
            found.faulty,
        )
    else:
        yield _fine("pixels", f"all {found.objects} objects of the index are there, in {found.blobs} blobs")
    if found.strays:
        yield _warn(
            "pixels",
            f"{found.strays} blobs are in no index; a crash leaves such, and nothing of them was "
            "acknowledged unless they came from a backup",
            "Start the archive, which replays its logs; the worker removes those whose objects are whole "
            "elsewhere some hours after; what is still named then can be imported or removed",
            [f"{key} ({length} bytes)" for key, length in found.unnamed],
            found.strays,
        )


def _set_aside(archive: Archive) -> Iterator[Finding]:
    """Objects that were acknowledged and that the index could not take."""
    why = "`hounsfield ledger` says why; report that"
    if files := archive.blobs.aside():
        yield _bad(
            "set aside",
            f"{len(files)} objects that were acknowledged could not be entered into the index; their files "
            f"are kept in {archive.settings.data / 'set-aside'}",
            f"{why}. With a release that can read them: hounsfield import that folder, then remove it",
            [f"{name} ({length} bytes)" for name, length in files],
        )
    with archive.database.read() as tx:
        held = sum(1 for _ in tx.index.quarantine(reason=QuarantineReason.NOT_ENTERED))
    if held:
        yield _bad(
            "set aside",
            f"{held} objects that were acknowledged are held, since the index failed at them",
            f"{why}. With a release that can: hounsfield quarantine release --held-for not-entered",
        )


def _ledger(archive: Archive) -> Finding:
    with archive.database.read() as tx:
        reports = list(tx.ledger.verify())
    broken = [f"{r.writer}: event {r.broken_at}: {r.why}" for r in reports if r.broken_at]
    if broken:
        return _bad("ledger", f"{len(broken)} chains are broken", "Compare with a backup", broken)
    return _fine("ledger", f"{len(reports)} chains, {sum(r.events for r in reports)} events, all whole")


def _hashes(archive: Archive, actor: str, progress: Callable[[Verified], None]) -> Finding:
    verifier = Verifier(archive.database, archive.blobs, archive.clock, actor=actor, progress=progress)
    verified = verifier.everything()
    if verified.damaged:
        return _bad(
            "hashes",
            f"{len(verified.damaged)} of {verified.objects} objects are not what was received",
            "Bring them back from a backup, or have them sent again",
            [f"{d.sop_instance_uid} in {d.key}: {d.why}" for d in verified.damaged],
        )
    return _fine("hashes", f"{verified.objects} objects, {verified.bytes / 1e6:.0f} MB, are as received")

"""Peers for the interop tests: programs of DCMTK, an Orthanc, servers of pynetdicom, certificates."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydicom.dataset import Dataset
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, evt
from pynetdicom.sop_class import CTImageStorage

from support_server import Archive, free_port, wait_for


def find_program(name: str) -> str | None:
    """Debian puts servers where only root's path looks."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def run(program: str, *words: object, check: bool = True, seconds: float = 60.0) -> str:
    """What a program of DCMTK or dicom3tools said."""
    path = find_program(program)
    assert path is not None, f"{program} is not installed"
    done = subprocess.run(
        [path, *map(str, words)],
        capture_output=True,
        check=False,
        timeout=seconds,
    )
    said = (done.stdout + done.stderr).decode("utf-8", "replace")
    assert not check or done.returncode == 0, f"{program} {words}: {done.returncode}\n{said}"
    return said


@contextmanager
def serving(program: str, *words: object, port: int, folder: Path, ready: bool = True) -> Iterator[Path]:
    """A server of DCMTK for the length of the block; its log."""
    path = find_program(program)
    assert path is not None, f"{program} is not installed"
    log = folder / f"{program}.log"
    with log.open("wb") as out:
        process = subprocess.Popen([path, *map(str, words)], stdout=out, stderr=out, cwd=folder)
    try:
        if ready:
            wait_for(lambda: process.poll() is not None or _listens(port), f"{program} does not listen")
        assert process.poll() is None, log.read_text()
        yield log
    finally:
        process.terminate()
        process.wait(10)


def _listens(port: int) -> bool:
    """Without connecting: some servers serve one connection at a time."""
    wanted = f":{port:04X}"
    for name in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(name).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[1].endswith(wanted) and fields[3] == "0A":
                return True
    return False


class Orthanc:
    """One Orthanc on free ports. `modalities` as its configuration has them."""

    def __init__(self, folder: Path, modalities: dict[str, list[Any]], **more: Any) -> None:
        self.folder = folder
        self.dicom_port, self.http_port = free_port(), free_port()
        configuration = {
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "DicomAet": "ORTHANC",
            "DicomPort": self.dicom_port,
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomCheckCalledAet": False,
            "DicomCheckModalityHost": False,
            "DicomAlwaysAllowGet": True,
            "DicomAlwaysAllowMove": True,
            "DicomAlwaysAllowFind": True,
            "DicomModalities": modalities,
            "SynchronousCMove": True,
            "Plugins": [],
            **more,
        }
        path = folder / "orthanc.json"
        path.write_text(json.dumps(configuration))
        program = find_program("Orthanc")
        assert program is not None
        self._log = (folder / "orthanc.log").open("wb")
        self._process = subprocess.Popen(
            [program, str(path)], stdout=self._log, stderr=self._log, env=os.environ | {"TCP_NODELAY": "1"}
        )
        wait_for(lambda: _listens(self.http_port) and _listens(self.dicom_port), "Orthanc does not listen")

    def ask(self, path: str, body: object = None, *, method: str = "") -> Any:
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http_port}{path}",
            data=data,
            method=method or ("POST" if data is not None else "GET"),
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            raw = answer.read()
        try:
            return json.loads(raw)
        except ValueError:
            return raw

    def instances(self) -> set[str]:
        """SOP Instance UIDs that it has."""
        found = self.ask("/tools/find", {"Level": "Instance", "Query": {}, "Expand": True})
        return {instance["MainDicomTags"]["SOPInstanceUID"] for instance in found}

    def clear(self) -> None:
        for patient in self.ask("/patients"):
            self.ask(f"/patients/{patient}", method="DELETE")

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._log.close()


@dataclass
class Scp:
    """A storage SCP of pynetdicom: what came, and how it answers."""

    port: int
    came: list[tuple[str, str, bytes]] = field(default_factory=list)  # SOP Instance UID, syntax, data set
    requests: list[Any] = field(default_factory=list)
    associations: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def uids(self) -> list[str]:
        return [uid for uid, _, _ in self.came]


@contextmanager
def storage_scp(
    *,
    title: str = "SCP",
    port: int = 0,
    classes: Sequence[str] = (CTImageStorage,),
    syntaxes: Sequence[str] = tuple(ALL_TRANSFER_SYNTAXES),
    answer: Callable[[str, int], int] = lambda uid, number: 0,
    handlers: Sequence[tuple[Any, ...]] = (),
    more: Callable[[AE], None] = lambda ae: None,
    **arguments: Any,
) -> Iterator[Scp]:
    """`answer` gives the status for a SOP Instance UID and the number of the request."""
    scp = Scp(port or free_port())
    ae = AE(title)
    for sop_class in classes:
        ae.add_supported_context(sop_class, list(syntaxes))
    more(ae)

    def on_store(event: Any) -> int:
        with scp.lock:
            request = event.request
            scp.requests.append(request)
            status = answer(request.AffectedSOPInstanceUID, len(scp.requests))
            if status == 0 or status & 0xF000 == 0xB000:
                syntax = event.context.transfer_syntax
                scp.came.append((request.AffectedSOPInstanceUID, syntax, request.DataSet.getvalue()))
            return status

    def on_accepted(event: Any) -> None:
        with scp.lock:
            scp.associations += 1

    server = ae.start_server(
        ("127.0.0.1", scp.port),
        block=False,
        evt_handlers=[(evt.EVT_C_STORE, on_store), (evt.EVT_ACCEPTED, on_accepted), *handlers],
        **arguments,
    )
    try:
        yield scp
    finally:
        server.shutdown()


@dataclass(frozen=True)
class Secured:
    """An archive that speaks TLS."""

    archive: Archive
    certificates: Certificates


@dataclass(frozen=True)
class Certificates:
    """PEM files."""

    authority: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path
    stranger: Path  # signed by another authority
    stranger_key: Path


def make_certificates(folder: Path) -> Certificates:
    authority, authority_key = _certificate("Test authority", None, None, is_authority=True)
    other, other_key = _certificate("Other authority", None, None, is_authority=True)
    paths = {"authority": folder / "authority.pem"}
    paths["authority"].write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    for name, issuer, key in (
        ("server", authority, authority_key),
        ("client", authority, authority_key),
        ("stranger", other, other_key),
    ):
        certificate, own_key = _certificate(f"Test {name}", issuer, key)
        paths[name] = folder / f"{name}.pem"
        paths[name].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        paths[f"{name}_key"] = folder / f"{name}.key"
        paths[f"{name}_key"].write_bytes(
            own_key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
    return Certificates(**paths)


def _certificate(
    name: str,
    issuer: x509.Certificate | None,
    issuer_key: ec.EllipticCurvePrivateKey | None,
    *,
    is_authority: bool = False,
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer is not None else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    )
    if not is_authority:
        names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(issuer_key or key, hashes.SHA256()), key


def value_of(data_set: Dataset, keyword: str) -> str:
    return str(getattr(data_set, keyword, ""))

"""One archive for the whole folder, and the peers that tests start beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support_peers import Certificates, Orthanc, Secured, make_certificates
from support_server import Archive, free_port


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """The dicom role and the worker, with peers known by the tests."""
    made = Archive(tmp_path_factory.mktemp("archive"), large_object=1, idle_seconds=30)
    made.start()
    made.start("worker")
    yield made
    made.stop()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session", params=[False, True], ids=["server certificate", "client certificate too"])
def secured(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, certificates: Certificates
) -> Iterator[Secured]:
    """An archive with TLS; the second one takes clients with a certificate of the authority alone."""
    made = Archive(
        tmp_path_factory.mktemp("secured"),
        dicom_tls_port=free_port(),
        tls_certificate=certificates.server,
        tls_key=certificates.server_key,
        tls_client_ca=certificates.authority,
        tls_require_client=request.param,
        artim_seconds=3,
    )
    made.start()
    yield Secured(made, certificates)
    made.stop()


@pytest.fixture(scope="session")
def orthanc(tmp_path_factory: pytest.TempPathFactory, archive: Archive) -> Iterator[Orthanc]:
    """An Orthanc and the archive that know each other."""
    started = Orthanc(
        tmp_path_factory.mktemp("orthanc"), {"hounsfield": ["HOUNSFIELD", "127.0.0.1", archive.port]}
    )
    archive.device("ORTHANC", host="127.0.0.1", port=started.dicom_port)
    yield started
    started.stop()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path

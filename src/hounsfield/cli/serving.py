"""serve, dicom, web, worker: the roles of the server."""

from __future__ import annotations

from typing import Annotated

import typer

from hounsfield.cli.session import Session, command

Name = Annotated[
    str, typer.Option(help="Name of this process among those that share a data folder; names its intake log.")
]
Host = Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")]
Port = Annotated[int | None, typer.Option(help="Port of DIMSE.", show_default="11112", min=0, max=65535)]
HttpPort = Annotated[
    int | None, typer.Option(help="Port of the web role; 0: none.", show_default="8080", min=0, max=65535)
]


def register(app: typer.Typer) -> None:
    command(app, "serve", json=False)(serve)
    command(app, "dicom", json=False)(dicom)
    command(app, "web", json=False)(web)
    command(app, "worker", json=False)(worker)


def serve(
    session: Session,
    host: Host = None,
    dicom_port: Port = None,
    http_port: HttpPort = None,
    dicom_workers: Annotated[
        int | None, typer.Option(help="Processes that speak DIMSE.", show_default="1", min=1)
    ] = None,
    web_workers: Annotated[
        int | None, typer.Option(help="Processes that answer over HTTP.", show_default="1", min=1)
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Bring demo studies in at the first start.")] = False,
) -> None:
    """Start the archive: all its roles, supervised, until SIGTERM or Ctrl-C.

    The first start makes the data folder, the database and the account admin, with the password from
    HOUNSFIELD_ADMIN_PASSWORD or a random one that is shown once.
    """
    session.flags |= {
        "host": host,
        "dicom_port": dicom_port,
        "dicom_workers": dicom_workers,
        "http_port": http_port,
        "web_workers": web_workers,
    }
    session.wiring.serve(session.settings, session.config, demo=demo)


def dicom(session: Session, name: Name = "dicom-1", host: Host = None, dicom_port: Port = None) -> None:
    """Run the DIMSE role alone, against the same database."""
    session.flags |= {"host": host, "dicom_port": dicom_port}
    session.wiring.run_dicom(session.settings, name)


def web(session: Session, name: Name = "web-1", host: Host = None, http_port: HttpPort = None) -> None:
    """Run the web role alone, against the same database: DICOMweb, the API, sign-in.

    Any number may run: each with a --name of its own, and on one machine with `web_workers` greater than 1,
    so that they share the port.
    """
    session.flags |= {"http_host": host, "http_port": http_port}
    session.wiring.run_web(session.settings, name)


def worker(session: Session, name: Name = "worker-1") -> None:
    """Run the job worker alone, against the same database."""
    session.wiring.run_worker(session.settings, name)

"""The command line: every group of commands under one program."""

from __future__ import annotations

import typer

from hounsfield.cli import (
    checking,
    committing,
    devices,
    importing,
    jobs,
    ledger,
    peers,
    quarantines,
    serving,
    studies,
    tokens,
    users,
)

app = typer.Typer(
    name="hounsfield",
    help="Hounsfield, the PACS administrator's PACS: receive, keep, find and give back medical images.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

serving.register(app)
importing.register(app)
peers.register(app)
committing.register(app)
app.add_typer(studies.app, name="study")
app.add_typer(devices.app, name="device")
app.add_typer(quarantines.app, name="quarantine")
app.add_typer(ledger.app, name="ledger")
app.add_typer(jobs.app, name="job")
app.add_typer(users.app, name="user")
app.add_typer(tokens.app, name="token")
checking.register(app)

"""What every command has in common: --data, --config, --database, --json, errors, exit codes."""

from __future__ import annotations

import functools
import getpass
import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from hounsfield.cli.output import Output, to_json
from hounsfield.cli.wiring import Wiring
from hounsfield.domain.errors import HounsfieldError
from hounsfield.services.archive import Archive
from hounsfield.settings import Settings, config_path, load

_PANEL = "Which archive"
_COMMON: dict[str, tuple[object, object]] = {
    "data": (
        Annotated[
            Path | None,
            typer.Option(help="Folder of the archive.", rich_help_panel=_PANEL, show_default=False),
        ],
        None,
    ),
    "config": (
        Annotated[
            Path | None,
            typer.Option(help="TOML file with settings.", rich_help_panel=_PANEL, show_default=False),
        ],
        None,
    ),
    "database": (
        Annotated[
            str | None,
            typer.Option(
                help="URL of the database, sqlite:///FILE or postgresql://...",
                rich_help_panel=_PANEL,
                show_default=False,
            ),
        ],
        None,
    ),
}
_JSON = (Annotated[bool, typer.Option("--json", help="Print JSON.", show_default=False)], False)


@dataclass(slots=True)
class Session:
    """One run of one command."""

    wiring: Wiring
    out: Output
    config: Path | None
    flags: dict[str, object] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        return load(self.config, self.flags)

    @property
    def actor(self) -> str:
        """Who does it, for the ledger."""
        try:
            return f"cli:{getpass.getuser()}"
        except (KeyError, OSError):  # a user id without a name, as containers have
            return "cli:unknown"

    def archive(self, *, make: bool = False) -> AbstractContextManager[Archive]:
        return self.wiring.open(self.settings, make=make)


def command(
    app: typer.Typer, name: str, *, json: bool = True, group: bool = False
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add a function as a command: its first parameter is the session, the rest are typer's.

    Every command gets the options that name the archive and, when it prints data, --json. With `group` it
    is what the group itself does when no command of it is named.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        run = _runner(function, json)
        (app.callback(invoke_without_command=True) if group else app.command(name))(run)
        return function

    return register


def _runner(function: Callable[..., None], json: bool) -> Callable[..., None]:
    common = _COMMON | ({"as_json": _JSON} if json else {})

    @functools.wraps(function)
    def run(ctx: typer.Context, **values: Any) -> None:
        given = {key: values.pop(key) or ctx.meta.get(key) for key in common}
        if ctx.invoked_subcommand is not None:  # what was given to the group is for its command
            ctx.meta.update(given)
            return
        out = Output(as_json=bool(given.pop("as_json", False)))
        session = Session(ctx.obj, out, given.pop("config") or config_path(), given)
        with explained(out):
            function(session, **values)

    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context),
        *(parameter.replace(kind=keyword) for parameter in own),
        *(
            inspect.Parameter(key, keyword, default=default, annotation=annotation)
            for key, (annotation, default) in common.items()
        ),
    ]
    # typer reads these: the function's own parameters with the common ones added
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    del run.__wrapped__
    return run


@contextmanager
def explained(out: Output) -> Iterator[None]:
    """Turn an error that we can explain into its sentence and its exit code."""
    try:
        yield
    except HounsfieldError as error:
        if out.as_json:
            out.errors.out(to_json({"error": error.what, "todo": error.todo, "exit_code": error.exit_code}))
        else:
            out.warn(str(error))
        raise typer.Exit(error.exit_code) from error

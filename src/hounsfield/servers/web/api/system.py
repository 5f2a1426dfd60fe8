"""The archive itself: what runs, what it holds, its settings."""

from __future__ import annotations

import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import Field

import hounsfield
from hounsfield.domain.access import Permission
from hounsfield.servers.web.api.shapes import Shape, TheWeb, Who, problems
from hounsfield.servers.web.guard import Rule
from hounsfield.servers.web.web import Web
from hounsfield.services import live_settings, statistics
from hounsfield.services.running import running

router = APIRouter(tags=["system"])

PACKAGES = ("pydicom", "SQLAlchemy", "psycopg", "uvloop", "imagecodecs", "starlette", "uvicorn", "fastapi")


class RunningRole(Shape):
    name: str
    pid: int
    host: str
    ports: list[int]


class Disk(Shape):
    total: int
    free: int


class System(Shape):
    version: str
    python: str
    packages: dict[str, str]
    database: dict[str, str]
    counts: dict[str, int] = Field(description="Patients, studies, ...; a minute old at most.")
    disk: Disk
    roles: list[RunningRole] = Field(description="On this machine.")


class LiveSetting(Shape):
    name: str
    summary: str
    value: str


class AllSettings(Shape):
    live: list[LiveSetting] = Field(description="Changed here, without a restart.")
    start: dict[str, Any] = Field(description="What this process was started with; secrets are left out.")


class NewValue(Shape):
    value: Annotated[str, Field(max_length=live_settings.LONGEST)]


@router.get("/system", responses=problems())
async def show_system(web: TheWeb, who: Who) -> System:
    """Versions, database, disk, counts, and the roles that run. Counts are of all sites: none for those who
    are limited to some."""
    shown = await web.beside_loop(_system, web)
    return shown if who.scope.unlimited else shown.model_copy(update={"counts": {}})


@router.get("/settings", responses=problems())
async def list_settings(web: TheWeb) -> AllSettings:
    """All settings."""
    values = await web.beside_loop(live_settings.values, web.database)
    live = [
        LiveSetting(name=name, summary=live_settings.CATALOGUE[name], value=value)
        for name, value in values.items()
    ]
    return AllSettings(live=live, start=web.settings.public())


@router.put("/settings/{name}", responses=problems(404))
async def change_setting(
    web: TheWeb, who: Who, name: Annotated[str, Path(max_length=64)], new: NewValue
) -> LiveSetting:
    """Change a live setting."""
    await web.beside_loop(live_settings.change, web.database, web.clock, who.actor, name, new.value)
    return LiveSetting(name=name, summary=live_settings.CATALOGUE[name], value=new.value)


def _system(web: Web) -> System:
    usage = shutil.disk_usage(web.settings.data)
    return System(
        version=hounsfield.__version__,
        python=platform.python_version(),
        packages={name: _version(name) for name in PACKAGES},
        database=web.database.describe(),
        counts=statistics.counts(web.database, web.clock),
        disk=Disk(total=usage.total, free=web.blobs.free_bytes()),
        roles=[
            RunningRole(name=role.name, pid=role.pid, host=role.host, ports=role.ports)
            for role in running(web.settings.data)
        ],
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


RULES = (
    Rule("GET", "/api/system", Permission.SYSTEM_READ),
    Rule("GET", "/api/settings", Permission.SETTINGS_READ),
    Rule("PUT", "/api/settings/{name}", Permission.SETTINGS_CHANGE),
)

"""DICOMweb (PS3.18) under /dicom-web, and WADO-URI."""

from __future__ import annotations

from starlette.routing import BaseRoute

from hounsfield.servers.web.dicomweb import (
    bulkdata,
    capabilities,
    frames,
    metadata,
    qido,
    rendered,
    stow,
    wado,
    wado_uri,
)
from hounsfield.servers.web.guard import Rule

_MODULES = (qido, stow, wado, metadata, frames, bulkdata, rendered, wado_uri, capabilities)

routes: list[BaseRoute] = [route for module in _MODULES for route in module.routes]
RULES: tuple[Rule, ...] = tuple(rule for module in _MODULES for rule in module.RULES)

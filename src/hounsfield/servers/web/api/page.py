"""The API as a page for people: made of the OpenAPI document, without a script."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from hounsfield.servers.web.pages import page, text

_METHODS = ("get", "post", "put", "patch", "delete")


def documentation(document: Mapping[str, Any]) -> Response:
    info = document["info"]
    parts = [
        f"<p>{text(info['description'])}</p>",
        "<p>Version " + text(info["version"]) + ', as <a href="/api/openapi.json">OpenAPI</a>.</p>',
    ]
    for path, operations in document["paths"].items():
        for method in _METHODS:
            if method in operations:
                parts.append(_operation(method, path, operations[method], document))
    return page("Administration API", "".join(parts))


def _operation(method: str, path: str, operation: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    parts = [
        f"<h2><code>{method.upper()} /api{text(path)}</code></h2>",
        f"<p>{text(operation.get('description', ''))} "
        f"Needs <code>{text(operation['x-permission'])}</code>.</p>",
    ]
    rows = [
        _row(one["name"], one["in"], one.get("schema", {}), one.get("description", ""), one.get("required"))
        for one in operation.get("parameters", ())
    ]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    shape = _resolved(body, document)
    for name, schema in shape.get("properties", {}).items():
        required = name in shape.get("required", ())
        rows.append(_row(name, "body", schema, schema.get("description", ""), required))
    if rows:
        parts.append(f"<table>{''.join(rows)}</table>")
    return "".join(parts)


def _row(name: str, place: str, schema: Mapping[str, Any], about: str, required: object) -> str:
    kind = _kind(schema) + (", required" if required else "")
    return f"<tr><th>{text(name)}</th><td>{text(place)}</td><td>{text(kind)}</td><td>{text(about)}</td></tr>"


def _kind(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    return str(schema.get("format") or schema.get("type", ""))


def _resolved(schema: Mapping[str, Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in schema:
        return schema
    found: Mapping[str, Any] = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found

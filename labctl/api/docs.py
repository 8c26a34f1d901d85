"""GET /docs: the API on one page, made from its OpenAPI description; needs no script and no other server."""

from __future__ import annotations

from html import escape
from typing import Any

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}
h2{margin-top:2.2rem;border-bottom:1px solid #d0d7de}code{background:#f2f4f6;padding:.1em .3em;border-radius:3px}
details{border:1px solid #d0d7de;border-radius:6px;margin:.5rem 0;padding:.4rem .8rem}summary{cursor:pointer}
.m{display:inline-block;width:4.5em;font-weight:600}table{border-collapse:collapse}td{padding:.15rem .8rem .15rem 0;
vertical-align:top}pre{background:#f2f4f6;padding:.6rem;overflow:auto}
"""


def render(openapi: dict[str, Any]) -> str:
    """The page for an OpenAPI 3 document."""
    groups: dict[str, list[str]] = {}
    for path, operations in openapi["paths"].items():
        for method, operation in operations.items():
            group = (operation.get("tags") or ["daemon"])[0]
            groups.setdefault(group, []).append(_operation(method, path, operation))
    info = openapi["info"]
    parts = [f"<h2>{escape(name)}</h2>{''.join(entries)}" for name, entries in groups.items()]
    schemas = openapi.get("components", {}).get("schemas", {})
    parts.append("<h2>bodies</h2>" + "".join(_schema(name, schema) for name, schema in schemas.items()))
    title = escape(f"{info['title']} {info['version']}")
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>"
        f"<h1>{title}</h1><p>{escape(info.get('description', ''))}</p>"
        f'<p>The same for programs: <a href="/openapi.json">openapi.json</a></p>{"".join(parts)}</html>'
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(each['name'])}</code><td>in {escape(each['in'])}"
        f"<td>{escape(each.get('description', ''))}"
        for each in operation.get("parameters", ())
    )
    answers = "".join(
        f"<tr><td><code>{escape(code)}</code><td>{escape(answer.get('description', ''))}"
        for code, answer in operation.get("responses", {}).items()
    )
    bodies = [
        f"<p>Body, <code>{escape(kind)}</code>: {_reference(content.get('schema', {}))}"
        for kind, content in operation.get("requestBody", {}).get("content", {}).items()
    ]
    text = escape(operation.get("description") or operation.get("summary") or "").replace("\n\n", "<p>")
    return (
        f"<details id={escape(operation.get('operationId', ''))}><summary><span class=m>{escape(method.upper())}</span>"
        f"<code>{escape(path)}</code></summary><p>{text}{''.join(bodies)}<table>{rows}</table><table>{answers}</table></details>"
    )


def _schema(name: str, schema: dict[str, Any]) -> str:
    required = schema.get("required", ())
    rows = "".join(
        f"<tr><td><code>{escape(key)}</code>{' *' if key in required else ''}<td>{_reference(value)}"
        f"<td>{escape(str(value.get('description', '')))}"
        for key, value in schema.get("properties", {}).items()
    )
    return (
        f"<details id=schema-{escape(name)}><summary><code>{escape(name)}</code></summary>"
        f"<p>{escape(schema.get('description', ''))}<table>{rows}</table></details>"
    )


def _reference(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = escape(str(schema["$ref"]).rsplit("/", 1)[-1])
        return f'<a href="#schema-{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_reference(each) for each in schema["anyOf"])
    kind = str(schema.get("type", "anything"))
    if kind == "array":
        return f"array of {_reference(schema.get('items', {}))}"
    limits = [
        f"{sign} {schema[key]:g}"
        for key, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"))
        if key in schema
    ]
    return escape(" ".join([kind, *limits]))

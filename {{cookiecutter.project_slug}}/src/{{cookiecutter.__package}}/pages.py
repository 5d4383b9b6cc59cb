"""The service's description of itself: OpenAPI, and a page that shows it and needs nothing from elsewhere."""

import html
import json
from typing import Any

import msgspec

from .predictor import Passport

REASONS = {
    "400": "The body is not JSON",
    "408": "The body came too slowly",
    "413": "The body or the list is too long",
    "415": "The content type is not application/json",
    "422": "A row is not what schema.yaml says; `field` and `row` tell where",
}
TIME = r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])[T ]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?$"
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>body{{font:16px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}}
textarea,pre{{width:100%;font:13px/1.4 monospace;background:#f6f8fa;padding:.6rem;box-sizing:border-box}}
td,th{{text-align:left;padding:.1rem 1rem .1rem 0;vertical-align:top}}</style>
<h1>{title}</h1><p>Model <code>{model}</code>. Machines read <a href="openapi.json">openapi.json</a>.</p>
<h2>Try it</h2><p>A real row of the data:</p><textarea id="row" rows="18">{row}</textarea>
<p><button id="ask">POST /predict</button></p><pre id="said"></pre>
<h2>Columns</h2><table><tr><th>column<th>what it may be</tr>{columns}</table>
<h2>Pages</h2><table>{paths}</table>
<script>document.getElementById("ask").onclick=async()=>{{const r=await fetch("predict",{{method:"POST",
headers:{{"Content-Type":"application/json"}},body:document.getElementById("row").value}});
document.getElementById("said").textContent=r.status+" "+JSON.stringify(await r.json(),null,2)}}</script></html>
"""


def body(reference: str, example: Any) -> dict[str, Any]:
    """A body that is one object or a list of them."""
    one = {"$ref": f"#/components/schemas/{reference}"}
    schema = {"anyOf": [one, {"type": "array", "items": one}]}
    return {"application/json": {"schema": schema, "example": example}}


def post(says: str, asked: dict[str, Any], status: str, answer: dict[str, Any]) -> dict[str, Any]:
    """A page that takes a body."""
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    replies = {code: {"description": why, "content": error} for code, why in REASONS.items()}
    replies[status] = {"description": "Done", "content": answer}
    return {"post": {"summary": says, "requestBody": {"required": True, "content": asked}, "responses": replies}}


def get(says: str, *more: str) -> dict[str, Any]:
    """A page that is only read."""
    return {"get": {"summary": says, "responses": {status: {"description": says} for status in ("200", *more)}}}


def openapi(row: type, reading: type, truth: type, passport: Passport) -> dict[str, Any]:
    """The OpenAPI description, with a real row of the data and the pipeline's answer to it."""
    _, schemas = msgspec.json.schema_components((row, reading, truth), ref_template="#/components/schemas/{name}")
    for name, dtype in passport.dtypes.items():
        if dtype.startswith("datetime64["):
            schemas["Row"]["properties"][name] |= {"pattern": TIME, "description": "local time, ISO 8601"}
    said = {"error": {"type": "string"}, "field": {"type": "string"}, "row": {"type": "integer"}}
    schemas["Error"] = {"type": "object", "required": ["error"], "properties": said}
    taken = {"application/json": {"schema": {"type": "object"}, "example": {"taken": 1}}}
    answer = {"id": "example-1", **passport.answers[0], "model": passport.model}
    return {
        "openapi": "3.1.0",
        "info": {"title": str(__package__).replace("_", " "), "version": passport.model[:12]},
        "paths": {
            "/predict": post(
                "Answer a row, or a list of rows", body("Row", passport.rows[0]), "200", body("Reading", answer)
            ),
            "/feedback": post(
                "Take what came true", body("Truth", {"id": answer["id"], "truth": answer["prediction"]}), "202", taken
            ),
            "/live": get("The process answers"),
            "/ready": get("The model answers", "503"),
            "/version": get("Which model this is, from which commit and data"),
            "/metrics": get("Numbers for Prometheus"),
            "/docs": get("This page"),
        },
        "components": {"schemas": schemas},
    }


def page(spec: dict[str, Any]) -> bytes:
    """The description as one HTML page."""
    row = spec["components"]["schemas"]["Row"]
    cells = [
        (name, json.dumps({k: v for k, v in rule.items() if k != "default"}))
        for name, rule in row["properties"].items()
    ]
    paths = [(path, how["summary"]) for path, kinds in spec["paths"].items() for how in kinds.values()]
    columns, listed = (
        "".join(f"<tr><td><code>{html.escape(a)}</code><td>{html.escape(b)}</tr>" for a, b in table)
        for table in (cells, paths)
    )
    example = spec["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["example"]
    shown = {"title": spec["info"]["title"], "model": spec["info"]["version"], "row": json.dumps(example, indent=1)}
    escaped = {key: html.escape(value) for key, value in shown.items()}
    return PAGE.format(columns=columns, paths=listed, **escaped).encode()

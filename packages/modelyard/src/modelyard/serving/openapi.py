"""The service's OpenAPI description, which docs.html shows."""

from typing import Any

import msgspec

from modelyard.core.project import Project
from modelyard.inference.bundle import ModelBundle

SCHEMA_REF = "#/components/schemas/{name}"
ERROR_DESCRIPTIONS = {
    "400": "The body is not JSON",
    "401": "A key is needed, and the request has none that the service knows",
    "403": "Feedback for a prediction that another key asked for",
    "408": "The body arrived too slowly",
    "413": "The body or the list is too long",
    "415": "The content type is not application/json",
    "422": "A row breaks schema.yaml; `field` and `row` say where",
    "503": "Too many requests, or too much feedback, at once; `Retry-After` says when to try again",
    "507": "The log has no room for more feedback of this key",
}
GET_DESCRIPTIONS = {
    "/live": "Whether the process runs",
    "/ready": "Whether the model is loaded and tested",
    "/version": "The model, its commit and its data",
    "/metrics": "Metrics for Prometheus",
    "/docs": "This description, to try out",
}
ERROR_SCHEMA = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string"}, "field": {"type": "string"}, "row": {"type": "integer"}},
}


def make_ref(name: str) -> dict[str, str]:
    """Return a reference to a schema of the description."""
    return {"$ref": SCHEMA_REF.format(name=name)}


def allow_list(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of one value or a list of them."""
    return {"anyOf": [schema, {"type": "array", "items": schema}]}


def build_post_operation(
    summary: str, body_schema: str, example: Any, status: str, reply: dict[str, Any]
) -> dict[str, Any]:
    """Return a path that takes an object or a list of them.

    Parameters
    ----------
    summary
        What it does.
    body_schema, example
        The name of the body's schema, and an example.
    status, reply
        The status of a success, and its body: a schema and an example.
    """
    error = {"application/json": {"schema": make_ref("Error")}}
    responses = {code: {"description": why, "content": error} for code, why in ERROR_DESCRIPTIONS.items()}
    responses[status] = {"description": "Done", "content": {"application/json": reply}}
    body = {"schema": allow_list(make_ref(body_schema)), "example": example}
    request = {"required": True, "content": {"application/json": body}}
    return {"post": {"summary": summary, "requestBody": request, "responses": responses}}


def build_get_operation(path: str, summary: str) -> dict[str, Any]:
    """Return a path without a body."""
    statuses = ("200", "503") if path == "/ready" else ("200",)
    return {"get": {"summary": summary, "responses": {status: {"description": summary} for status in statuses}}}


def build_openapi(row: type, record: type, truth: type, bundle: ModelBundle, example: dict[str, Any]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 description.

    Parameters
    ----------
    row, record, truth
        The types of a row, of its prediction and of its true outcome.
    bundle
        The model's bundle, whose first prediction is the example of a reply.
    example
        An example row.
    """
    _, schemas = msgspec.json.schema_components((row, record, truth), ref_template=SCHEMA_REF)
    schemas["Error"] = ERROR_SCHEMA
    prediction = {"id": "example-1", **bundle.answers[0], "model": bundle.model}
    predicted = {"schema": allow_list(make_ref(record.__name__)), "example": prediction}
    outcome = {"id": prediction["id"], "truth": prediction["prediction"]}
    taken = {"schema": {"type": "object"}, "example": {"taken": 1}}
    paths = {
        "/predict": build_post_operation("Predict a row, or a list of rows", "Row", example, "200", predicted),
        "/feedback": build_post_operation("Take true outcomes", truth.__name__, outcome, "202", taken),
    }
    paths |= {path: build_get_operation(path, summary) for path, summary in GET_DESCRIPTIONS.items()}
    info = {"title": Project.load().name.replace("-", " "), "version": bundle.model[:12]}
    return {"openapi": "3.1.0", "info": info, "paths": paths, "components": {"schemas": schemas}}

"""The service's description of itself: OpenAPI; docs.html shows it."""

from typing import Any

import msgspec

from modelyard.core.project import Project
from modelyard.inference.bundle import ModelBundle

ERROR_DESCRIPTIONS = {
    "400": "The body is not JSON",
    "401": "A key is needed, and this is none",
    "408": "The body came too slowly",
    "413": "The body or the list is too long",
    "415": "The content type is not application/json",
    "422": "A row is not what schema.yaml says; `field` and `row` tell where",
    "503": "Too many requests at once; `Retry-After` says when to try again",
}
GET_DESCRIPTIONS = {
    "/live": "The process answers",
    "/ready": "The model answers",
    "/version": "Which model this is, from which commit and data",
    "/metrics": "Numbers for Prometheus",
    "/docs": "This description, to try out",
}


def build_post_operation(says: str, asked: str, example: Any, status: str, answer: dict[str, Any]) -> dict[str, Any]:
    """A page that takes an object or a list of them."""
    one = {"$ref": f"#/components/schemas/{asked}"}
    schema = {"anyOf": [one, {"type": "array", "items": one}]}
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    replies = {code: {"description": why, "content": error} for code, why in ERROR_DESCRIPTIONS.items()}
    replies[status] = {"description": "Done", "content": {"application/json": answer}}
    body = {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}
    return {"post": {"summary": says, "requestBody": body, "responses": replies}}


def build_openapi(
    row: type, reading: type, truth: type, passport: ModelBundle, example: dict[str, Any]
) -> dict[str, Any]:
    """The OpenAPI description, with a real row of the data and the pipeline's answer to it."""
    _, schemas = msgspec.json.schema_components((row, reading, truth), ref_template="#/components/schemas/{name}")
    said = {"error": {"type": "string"}, "field": {"type": "string"}, "row": {"type": "integer"}}
    schemas["Error"] = {"type": "object", "required": ["error"], "properties": said}
    one = {"$ref": "#/components/schemas/Reading"}
    answer = {"id": "example-1", **passport.answers[0], "model": passport.model}
    answered = {"schema": {"anyOf": [one, {"type": "array", "items": one}]}, "example": answer}
    taken = {"schema": {"type": "object"}, "example": {"taken": 1}}
    came = {"id": answer["id"], "truth": answer["prediction"]}
    paths = {
        "/predict": build_post_operation("Answer a row, or a list of rows", "Row", example, "200", answered),
        "/feedback": build_post_operation("Take what came true", "Truth", came, "202", taken),
    }
    for path, says in GET_DESCRIPTIONS.items():
        statuses = ("200", "503") if path == "/ready" else ("200",)
        paths[path] = {"get": {"summary": says, "responses": {status: {"description": says} for status in statuses}}}
    info = {"title": Project.load().name.replace("-", " "), "version": passport.model[:12]}
    return {"openapi": "3.1.0", "info": info, "paths": paths, "components": {"schemas": schemas}}

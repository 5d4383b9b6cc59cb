"""TODO doc."""

from typing import Any


def build_sbom(kind: str, name: str, version: str, parts: list[tuple[str, str, str]]) -> dict[str, Any]:
    """What something is made of, as a CycloneDX list of (kind, name, version)."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": kind, "name": name, "version": version}},
        "components": [
            {"type": "library", "name": name, "version": version, "purl": f"pkg:{kind}/{name.lower()}@{version}"}
            for kind, name, version in parts
        ],
    }

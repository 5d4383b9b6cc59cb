"""Lists the packages that something is made of, in the form of CycloneDX (https://cyclonedx.org)."""

from typing import Any


def build_sbom(kind: str, name: str, version: str, parts: list[tuple[str, str, str]]) -> dict[str, Any]:
    """Return a software bill of materials.

    Parameters
    ----------
    kind
        What the list is about: `application` or `container`.
    name, version
        Its name and version.
    parts
        The package type (as in a package URL, such as `pypi`), name and version of each part.
    """
    components = [
        {"type": "library", "name": part, "version": number, "purl": f"pkg:{source}/{part.lower()}@{number}"}
        for source, part, number in parts
    ]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": kind, "name": name, "version": version}},
        "components": components,
    }

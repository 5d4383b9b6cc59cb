from modelyard.provenance.sbom import build_sbom


def test_build_sbom_names_packages_by_their_url() -> None:
    found = build_sbom("container", "flights", "1", [("pypi", "NumPy", "2.0"), ("deb/debian", "bash", "5.2")])
    assert found["metadata"]["component"] == {"type": "container", "name": "flights", "version": "1"}
    assert [part["purl"] for part in found["components"]] == ["pkg:pypi/numpy@2.0", "pkg:deb/debian/bash@5.2"]

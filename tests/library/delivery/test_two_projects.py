"""Two projects on one container engine never meet."""

from pathlib import Path

import pytest

from modelyard.core.params import DeployParams
from modelyard.delivery import docker


def make_environment(monkeypatch: pytest.MonkeyPatch, project: str, env: str) -> docker.Environment:
    """Return an environment of a project with this name, on an engine that accepts every command."""
    pyproject = Path("pyproject.toml")
    lines = pyproject.read_text().splitlines()
    pyproject.write_text("\n".join(f'name = "{project}"' if line.startswith("name =") else line for line in lines))
    docker.PROXY_FOLDER.mkdir(parents=True, exist_ok=True)
    for name in ("Dockerfile", "start.sh"):
        (docker.PROXY_FOLDER / name).touch()
    monkeypatch.setattr(docker, "run_docker", lambda *_, **__: "")
    return docker.Environment(env, DeployParams())


def collect_names(environment: docker.Environment) -> set[str]:
    """Return every name that an environment has on the engine."""
    services = (docker.PROXY_SERVICE, *docker.SLOTS)
    containers = {environment.container_name(service) for service in services}
    own = {environment.name, f"{environment.name}-lock", f"{environment.name}_default", f"{environment.name}_state"}
    return containers | own | {docker.build_image_tag("a" * 64), environment.variables["FRONT"]}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("flights", "production"), ("hotels", "production")),
        (("flights", "eu-production"), ("flights-eu", "production")),
        (("flights", "production"), ("flights-production", "lock")),
        (("flights", "production"), ("flights-front", "production")),
    ],
)
def test_environments_of_two_projects_share_no_name(
    monkeypatch: pytest.MonkeyPatch, one: tuple[str, str], other: tuple[str, str]
) -> None:
    names = collect_names(make_environment(monkeypatch, *one))
    assert names.isdisjoint(collect_names(make_environment(monkeypatch, *other)))


def test_names_are_valid_for_compose(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = make_environment(monkeypatch, "flight-delays", "production")
    assert environment.name == "flight-delays_production"
    assert docker.build_image_tag("a" * 64) == "flight-delays:aaaaaaaaaaaa"

"""A container engine, and the versions that rendered projects run on."""

import subprocess
from collections.abc import Iterator

import pytest

from tests.template.support import COMPOSE, ROOT, lacking, run


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A container engine that answers, with Compose; without one its tests are skipped."""
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        lacking("no container engine answers `docker info`")
    with pytest.MonkeyPatch.context() as patch:
        compose = ["docker", "compose", "version"]
        if subprocess.run(compose, capture_output=True, check=False).returncode:
            folder = tmp_path_factory.mktemp("docker")
            run("uv", "pip", "install", "--quiet", "--target", folder / "x", COMPOSE, cwd=ROOT)
            (folder / "cli-plugins").mkdir()
            (folder / "cli-plugins/docker-compose").symlink_to(folder / "x/compose/docker-compose")
            patch.setenv("DOCKER_CONFIG", str(folder))
        yield


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--newest", action="store_true", help="run on the newest allowed versions")

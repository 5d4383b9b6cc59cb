"""A container engine, and the versions that rendered projects run on."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.template.support import COMPOSE, ROOT, lacking, run

# Podman before 4.6 kills the step of a build when one of its own threads ends, at random, while other containers
# come and go (containers/podman#17918). Such a build is begun again, from the layers that it has; no other is.
BUILDING = """\
#!/bin/bash
set -o pipefail
case " $* " in *" build "* | *" --build "*) ;; *) exec {docker} "$@" ;; esac
said=$(mktemp) && trap 'rm -f "$said"' EXIT
for _ in 1 2 3; do
  {{ {docker} "$@" 2>&1 >&3 | tee "$said" >&2; }} 3>&1
  failed=$?
  grep -q "while running runtime: signal: killed" "$said" && [ $failed != 0 ] || break
done
exit $failed
"""


def write_building(folder: Path, docker: str) -> None:
    """Write a `docker` that builds again what the engine killed."""
    folder.mkdir()
    (folder / "docker").write_text(BUILDING.format(docker=docker), encoding="utf-8")
    (folder / "docker").chmod(0o755)


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A container engine that answers, with Compose; without one its tests are skipped."""
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        lacking("no container engine answers `docker info`")
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("engine") / "bin"
        write_building(folder, str(shutil.which("docker")))
        patch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
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

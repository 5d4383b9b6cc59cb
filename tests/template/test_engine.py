"""The `docker` of the container tests: a build that the engine killed is begun again, another failure is not."""

import subprocess
from pathlib import Path

import pytest

from tests.template.conftest import write_building

KILLED = "while running runtime: signal: killed"
ENGINE = """\
#!/bin/sh
echo x >>{calls}
[ "$(wc -l <{calls})" -gt {failures} ] && echo built && exit
echo "{problem}" >&2
exit 3
"""


def build(folder: Path, failures: int, problem: str, *arguments: str) -> tuple[int, str, int]:
    """The status and output of a command on an engine that fails at first, and how often it was asked."""
    calls, docker = folder / "calls", folder / "docker"
    docker.write_text(ENGINE.format(calls=calls, failures=failures, problem=problem))
    docker.chmod(0o755)
    write_building(folder / "bin", str(docker))
    done = subprocess.run([folder / "bin/docker", *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, len(calls.read_text().split())


@pytest.mark.parametrize("arguments", [("build", "."), ("compose", "up", "--build")], ids=" ".join)
def test_a_killed_build_is_begun_again(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert build(tmp_path, 1, KILLED, *arguments) == (0, "built\n", 2)


def test_a_build_that_is_always_killed_fails_in_the_end(tmp_path: Path) -> None:
    assert build(tmp_path, 9, KILLED, "build", ".") == (3, "", 3)


def test_another_failure_of_a_build_is_not_tried_again(tmp_path: Path) -> None:
    assert build(tmp_path, 1, "error: no such file", "build", ".") == (3, "", 1)


def test_a_killed_command_that_builds_nothing_is_not_tried_again(tmp_path: Path) -> None:
    assert build(tmp_path, 1, KILLED, "run", "image") == (3, "", 1)

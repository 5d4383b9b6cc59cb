import json
from pathlib import Path
from typing import Any

import pytest

from modelyard.core.errors import UserError
from modelyard.core.files import sha256
from modelyard.core.process import run_git
from modelyard.delivery import image

DIGEST = "sha256:" + "d" * 64


@pytest.fixture
def calls(project: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """A committed project, and an engine that takes every command."""
    Path("dvc.lock").write_text("stages: {}\n")
    for command in (
        ["init", "--quiet"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"],
    ):
        run_git(*command)
    done = list[tuple[str, ...]]()
    (project / ".python-version").write_text("3.11\n")

    def run_docker(*arguments: str, **_: Any) -> str:
        done.append(arguments)
        for argument in arguments:
            if argument.startswith("--iidfile="):
                Path(argument.removeprefix("--iidfile=")).write_text("sha256:abc")
        if "--entrypoint=python" in arguments:
            return '[["NumPy", "2.0"]]'
        if "--entrypoint=dpkg-query" in arguments:
            return "libc6\t2.36\nbash\t5.2"
        return f"tag: digest: {DIGEST} size: 741" if "push" in arguments else ""

    monkeypatch.setattr(image, "run_docker", run_docker)
    return done


def test_main_labels_the_image_and_lets_it_test_itself(calls: list[tuple[str, ...]]) -> None:
    image.main()
    build, check = calls[:2]
    assert f"--label=model={sha256(Path('models/model.skops'))}" in build
    assert any(
        argument.startswith(f"--label={image.REVISION_LABEL}={run_git('rev-parse', 'HEAD')}") for argument in build
    )
    assert "--build-arg=PYTHON=3.11" in build
    assert check[-2:] == ("serve", "--check") and "--read-only" in check and "--network=none" in check
    assert json.loads(image.IMAGE_REPORT.read_text())["image"] == "sha256:abc"


def test_main_returns_the_registrys_reference_by_digest(calls: list[tuple[str, ...]]) -> None:
    image.main("registry.example.com/team/x")
    assert json.loads(image.IMAGE_REPORT.read_text())["image"] == f"registry.example.com/team/x@{DIGEST}"
    assert any(call[0] == "push" for call in calls)


def test_main_lists_the_packages_in_the_image(calls: list[tuple[str, ...]]) -> None:
    image.main("registry.example.com/team/x")
    found = json.loads(image.SBOM.read_text())
    assert found["metadata"]["component"]["version"] == f"registry.example.com/team/x@{DIGEST}"
    purls = ["pkg:pypi/numpy@2.0", "pkg:deb/debian/libc6@2.36", "pkg:deb/debian/bash@5.2"]
    assert [part["purl"] for part in found["components"]] == purls
    assert all("--network=none" in call for call in calls if call[0] == "run")


def test_main_gives_a_workflow_reference_and_digest(
    calls: list[tuple[str, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "output"))
    image.main("registry.example.com/team/x")
    output = (tmp_path / "output").read_text()
    assert calls and output == f"image=registry.example.com/team/x@{DIGEST}\ndigest={DIGEST}\n"


@pytest.mark.parametrize(("file", "again"), [("notes.md", False), ("params.yaml", True)])
def test_only_new_skips_what_production_runs(
    calls: list[tuple[str, ...]], project: Path, file: str, again: bool
) -> None:
    Path("deploy").mkdir(exist_ok=True)
    champion = {
        "model": sha256(Path("models/model.skops")),
        "commit": run_git("rev-parse", "HEAD"),
        "image": "x@sha256:1",
    }
    Path("deploy/production.yaml").write_text(json.dumps({"champion": champion}))
    with (project / file).open("a") as text:
        text.write("\n")
    run_git("add", ".")
    run_git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "y")
    image.main(only_new=True)
    assert bool(calls) is again


def test_uncommitted_change_shows_in_the_revision(calls: list[tuple[str, ...]], project: Path) -> None:
    (project / "params.yaml").write_text((project / "params.yaml").read_text() + "\n")
    image.main()
    assert any(argument.endswith("-dirty") for argument in calls[0])


@pytest.mark.usefixtures("project")
def test_main_without_a_commit_is_refused() -> None:
    with pytest.raises(UserError, match="commit first"):
        image.main()

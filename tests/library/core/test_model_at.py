import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard.core import model_at, process
from modelyard.core.dvc_lock import get_cache_path
from modelyard.core.errors import IntegrityError, InvalidFileError, ToolError
from modelyard.core.files import md5, sha256
from modelyard.core.model_at import Champion, restore_model
from modelyard.core.paths import MODEL_FILE, ROW_HASHES_FILE

CONTENTS = {MODEL_FILE: b"model", ROW_HASHES_FILE: b"rows"}


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of a commit whose dvc.lock names a model."""
    outs = [{"path": str(path), "md5": md5(content)} for path, content in CONTENTS.items()]
    lock = {"stages": {"train": {"outs": outs}}}
    monkeypatch.setattr(model_at, "read_yaml_at", lambda commit, path: lock)
    (tmp_path / "params.yaml").write_text("train: {}\n")
    return tmp_path


def write_model(folder: Path) -> None:
    """Put the model files into a project."""
    for path, content in CONTENTS.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


def answer_dvc(remote: str, pulled: bool) -> process.ProcessRunner:
    """A runner whose `dvc pull` brings the model where the remote has it, and whose `dvc repro` trains it."""

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        if "repro" in command or ("pull" in command and pulled):
            write_model(options["cwd"])
        out = remote if "core.remote" in command else ""
        return subprocess.CompletedProcess(command, 0, out, "")

    return run


def refuse_to_run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """A runner that nothing may call."""
    raise AssertionError(command)


def test_a_model_in_the_cache_is_copied(checkout: Path) -> None:
    for content in CONTENTS.values():
        cached = get_cache_path(md5(content))
        cached.parent.mkdir(parents=True)
        cached.write_bytes(content)
    with process.use_runner(refuse_to_run):
        found = restore_model(checkout, Champion("deployed", None, "c0ffee"))
    assert found == Champion("deployed", sha256(checkout / MODEL_FILE), "c0ffee")


def test_a_model_that_was_changed_in_the_cache_is_not_believed(checkout: Path) -> None:
    cached = get_cache_path(md5(CONTENTS[MODEL_FILE]))
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"a weaker model")
    with process.use_runner(answer_dvc("", False)):
        found = restore_model(checkout, Champion("base", None, "c0ffee"))
    assert found.source == "rebuilt" and (checkout / MODEL_FILE).read_bytes() == CONTENTS[MODEL_FILE]
    assert not cached.exists()


@pytest.mark.parametrize(
    ("remote", "pulled", "source"), [("store", True, "base"), ("store", False, "rebuilt"), ("", True, "rebuilt")]
)
def test_a_model_that_the_cache_lacks_is_pulled_or_trained(
    checkout: Path, remote: str, pulled: bool, source: str
) -> None:
    with process.use_runner(answer_dvc(remote, pulled)):
        found = restore_model(checkout, Champion("base", None, "c0ffee"))
    assert (found.source, found.model) == (source, sha256(checkout / MODEL_FILE))


def test_another_model_than_the_deployed_one_is_rebuilt(checkout: Path) -> None:
    with process.use_runner(answer_dvc("store", True)):
        assert restore_model(checkout, Champion("deployed", "f" * 64, "c0ffee")).source == "rebuilt"


def test_a_command_that_fails_in_a_checkout_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="no such model"):
        model_at.run_in_checkout(tmp_path, sys.executable, "-c", "raise SystemExit('error: no such model')")


def test_a_checkout_runs_its_own_library(tmp_path: Path) -> None:
    package = tmp_path / "packages/modelyard/src/modelyard"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('error: our own')")
    with pytest.raises(ToolError, match="our own"):
        model_at.run_in_checkout(tmp_path, sys.executable, "-c", "import modelyard")


def test_row_hashes_are_read(tmp_path: Path) -> None:
    path = tmp_path / ROW_HASHES_FILE
    path.parent.mkdir()
    np.save(path, np.array([1, 2], np.uint64))
    assert model_at.load_row_hashes(tmp_path).tolist() == [1, 2]
    path.write_bytes(b"no numbers")
    with pytest.raises(InvalidFileError) as refusal:
        model_at.load_row_hashes(tmp_path)
    assert refusal.value.path == path


def test_a_commit_without_a_lock_has_no_model_in_the_cache(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_at, "read_yaml_at", lambda *_: None)
    with process.use_runner(answer_dvc("", False)):
        assert restore_model(checkout, Champion("base", None, "c0ffee")).source == "rebuilt"


@pytest.mark.parametrize("cached", [b"the data", b"other data"])
def test_a_model_is_trained_again_only_on_the_data_of_its_commit(checkout: Path, cached: bytes) -> None:
    (checkout / "data").mkdir()
    (checkout / "data/rows.csv.dvc").write_text(f"outs: [{{path: rows.csv, md5: {md5(b'the data')}}}]\n")
    calls: list[str] = []

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        calls.append(next((word for word in ("checkout", "repro") if word in command), "other"))
        if "checkout" in command:  # as DVC does, which does not look at what its cache holds
            (options["cwd"] / "data/rows.csv").write_bytes(cached)
        return answer_dvc("", False)(command, **options)

    with process.use_runner(run):
        if cached == b"the data":
            assert restore_model(checkout, Champion("base", None, "c0ffee")).source == "rebuilt"
        else:
            with pytest.raises(IntegrityError, match=r"rows.csv is not what .*rows.csv.dvc names"):
                restore_model(checkout, Champion("base", None, "c0ffee"))
    assert ("repro" in calls) == (cached == b"the data")

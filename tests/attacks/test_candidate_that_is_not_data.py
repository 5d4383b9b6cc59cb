"""What a job that runs code of a branch hands to the job that judges: another model, another rule, a link."""

import shutil
from pathlib import Path

import pytest

from modelyard.core.dvc_lock import get_cache_path, get_hashes, load_lock
from modelyard.core.errors import IntegrityError, InvalidFileError, MissingFileError
from modelyard.core.params import load_params
from modelyard.core.process import run_dvc, run_git
from modelyard.workspace import receive
from tests.library.conftest import bundle_files, drawn, here, params, piped, recorded, small_project  # noqa: F401

HANDED_ON = ("dvc.lock", "params.yaml", "models/model.skops", "models/rows.npy", "reports/metrics.json")
ROWS = "data/holdout.parquet"


@pytest.fixture
def candidate(here: Path) -> Path:  # noqa: F811
    """What the job that trains hands on, in the checkout of the job that judges."""
    folder = here / "candidate"
    for name in HANDED_ON:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(here / name, folder / name)
    for name in ("models", "data/train.parquet", ROWS, "reports/predictions.parquet"):
        path = here / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return folder


def hand_on(folder: Path, name: str, text: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def test_an_honest_candidate_is_put_into_place(candidate: Path) -> None:
    receive.main("candidate")
    assert all(Path(name).read_bytes() == (candidate / name).read_bytes() for name in HANDED_ON)
    assert Path(ROWS).is_file()
    assert not run_git("status", "--porcelain", "--", "params.yaml", "dvc.lock")


def test_a_model_that_dvc_lock_does_not_name_is_refused(candidate: Path) -> None:
    hand_on(candidate, "models/model.skops", "a better one")
    with pytest.raises(IntegrityError, match="is not what"):
        receive.main("candidate")
    assert not Path("models/model.skops").exists()


@pytest.mark.parametrize("text", ["", "stages: 3", "stages: {train: {outs: [a]}}", "[]"])
def test_a_lock_of_another_form_is_refused(candidate: Path, text: str) -> None:
    hand_on(candidate, "dvc.lock", text)
    with pytest.raises(InvalidFileError, match="names no model"):
        receive.main("candidate")


def test_a_link_is_not_followed(candidate: Path) -> None:
    (candidate / "models/model.skops").unlink()
    (candidate / "models/model.skops").symlink_to("/etc/passwd")
    with pytest.raises(InvalidFileError, match="is a link"):
        receive.main("candidate")


@pytest.mark.parametrize("name", ["reports/metrics.json", "models/model.skops", "dvc.lock", ROWS])
def test_a_link_in_the_place_of_a_file_is_not_written_through(candidate: Path, name: str) -> None:
    target = Path("packages/modelyard/src/sitecustomize.py")
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).unlink(missing_ok=True)
    Path(name).symlink_to(target.resolve())
    with pytest.raises(InvalidFileError, match="is a link in this commit"):
        receive.main("candidate")
    assert not target.exists()


def test_a_linked_folder_is_not_written_into(candidate: Path) -> None:
    elsewhere = Path("packages/modelyard/src/elsewhere").resolve()
    elsewhere.mkdir(parents=True)
    shutil.rmtree("models", ignore_errors=True)
    Path("models").symlink_to(elsewhere)
    with pytest.raises(InvalidFileError, match="is a link in this commit"):
        receive.main("candidate")
    assert not list(elsewhere.iterdir())


def test_no_other_file_is_taken(candidate: Path) -> None:
    before = Path("Makefile").exists(), Path("schema.yaml").read_text()
    for name in ("Makefile", "schema.yaml", "src/flight_delays/features.py", "reports/verdict.json", "deploy/x.yaml"):
        hand_on(candidate, name, "hostile")
    receive.main("candidate")
    assert (Path("Makefile").exists(), Path("schema.yaml").read_text()) == before
    assert not Path("reports/verdict.json").exists() and not Path("deploy/x.yaml").exists()
    assert "hostile" not in Path("src/flight_delays/features.py").read_text()


def test_commands_and_rules_in_its_params_never_count(candidate: Path) -> None:
    text = (candidate / "params.yaml").read_text()
    hostile = (
        text.replace("window: all", 'window: "90"') + "release: {signed: [touch, canary]}\ndeploy: {signed: [sh]}\n"
    )
    assert hostile.count('"90"') == 1
    hand_on(candidate, "params.yaml", hostile)
    receive.main("candidate")
    assert not run_git("status", "--porcelain", "--", "params.yaml")
    receive.main("candidate", retrained=True)
    taken = load_params()
    assert taken.train.window == "90" and not taken.release.signed and not taken.deploy.signed


def test_rows_that_the_cache_lies_about_are_not_taken(candidate: Path) -> None:
    cached = get_cache_path(get_hashes(load_lock())[ROWS])
    cached.chmod(0o644)
    cached.write_bytes(b"other rows")
    receive.main("candidate")
    assert not Path(ROWS).exists()


def test_raw_data_that_the_cache_lies_about_is_refused(candidate: Path) -> None:
    path = Path(load_params().data.path)
    run_git("rm", "--cached", "--quiet", "--ignore-unmatch", "--", str(path))
    assert run_dvc("add", path).returncode == 0
    run_git("add", "--force", f"{path}.dvc")
    receive.main("candidate")
    path.unlink()
    path.write_bytes(b"another truth")
    with pytest.raises(IntegrityError, match="is not what"):
        receive.main("candidate")


def test_nothing_handed_on_is_one_sentence(candidate: Path) -> None:
    (candidate / "models/rows.npy").unlink()
    with pytest.raises(MissingFileError, match="run the workflow again"):
        receive.main("candidate")

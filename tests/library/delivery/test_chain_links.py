import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from modelyard.core import deployments
from modelyard.core.errors import IntegrityError
from modelyard.core.files import sha256
from modelyard.core.paths import MODEL_FILE
from modelyard.delivery import chain
from modelyard.delivery.docker import Environment
from modelyard.provenance import lineage
from modelyard.tracking import store
from tests.library.recorded import save

pytestmark = pytest.mark.usefixtures("here")
FEATURES = "src/flight_delays/features.py"


class FakeService(Environment):
    """An environment that answers with a claim, from an image of the commit's own files; each may be changed."""

    def __init__(self) -> None:  # pylint: disable=super-init-not-called
        champion = deployments.get_champion("production")
        self.claim = lineage.build_claim(champion["model"], champion["commit"])
        self.labels = {label: self.claim[key] for key, label in chain.CLAIM_LABELS.items()}
        self.files = {FEATURES: sha256(Path(FEATURES)), str(MODEL_FILE): sha256(MODEL_FILE), "models/other.json": "-"}

    def get_through_proxy(self, path: str) -> Any:
        return self.claim

    def running_image_id(self, service: str) -> str:
        return "1234"


@pytest.fixture
def service(here: Path, monkeypatch: pytest.MonkeyPatch) -> FakeService:
    """A running service."""
    service = FakeService()
    (here / "compose.yaml").touch()
    monkeypatch.setattr(chain, "Environment", lambda *_: service)
    monkeypatch.setattr(chain, "get_image_id", lambda image: image)
    monkeypatch.setattr(chain, "get_image_labels", lambda image: service.labels)
    monkeypatch.setattr(chain, "run_docker", lambda *_: json.dumps(service.files))
    return service


def get_broken_link(**options: str) -> str:
    """Return the link that `make verify` finds broken."""
    with pytest.raises(IntegrityError) as failure:
        chain.main(**options)
    return failure.value.link


def test_chain_of_an_environment_holds(capsys: pytest.CaptureFixture[str]) -> None:
    assert chain.main(env="production") == 0
    links = ", ".join(lineage.LINKS)
    assert f"9 links hold: deploy file, history, verdict, {links}" in capsys.readouterr().out


def test_chain_of_a_model_holds(capsys: pytest.CaptureFixture[str]) -> None:
    assert chain.main(model=sha256(MODEL_FILE)[:12]) == 0
    assert "6 links hold" in capsys.readouterr().out


def test_chain_of_a_running_service_holds(service: FakeService, capsys: pytest.CaptureFixture[str]) -> None:
    assert service.claim
    assert chain.main(env="production") == 0
    assert "11 links hold: service, image" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changed", "link"),
    [
        ([("claim", "model")], "service"),
        ([("labels", "model")], "image"),
        ([("labels", chain.REVISION_LABEL)], "image"),
        ([("files", "src/other.py")], "image"),
        ([("files", "pyproject.toml")], "image"),
        ([("files", str(MODEL_FILE))], "image"),
        ([("claim", "dvc_lock"), ("labels", "dvc-lock")], "deploy file"),
        ([("claim", "data"), ("labels", "data")], "data"),
    ],
)
def test_service_that_was_changed_is_found(service: FakeService, changed: list[tuple[str, str]], link: str) -> None:
    for part, key in changed:
        getattr(service, part)[key] = "f" * 64
    assert get_broken_link(env="production") == link


@pytest.mark.usefixtures("service")
def test_image_that_the_deploy_file_does_not_name_is_found() -> None:
    champion = deployments.get_champion("production") | {"image": "5678"}
    deployments.write_state("production", deployments.load_state("production") | {"champion": champion})
    save("Another image")
    assert get_broken_link(env="production") == "image"


def test_champion_that_no_history_names_is_found() -> None:
    champion = deployments.get_champion("production") | {"model": "f" * 64}
    deployments.write_state("production", deployments.load_state("production") | {"champion": champion})
    assert get_broken_link(env="production") == "deploy file"
    save("By hand")
    assert get_broken_link(env="production") == "history"


def test_champion_without_a_verdict_is_found() -> None:
    deployments.HISTORY_FILE.write_text(deployments.HISTORY_FILE.read_text().replace('"promote"', '"rollback"'))
    save("By hand")
    assert get_broken_link(env="production") == "verdict"


def test_model_that_nobody_promoted_is_found() -> None:
    assert get_broken_link(model="abc") == "verdict"


@pytest.mark.parametrize("change", ["tags.model", "tags.data", "tags.dvc_lock", "params.seed"])
def test_run_that_was_changed_in_mlflow_is_found(capsys: pytest.CaptureFixture[str], change: str) -> None:
    store.main()
    assert chain.main(env="production") == 0
    assert "MLflow run" in capsys.readouterr().out
    table, _, name = change.partition(".")
    with contextlib.closing(sqlite3.connect(store.STORE_FILE)) as database:
        assert database.execute(f"UPDATE {table} SET value = 'tampered' WHERE key = '{name}'").rowcount == 1
        database.commit()
    assert get_broken_link(env="production") == "MLflow run"

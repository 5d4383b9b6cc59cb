"""A real Dask cluster, its scheduler and workers processes of their own, does a project's heavy work."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.template.stores import server
from tests.template.support import ROOT, BakedProject, free_port

pytestmark = pytest.mark.slow

VENV = ROOT / "build/environments/cluster"


@dataclass
class Cluster:
    """A project that was told of its cluster by one verb, and the cluster's workers."""

    project: BakedProject
    workers: list[subprocess.Popen[bytes]]
    log: Path


@pytest.fixture(scope="module")
def cluster(trained: BakedProject, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder, port = tmp_path_factory.mktemp("cluster"), free_port()
    project, address = trained.copied(folder), f"tcp://127.0.0.1:{port}"
    missing = project.run("make", "compute", f"VENV={VENV}", "BACKEND=dask", check=False)
    assert "error: ADDRESS is empty, but a Dask cluster is found by it; give ADDRESS=tcp://host:8786" in missing
    early = ("make", "compute", f"VENV={VENV}", "BACKEND=dask", "ADDRESS=tcp://127.0.0.1:9")
    assert "error: dask: no cluster with workers at" in project.run(*early, check=False)
    dask, env = VENV / "bin/dask", {"PYTHONPATH": f"{project.path}/packages/modelyard/src:{project.path}/src"}
    where = ("--host", "127.0.0.1", "--port", port, "--no-dashboard")
    more = ("--nthreads", "1", "--no-nanny", "--no-dashboard")
    with ExitStack() as stack:
        hub = server(dask, "scheduler", *where, port=port, log=folder / "log", **env)
        stack.enter_context(hub)
        command, workers = [str(dask), "worker", address, *more], []
        for _ in range(2):
            how = {"cwd": project.path, "env": os.environ | env, "stdout": -3, "stderr": -3}
            process = subprocess.Popen(command, **how)
            stack.callback(process.wait)
            stack.callback(process.kill)
            workers.append(process)
        while (folder / "log").read_text().count("Register worker") < 2:
            time.sleep(0.2)
        said = project.make("compute", VENV=str(VENV), BACKEND="dask", ADDRESS=address)
        assert f"2 tasks at once, dask {address}" in said
        yield Cluster(project, workers, folder / "log")


def test_the_cluster_stands_in_the_project(cluster: Cluster) -> None:
    assert "backend: dask " in cluster.project.read("params.yaml")
    assert '"dask[distributed]>=' in cluster.project.read("pyproject.toml")
    assert "\ndistributed==" in cluster.project.read("requirements/dev.txt")
    assert "distributed" not in cluster.project.read("requirements/serve.txt")


def test_a_worker_that_is_killed_loses_no_trial(cluster: Cluster) -> None:
    project, study = cluster.project, cluster.project.path / ".mlflow/sweep.log"
    text = re.sub(r"trials: 20\n  folds: 3", "trials: 8\n  folds: 1", project.read("params.yaml"))
    (project.path / "params.yaml").write_text(text, encoding="utf-8")
    command = ["make", "sweep", f"VENV={VENV}", "TRACK=0"]
    with subprocess.Popen(command, cwd=project.path, stdout=-1, stderr=-2, text=True) as sweep:
        while not (study.exists() and '"values":[' in study.read_text().replace(" ", "")):
            assert sweep.poll() is None
            time.sleep(0.05)
        cluster.workers[0].send_signal(signal.SIGKILL)
        said = sweep.communicate()[0]
    assert sweep.returncode == 0 and "as it was" in said, said
    assert study.read_text().replace(" ", "").count('"values":[') == 8
    assert "Remove worker" in cluster.log.read_text()


def test_files_are_scored_by_the_workers_that_are_left(cluster: Cluster) -> None:
    project = cluster.project
    project.make("pipeline", VENV=str(VENV), TRACK="0")
    (project.path / "in").mkdir()
    for name in ("a", "b", "c"):
        (project.path / f"in/{name}.parquet").write_bytes(project.read_bytes("data/holdout.parquet"))
    said = project.make("score", VENV=str(VENV), IN="in", OUT="out")
    assert "files 3" in said and "this machine does the work" not in said
    first, *others = (project.read_bytes(f"out/{name}.parquet") for name in ("a", "b", "c"))
    assert others == [first, first]

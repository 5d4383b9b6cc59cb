"""The tracking server as `tracking/` makes it: MLflow with users, on PostgreSQL and SeaweedFS."""

import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import yaml
from cookiecutter.exceptions import FailedHookException
from cookiecutter.main import cookiecutter

from tests.template.stores import parts, server
from tests.template.support import ROOT, BakedProject, free_port, lacking, run

slow = pytest.mark.slow
README = ROOT / "README.md"
BINARIES = max(Path("/usr/lib/postgresql").glob("*/bin"), default=Path())


@pytest.fixture(scope="module")
def folder(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `cookiecutter … --directory tracking` writes, with the secrets that the first `make up` makes."""
    made = render(template, tmp_path_factory.mktemp("tracking"))
    make_secrets(made)
    return made


def render(template: Path, place: Path, **answers: str) -> Path:
    """Render into a folder, which also gets cookiecutter's own records."""
    config = place / "config.yaml"
    config.write_text(f"replay_dir: {place}/replay\ncookiecutters_dir: {place}/clones\n")
    options = {"directory": "tracking", "no_input": True, "output_dir": str(place), "config_file": str(config)}
    return Path(cookiecutter(str(template), extra_context=answers, **options))


def make_secrets(folder: Path) -> None:
    run("make", "--no-print-directory", "secrets", cwd=folder)


def settings(folder: Path) -> dict[str, str]:
    lines = (folder / ".env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_passwords_are_long_and_of_this_render_alone(folder: Path) -> None:
    secrets = [value for name, value in settings(folder).items() if "PASS" in name or "KEY" in name]
    assert len({*secrets}) == 4 and {len(secret) for secret in secrets} == {32}
    assert ".env" in (folder / ".gitignore").read_text(encoding="utf-8")


def test_passwords_are_the_owners_alone_and_in_no_record_of_answers(folder: Path) -> None:
    assert (folder / ".env").stat().st_mode & 0o777 == 0o600
    (record,) = (folder.parent / "replay").iterdir()
    secrets = [value for name, value in settings(folder).items() if name not in ("PORT", "HOSTS")]
    assert len(secrets) == 4
    assert not [secret for secret in secrets if secret in record.read_text(encoding="utf-8")]


def test_another_start_keeps_the_passwords_and_closes_an_open_file(template: Path, tmp_path: Path) -> None:
    folder = render(template, tmp_path)
    assert not (folder / ".env").exists()
    make_secrets(folder)
    before = settings(folder)
    (folder / ".env").chmod(0o644)
    make_secrets(folder)
    assert settings(folder) == before and (folder / ".env").stat().st_mode & 0o777 == 0o600


def test_address_before_the_first_start_is_one_sentence(template: Path, tmp_path: Path) -> None:
    said = run("make", "address", cwd=render(template, tmp_path), check=False)
    assert "error: there is no .env yet; `make up`" in said and "MLFLOW" not in said


def test_every_library_is_pinned_by_hash(folder: Path) -> None:
    text = (folder / "requirements.txt").read_text(encoding="utf-8")
    pins = re.split(r"(?m)^(?=\S)", text)[1:]
    assert pins and all("==" in pin and "--hash=sha256:" in pin for pin in pins)
    assert "--require-hashes" in (folder / "Dockerfile").read_text(encoding="utf-8")


REFUSED = [
    *(("folder", name) for name in ("con", "lpt1", "a.", "a ", "A", "../a", "a" * 64)),
    *(("port", number) for number in ("", "0", "65536", "5000; id", "http")),
    *(("hosts", names) for names in ("", "a b", "a,", "$(shell id)", "a'b", "a\nb")),
]


@pytest.mark.parametrize(("question", "answer"), REFUSED)
def test_bad_answer_is_refused_and_writes_nothing(
    template: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], question: str, answer: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(FailedHookException):
        render(template, out, **{question: answer})
    assert f"refused: {question} = {answer!a}\naccepted: " in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == [out] and {x.name for x in out.iterdir()} <= {"config.yaml", "replay", "clones"}


FAKE_DOCKER = """#!/bin/sh
case "$1 $2" in
  "pull --quiet") ;;
  "image inspect") echo "  \\"RepoDigests\\": [ \\"it@sha256:$(printf %s "$3" | sha256sum | cut -c1-64)\\" ]," ;;
esac
"""


def test_lock_pins_images_by_digest_and_libraries_by_hash(template: Path, tmp_path: Path) -> None:
    """Twice gives the same; a registry's answers are recorded ones."""
    folder = render(template, tmp_path)
    for name, text in (("docker", FAKE_DOCKER), ("uv", '#!/bin/sh\necho "$@" >uv.log\n')):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    for _ in range(2):
        run("make", "lock", cwd=folder, PATH=f"{tmp_path}:{os.environ['PATH']}")
    compose, dockerfile = ((folder / name).read_text() for name in ("compose.yaml", "Dockerfile"))
    for image, text in (("postgres:17", compose), ("python:3.11-slim-bookworm", dockerfile)):
        assert f" {image}@sha256:{hashlib.sha256(image.encode()).hexdigest()}\n" in text
    assert compose.count("@sha256:") == 2 and dockerfile.count("@sha256:") == 1
    assert "--generate-hashes" in (folder / "uv.log").read_text()
    assert not list(folder.glob("*.bak")) and not (folder / ".pins").exists()


def test_only_loopback_listens_and_everything_is_watched(folder: Path) -> None:
    services = yaml.safe_load((folder / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert [name for name in services if "ports" in services[name]] == ["server"]
    assert all(port.startswith("127.0.0.1:") for port in services["server"]["ports"])
    assert all("healthcheck" in service for service in services.values())


@dataclass
class Database:
    """A PostgreSQL of Debian's, with a password, that can be killed and started again."""

    folder: Path
    port: int
    password: str

    @property
    def env(self) -> dict[str, str]:
        return {"PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGPASSWORD": self.password}

    def user(self) -> list[str]:
        drop = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        return [] if os.getuid() else drop  # it refuses to run as root

    def make(self) -> None:
        (self.folder / "password").write_text(self.password)
        if not os.getuid():
            run("chown", "-R", "postgres:", self.folder, cwd=self.folder)
        how = ("--username=mlflow", "--auth=scram-sha-256", f"--pwfile={self.folder}/password")
        data = self.folder / "data"
        run(*self.user(), BINARIES / "initdb", "--pgdata", data, *how, "--no-sync", cwd=self.folder)
        with self.up():
            run(BINARIES / "createdb", "--username=mlflow", "mlflow", cwd=self.folder, **self.env)

    @contextmanager
    def up(self) -> Iterator[subprocess.Popen[bytes]]:
        command = (*self.user(), BINARIES / "postgres", "-D", self.folder / "data", "-k", "")
        rules = ("-p", self.port, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off")
        with server(*command, *rules, port=self.port, log=self.folder / "log") as process:
            yield process
            process.send_signal(2)  # ends the connections, else it waits for them

    def ask(self, query: str) -> str:
        command = (BINARIES / "psql", "-U", "mlflow", "-Atc", query, "mlflow")
        return run(*command, cwd=self.folder, check=False, **self.env).strip()


@dataclass
class Tracking:
    """The running server: its address with and without the password, and its parts."""

    uri: str
    bare: str
    database: Database
    env: dict[str, str]
    folder: Path
    stack: ExitStack

    def restart_database(self, seconds: float) -> None:
        """Kill the database as a lost machine would; it comes back after some seconds."""
        self.stack.close()
        time.sleep(seconds)
        self.stack.enter_context(self.database.up())


@pytest.fixture(scope="module")
def tracking(folder: Path, environment: Path) -> Iterator[Tracking]:
    """The tracking server, its parts started by hand and its own process as in the container."""
    if not BINARIES.name:
        lacking("PostgreSQL is not installed; apt-get install postgresql")
    has, scratch = settings(folder), Path(tempfile.mkdtemp(prefix="tracking-"))
    scratch.chmod(0o711)  # another user owns the database
    ports = [free_port() for _ in range(5)]
    address = f"127.0.0.1:{ports[0]}"
    store = {"AWS_ACCESS_KEY_ID": "mlflow", "AWS_SECRET_ACCESS_KEY": has["STORE_PASSWORD"]}
    database = Database(scratch / "database", free_port(), has["DATABASE_PASSWORD"])
    for name in ("database", "store"):
        (scratch / name).mkdir()
    database.make()
    python = overlay(environment)
    env = store | {
        "DATABASE": f"postgresql+psycopg2://mlflow:{database.password}@127.0.0.1:{database.port}/mlflow",
        "BUCKET": "mlflow",
        "MLFLOW_S3_ENDPOINT_URL": f"http://127.0.0.1:{ports[1]}",
        "MLFLOW_AUTH_ADMIN_USERNAME": "admin",
        "MLFLOW_AUTH_ADMIN_PASSWORD": has["ADMIN_PASSWORD"],
        "MLFLOW_FLASK_SERVER_SECRET_KEY": has["SESSION_KEY"],
        "ALLOWED_HOSTS": address,
        "LISTEN": str(ports[0]),
        "BIND": "127.0.0.1",
        "TMPDIR": str(scratch),
    }
    weed = (parts() / "weed", "mini", f"-dir={scratch}/store", "-bucket=mlflow", "-admin.ui=false")
    names = ("s3.port", "master.port", "filer.port", "volume.port")
    where = [f"-{name}={port}" for name, port in zip(names, ports[1:], strict=True)]
    local = ("-ip=127.0.0.1", "-webdav=false", *where)
    with ExitStack() as stack, ExitStack() as inner:
        inner.enter_context(database.up())
        stack.enter_context(server(*weed, *local, port=ports[1], log=scratch / "weed", **store))
        command = (python, folder / "server.py", "serve")
        stack.enter_context(server(*command, port=ports[0], log=scratch / "server", **env))
        uri = f"http://admin:{has['ADMIN_PASSWORD']}@{address}"
        yield Tracking(uri, f"http://{address}", database, env, folder, inner)
    shutil.rmtree(scratch)


def overlay(environment: Path) -> Path:
    """A Python that has the project's MLflow and what the server's image adds to it."""
    (site,) = (environment / "lib").glob("python*/site-packages")
    (own,) = (parts().parent / "lib").glob("python*/site-packages")
    (own / "project.pth").write_text(f"{site}\n")
    return parts() / "python"


@pytest.fixture(scope="module")
def other(trained: BakedProject, environment: Path, tmp_path_factory: pytest.TempPathFactory) -> BakedProject:
    """The same project with another model after the first one, both committed."""
    copy = trained.copied(tmp_path_factory.mktemp("other"))
    params = copy.read("params.yaml").replace("max_iter: 150", "max_iter: 140")
    (copy.path / "params.yaml").write_text(params, encoding="utf-8")
    copy.make("pipeline", VENV=str(environment), TRACK="0")
    copy.commit()
    return copy


def start(project: BakedProject, verb: str, environment: Path, uri: str) -> subprocess.Popen[str]:
    """A verb on the way, its output kept."""
    env = os.environ | {"MLFLOW_TRACKING_URI": uri}
    command = ["make", "--no-print-directory", verb, f"VENV={environment}"]
    return subprocess.Popen(command, cwd=project.path, env=env, stdout=-1, stderr=-2, text=True)


ANSWERS = """
import sys, mlflow, pandas as pd
run, = mlflow.search_runs(
    search_all_experiments=True, output_format="list", filter_string=f"tags.dvc_lock = '{sys.argv[1]}'"
)
model = mlflow.pyfunc.load_model(run.data.tags["model_uri"])
said = model.predict(pd.read_parquet("data/holdout.parquet"))
kept = pd.read_parquet("reports/predictions.parquet").drop(columns="truth")
pd.testing.assert_frame_equal(said, kept)
print(run.info.status, model.metadata.metadata["sha256"], run.data.params["train.arguments.max_iter"])
"""


def answers(project: BakedProject, environment: Path, uri: str) -> str:
    """What the one run of this dvc.lock says, after its model answered as the pipeline did."""
    lock = hashlib.sha256(project.read_bytes("dvc.lock")).hexdigest()
    env = {"MLFLOW_TRACKING_URI": uri, "PYTHONPATH": ""}
    return project.run(environment / "bin/python", "-c", ANSWERS, lock, **env).splitlines()[-1]


def model(project: BakedProject) -> str:
    return hashlib.sha256(project.read_bytes("models/model.skops")).hexdigest()


@slow
def test_two_trainings_at_once_are_two_runs(
    trained: BakedProject,
    other: BakedProject,
    environment: Path,
    tracking: Tracking,
    tmp_path: Path,
) -> None:
    """On an empty server, where both would make the experiment."""
    projects = [trained.copied(tmp_path), other]
    for process in [start(project, "track", environment, tracking.uri) for project in projects]:
        said = process.communicate()[0]
        assert process.returncode == 0 and tracking.bare.removeprefix("http:") in said, said
        assert "admin" not in said
    found = [answers(project, environment, tracking.uri) for project in projects]
    assert found == [f"FINISHED {model(projects[0])} 150", f"FINISHED {model(projects[1])} 140"]


@slow
def test_a_database_that_restarts_in_the_middle_of_a_run_loses_nothing(
    trained: BakedProject, environment: Path, tracking: Tracking, tmp_path: Path
) -> None:
    copy, count = trained.copied(tmp_path), "SELECT count(*) FROM runs WHERE status = 'RUNNING'"
    (copy.path / "dvc.lock").write_text(copy.read("dvc.lock") + "# another\n", encoding="utf-8")
    process = start(copy, "track", environment, tracking.uri)
    while tracking.database.ask(count) != "1":
        assert process.poll() is None
    tracking.restart_database(3)
    said = process.communicate()[0]
    assert process.returncode == 0, said
    assert answers(copy, environment, tracking.uri) == f"FINISHED {model(copy)} 150"


# What `make rollback` does once the containers are back; containers have tests of their own.
ROLLBACK = """
import sys
from modelyard.core import deployments
from modelyard.delivery import promote
state = deployments.load_state("production")
champion = state["champion"] | {"model": sys.argv[1]}
promote.record_champion("production", sys.argv[1], {"action": "rollback"}, state | {"champion": champion})
"""


@slow
def test_promotion_and_rollback_move_the_aliases(
    trained: BakedProject,
    other: BakedProject,
    environment: Path,
    tracking: Tracking,
    tmp_path: Path,
) -> None:
    env = {"VENV": str(environment), "MLFLOW_TRACKING_URI": tracking.uri}
    first, second = trained.copied(tmp_path), other
    first.make("track", "gate", "promote", **env)
    shutil.copytree(first.path / "deploy", second.path / "deploy", dirs_exist_ok=True)
    second.commit()
    second.make("track", "gate", "promote", **env)
    said = second.make("registry", **env)
    assert f"champion    {model(second)[:12]}\n" in said
    assert f"previous    {model(first)[:12]}\n" in said
    python = environment / "bin/python"
    second.run(python, "-c", ROLLBACK, model(first), PYTHONPATH="packages/modelyard/src:src", **env)
    said = second.make("registry", **env)  # which fails where git and the server disagree
    assert f"champion    {model(first)[:12]}\n" in said and "rollback" in said


@slow
def test_a_projects_own_runs_move_once_and_answer_as_before(
    trained: BakedProject, environment: Path, tracking: Tracking, tmp_path: Path
) -> None:
    copy, env = trained.copied(tmp_path), {"VENV": str(environment)}
    (copy.path / "dvc.lock").write_text(copy.read("dvc.lock") + "# a third\n", encoding="utf-8")
    params = copy.read("params.yaml").replace("trials: 20", "trials: 2").replace("folds: 3", "folds: 1")
    (copy.path / "params.yaml").write_text(params, encoding="utf-8")
    copy.make("track", "sweep", **env)
    count = "SELECT count(*) FROM runs"
    before = int(tracking.database.ask(count))
    move = {"MLFLOW_TRACKING_URI": tracking.uri, **env}
    assert "4 runs moved" in copy.make("move", **move)
    assert answers(copy, environment, tracking.uri) == f"FINISHED {model(copy)} 150"
    assert "0 runs moved" in copy.make("move", **move)
    assert int(tracking.database.ask(count)) == before + 4
    children = tracking.database.ask(
        "SELECT count(*) FROM tags JOIN runs ON value = runs.run_uuid WHERE key = 'mlflow.parentRunId'"
    )
    assert children == "2"


@slow
def test_a_backup_brings_back_what_was_lost(
    trained: BakedProject, environment: Path, tracking: Tracking, tmp_path: Path
) -> None:
    copy = trained.copied(tmp_path)
    copy.make("track", VENV=str(environment), MLFLOW_TRACKING_URI=tracking.uri)
    python = parts() / "python"
    to = {
        "DATABASE": f"env PATH={BINARIES}:{os.environ['PATH']}",
        "SERVER": f"env PATH={python.parent}",
    }
    verbs = ("make", "--no-print-directory", "-C", tracking.folder)
    env = tracking.env | tracking.database.env | to | {"LISTEN": ""}
    kept = run(*verbs, "backup", cwd=tracking.folder, **env).splitlines()[-1]
    tracking.database.ask("TRUNCATE experiments CASCADE")
    assert tracking.database.ask("SELECT count(*) FROM runs") == "0"
    run(python, "-c", EMPTY, cwd=tracking.folder, **env)
    run(*verbs, "restore", f"FROM={kept}", cwd=tracking.folder, **env)
    assert answers(copy, environment, tracking.uri) == f"FINISHED {model(copy)} 150"


EMPTY = "import server; server.bucket().objects.all().delete()"


@slow
def test_a_wrong_password_and_a_foreign_host_are_refused(
    trained: BakedProject, environment: Path, tracking: Tracking, tmp_path: Path
) -> None:
    copy = trained.copied(tmp_path)
    uri = tracking.uri.replace("admin:", "admin:wrong")
    said = copy.run("make", "track", check=False, MLFLOW_TRACKING_URI=uri, MODELYARD_VENV=str(environment))
    assert "error: the MLflow store" in said and "check its address and password" in said
    assert "wrong" not in said and len([x for x in said.splitlines() if "make:" not in x]) == 1
    key = base64.b64encode(tracking.uri.split("/")[2].partition("@")[0].encode()).decode()
    headers = {"Host": "elsewhere.example", "Authorization": f"Basic {key}"}
    request = Request(f"{tracking.bare}/api/2.0/mlflow/experiments/search", headers=headers)
    with pytest.raises(HTTPError, match="403"):
        urlopen(request)


# Where no registry answers: Debian's PostgreSQL and the emulators' SeaweedFS, as compose.yaml names them.
STAND_INS = {
    "postgres:17": """
FROM debian:bookworm-slim
RUN apt-get update -qq && apt-get install -qq --yes --no-install-recommends postgresql
COPY start /start
ENTRYPOINT ["sh", "/start"]
""",
    "chrislusf/seaweedfs:4.48": """
FROM debian:bookworm-slim
RUN apt-get update -qq && apt-get install -qq --yes --no-install-recommends netcat-openbsd
COPY weed /usr/bin/weed
ENTRYPOINT ["weed"]
""",
}
START = """
cd /var/lib/postgresql/data && export PATH=$(echo /usr/lib/postgresql/*/bin):$PATH
become="setpriv --reuid=postgres --regid=postgres --clear-groups"
if [ ! -e it ]; then
  mkdir it && chown postgres: it && echo "$POSTGRES_PASSWORD" >/tmp/password
  $become initdb -D it -U "$POSTGRES_USER" --auth-local trust --auth-host scram-sha-256 --pwfile /tmp/password
  echo "host all all all scram-sha-256" >>it/pg_hba.conf
  echo "CREATE DATABASE $POSTGRES_DB" | $become postgres --single -D it template1
fi
exec $become postgres -D it -c listen_addresses='*'
"""


@pytest.fixture
def images(engine: None, tmp_path: Path) -> Iterator[None]:
    """The images that compose.yaml names, from their registry or made here."""
    (tmp_path / "start").write_text(START)
    shutil.copy2(parts() / "weed", tmp_path)
    made = []
    for name, text in STAND_INS.items():
        inspect = ["docker", "image", "inspect", name]
        pull = ["docker", "pull", "--quiet", name]
        if all(subprocess.run(x, capture_output=True, check=False).returncode for x in (inspect, pull)):
            (tmp_path / "Dockerfile").write_text(text)
            run("docker", "build", "--quiet", "--tag", name, ".", cwd=tmp_path)
            made.append(name)
    yield
    for name in made:
        run("docker", "image", "rm", name, cwd=tmp_path, check=False)


COUNT = "import mlflow; print(len(mlflow.search_runs(search_all_experiments=True)))"


@slow
@pytest.mark.containers
@pytest.mark.usefixtures("images")
def test_the_readmes_lines_start_a_server_that_keeps_runs(
    template: Path,
    trained: BakedProject,
    environment: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By Docker Compose: runs move there; stopped and started again, and brought back to its backup."""
    project, folder = trained.copied(tmp_path), tmp_path / "tracking"
    monkeypatch.setenv("COMPOSE_PROJECT_NAME", f"tracking-{os.getpid()}")
    monkeypatch.setenv("MODELYARD_VENV", str(environment))
    project.make("track")
    (lines,) = re.findall(r"(?m)^uvx (cookiecutter .* up) .*\n(eval .* move) ", README.read_text())
    start = lines[0].replace("gh:OWNER/mlops-template", f"{template} --no-input port={free_port()}")
    count = (environment / "bin/python", "-c", COUNT)
    make = ("make", "--no-print-directory", "-C", folder)
    try:
        said = project.run("bash", "-euc", f"{Path(sys.executable).parent}/{start}\n{lines[1]}")
        assert "1 runs moved" in said, said
        for name, value in re.findall(r"(MLFLOW_\w+)=(\S+)", said):
            monkeypatch.setenv(name, value)
        kept = run(*make, "backup", cwd=tmp_path).splitlines()[-1]
        run(*make, "down", "up", cwd=tmp_path)
        (project.path / "dvc.lock").write_text(project.read("dvc.lock") + "# after it\n")
        project.make("track")
        assert project.run(*count).split()[-1] == "2"
        run(*make, "restore", f"FROM={kept}", cwd=tmp_path)
        assert project.run(*count).split()[-1] == "1"
        project.run("git", "checkout", "--quiet", "dvc.lock")
        found = answers(project, environment, os.environ["MLFLOW_TRACKING_URI"])
        assert found == f"FINISHED {model(project)} 150"
    finally:
        down = ("docker", "compose", "down", "--volumes", "--rmi", "local")
        run(*down, cwd=folder, check=False)

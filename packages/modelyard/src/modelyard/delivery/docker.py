"""Controls the containers of one environment through the `docker` command, on the engine that DOCKER_HOST names."""

import atexit
import json
import os
import re
from pathlib import Path
from typing import Any

from modelyard.core.errors import MissingToolError, SettingError, ToolError
from modelyard.core.files import sha256
from modelyard.core.params import DeployParams
from modelyard.core.process import run_process
from modelyard.core.project import Project

PROXY_FOLDER = Path("deploy/front")
PROXY_CONFIG = PROXY_FOLDER / "haproxy.cfg"
PROXY_SERVICE = "front"
# This file alone: Compose would also read compose.override.yaml and .env, which nobody has to review.
COMPOSE_FILES = ("--file", "compose.yaml", "--env-file", os.devnull)
SLOTS = ("champion", "candidate")
DEFAULT_ADDRESS = "127.0.0.1:8080"
SSH_KEY_CURE = "put the whole file of a private key without a passphrase into the secret"


class DockerError(ToolError):
    """The container engine refuses a command."""


def run_docker(*arguments: str, text: str | None = None, env: dict[str, str] | None = None) -> str:
    """Return what a `docker` command prints, without white space around it.

    Parameters
    ----------
    *arguments
        The words of the command after `docker`.
    text
        Its standard input.
    env
        Variables that it gets besides those of this process.

    Raises
    ------
    MissingToolError
        There is no `docker` command.
    DockerError
        The engine refuses, with the last line that it prints.
    """
    try:
        done = run_process(["docker", *arguments], text=text or "", env=env)
    except MissingToolError:
        raise MissingToolError("docker", "install Docker, or deploy from a machine that has it") from None
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines()]
        reasons = [line for line in lines if line and not line.startswith("Run 'docker")]
        problem = reasons[-1] if reasons else f"it ended with exit code {done.returncode}"
        raise DockerError(f"docker {' '.join(arguments[:2])}", problem)
    return done.stdout.strip()


def log_in_to_registry(repository: str) -> None:
    """Log in to the registry of a repository with REGISTRY_USER and REGISTRY_PASSWORD, where the latter is set."""
    password = os.environ.get("REGISTRY_PASSWORD")
    if not repository or not password:
        return
    user = os.environ.get("REGISTRY_USER", "")
    host = repository.partition("/")[0]
    run_docker("login", "--username", user, "--password-stdin", host, text=password)


def load_ssh_key() -> None:
    """Add the hosts in KNOWN_HOSTS to those that ssh trusts, and load the key in SSH_KEY into an agent.

    The agent ends with this process. The key is written to no file.

    Raises
    ------
    SettingError
        SSH_KEY is not a private key, or it has a passphrase.
    """
    hosts = os.environ.get("KNOWN_HOSTS")
    if hosts:
        add_known_hosts(hosts)
    key = os.environ.pop("SSH_KEY", "").strip()
    if not key:
        return
    agent = run_process(["ssh-agent", "-s"]).stdout
    os.environ.update(re.findall(r"(SSH_\w+)=([^;]+);", agent))
    atexit.register(run_process, ["ssh-agent", "-k"], env=dict(os.environ))
    if run_process(["ssh-add", "-q", "-"], text=f"{key}\n").returncode:
        raise SettingError("SSH_KEY", "is no private key that can be used", SSH_KEY_CURE)


def add_known_hosts(lines: str) -> None:
    """Append lines to ~/.ssh/known_hosts."""
    path = Path.home() / ".ssh/known_hosts"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(lines.rstrip("\n") + "\n")


def get_image_id(image: str) -> str:
    """Return the id of an image, without the prefix `sha256:`."""
    return run_docker("image", "inspect", "--format", "{{.Id}}", image).removeprefix("sha256:")


def has_image(image: str) -> bool:
    """Return whether the engine has an image; `docker image ls` would fail while another image is removed."""
    try:
        return bool(get_image_id(image))
    except DockerError:
        return False


def get_image_labels(image: str) -> dict[str, str]:
    """Return the labels of an image."""
    labels = run_docker("image", "inspect", "--format", "{{json .Config.Labels}}", image)
    return json.loads(labels) or {}


def build_image_tag(model: str) -> str:
    """Return the tag of the image of a model (SHA-256), in which the project's name stands."""
    return f"{Project.load().name}:{model[:12]}"


def build_compose_name(project: str, env: str) -> str:
    """Return the Compose project of an environment, from which its containers, network and volumes get their names.

    The underscore keeps `flights` with `eu-production` apart from `flights-eu` with `production`.
    """
    return f"{project}_{env}"


class Environment:
    """The proxy and the two slots of one environment of a project.

    Parameters
    ----------
    env
        The name of the environment.
    rules
        The block `deploy` of params.yaml.

    Raises
    ------
    MissingToolError
        Docker or Docker Compose is not installed.
    """

    def __init__(self, env: str, rules: DeployParams) -> None:
        project = Project.load().name
        self.env = env
        self.name = build_compose_name(project, env)
        try:
            run_docker("compose", "version")
        except DockerError:
            raise MissingToolError("docker compose", "install Docker Compose, 2 or newer") from None
        contents = sha256(PROXY_FOLDER / "Dockerfile")[:8] + sha256(PROXY_FOLDER / "start.sh")[:8]
        proxy_image = f"{project}_{PROXY_SERVICE}:{contents}"
        self.variables = {
            "ADDRESS": rules.addresses.get(env, DEFAULT_ADDRESS),
            "FRONT": proxy_image,
            "CHAMPION": "none",
            "CANDIDATE": "none",
        }
        if not has_image(proxy_image):
            run_docker("build", "--quiet", "--tag", proxy_image, str(PROXY_FOLDER))

    def run_compose(self, *arguments: str) -> str:
        """Return what a `docker compose` command for this environment prints."""
        return run_docker("compose", *COMPOSE_FILES, "--project-name", self.name, *arguments, env=self.variables)

    def container_name(self, service: str) -> str:
        """Return the name of a service's container."""
        return f"{self.name}-{service}-1"

    def inspect_service(self, service: str, template: str) -> str:
        """Return what `docker inspect` prints of a service's container; empty where there is none."""
        try:
            return run_docker("inspect", "--format", template, self.container_name(service))
        except DockerError:
            return ""

    def running_image_id(self, service: str) -> str | None:
        """Return the id of the image that runs as a service; None where it does not run."""
        running, _, image = self.inspect_service(service, "{{.State.Running}} {{.Image}}").partition(" ")
        return image.removeprefix("sha256:") if running == "true" else None

    def start_service(self, service: str, image: str) -> None:
        """Start a service, and replace its container where it runs another image."""
        self.variables[service.upper()] = image
        self.run_compose("up", "--detach", "--no-deps", "--no-build", service)

    def stop_service(self, service: str) -> None:
        """Stop and remove a service's container, which still answers the requests that it has."""
        self.run_compose("rm", "--stop", "--force", service)

    def exec_in_proxy(self, *command: str, text: str | None = None) -> str:
        """Return what a command prints that runs in the proxy's container."""
        return run_docker("exec", "-i", self.container_name(PROXY_SERVICE), *command, text=text)

    def http_get(self, address: str, path: str) -> str:
        """Return the body that a GET request from the proxy's container receives.

        Parameters
        ----------
        address
            Host and port.
        path
            The path with its leading slash.

        Raises
        ------
        DockerError
            The status is not 200, or nothing answers.
        """
        request = f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n"
        reply = self.exec_in_proxy("socat", "-t30", "-", f"TCP:{address}", text=request)
        head, _, body = reply.partition("\n\n")
        status_line = head.partition("\n")[0]
        if " 200 " not in status_line:
            raise DockerError(path, f"the answer is {status_line or 'empty'}")
        return body

    def slot_address(self, slot: str) -> str:
        """Return host and port of a slot's container.

        The host is an address, because the name of a new container can take seconds to resolve.
        """
        host = self.inspect_service(slot, "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}")
        return f"{host}:8000"

    def is_slot_ready(self, slot: str) -> bool:
        """Return whether the service in a slot answers /ready."""
        try:
            return bool(self.http_get(self.slot_address(slot), "/ready"))
        except DockerError:
            return False

    def start_proxy(self) -> None:
        """Start the proxy where it does not run, and load a changed configuration without losing a connection."""
        image = self.variables["FRONT"]
        if self.running_image_id(PROXY_SERVICE) != get_image_id(image):
            self.start_service(PROXY_SERVICE, image)
        config = PROXY_CONFIG.read_text(encoding="utf-8")
        if self.read_state_file("haproxy.cfg") == config.strip():
            return
        self.write_state_file("draft.cfg", config)
        self.exec_in_proxy("haproxy", "-c", "-q", "-f", "/state/draft.cfg")
        self.exec_in_proxy("mv", "/state/draft.cfg", "/state/haproxy.cfg")
        self.save_proxy_servers()
        run_docker("kill", "--signal=USR2", self.container_name(PROXY_SERVICE))

    def send_to_proxy(self, *commands: str) -> str:
        """Return the reply of the proxy's admin socket to commands."""
        return self.exec_in_proxy("socat", "-t5", "-", "/tmp/admin.sock", text=";".join(commands) + "\n")

    def save_proxy_servers(self) -> None:
        """Save the addresses and weights of the slots, with which a restarted proxy begins."""
        self.write_state_file("servers", self.send_to_proxy("show servers state"))

    def read_proxy_servers(self) -> dict[str, tuple[str, bool, int]]:
        """Return what the proxy knows of each slot: its address, whether it is up, and its weight in percent."""
        servers = {}
        for line in self.send_to_proxy("show servers state model").splitlines()[2:]:
            fields = line.split()
            if len(fields) > 7:
                servers[fields[3]] = (fields[4], fields[5] == "2", int(fields[7]))
        return servers

    def is_reached_by_proxy(self, slot: str) -> bool:
        """Return whether the proxy sends requests to a slot's present container; if not, tell the proxy its address.

        The proxy would keep an earlier address for as long as the name of the container resolves to it, too.
        """
        known, up, _ = self.read_proxy_servers()[slot]
        address = self.slot_address(slot).partition(":")[0]
        if address and known != address:
            self.send_to_proxy(f"set server model/{slot} addr {address}")
        return up and known == address

    def set_candidate_share(self, percent: int) -> None:
        """Send a percentage of the traffic to the candidate, also after a restart of the proxy."""
        self.send_to_proxy(
            f"set server model/champion weight {100 - percent}", f"set server model/candidate weight {percent}"
        )
        self.save_proxy_servers()

    def set_mirroring(self, on: bool) -> None:
        """Let the champion send the candidate a copy of each request, or stop that."""
        word = "on" if on else "off"
        self.send_to_proxy(f"set map /state/switches mirror {word}")
        self.write_state_file("switches", f"mirror {word}")

    def get_through_proxy(self, path: str) -> Any:
        """Return the JSON that users receive for a GET request."""
        return json.loads(self.http_get("127.0.0.1:8080", path))

    def write_state_file(self, name: str, text: str) -> None:
        """Write a file on the environment's own volume, as a whole or not at all."""
        self.exec_in_proxy("sh", "-c", f"cat > /state/.new && mv /state/.new /state/{name}", text=text + "\n")

    def read_state_file(self, name: str) -> str:
        """Return a file of the environment's own volume; empty where there is none."""
        return self.exec_in_proxy("sh", "-c", f"cat /state/{name} 2>/dev/null || true")

"""Verb: the current model becomes an image: the lock's libraries, our code, one model, labels that say which."""

import json
import re
import tempfile
from pathlib import Path

from modelyard.core import deployments
from modelyard.core.console import stage
from modelyard.core.errors import UserError
from modelyard.core.files import write_json
from modelyard.core.params import load_params
from modelyard.core.paths import LOCK
from modelyard.core.process import git
from modelyard.core.project import Project
from modelyard.delivery.docker import docker, log_in
from modelyard.github.post import append
from modelyard.inference.bundle import Passport
from modelyard.inference.prepare import current
from modelyard.provenance import lineage, sbom

IMAGE = Path("reports/image.json")
SBOM = Path("reports/sbom.json")
INPUTS = ("src", "models", "requirements", "params.yaml", "schema.yaml", "Dockerfile")
SEALED = ("run", "--rm", "--read-only", "--network=none", "--cap-drop=ALL")
PACKAGES = """import importlib.metadata as m, json
print(json.dumps(sorted({(d.name, d.version) for d in m.distributions()})))"""
FORMAT = "--showformat=${Package}\\t${Version}\\n"
REVISION = "org.opencontainers.image.revision"


def build(passport: Passport, tag: str) -> str:
    """The id of an image built from this folder, labelled; an uncommitted change shows in its revision."""
    dirty = "-dirty" if git("status", "--porcelain", "--", *INPUTS) else ""
    epoch, created = git("show", "-s", "--format=%ct %cI", passport.commit).split()
    labels = {
        "org.opencontainers.image.title": Project.load().name,
        REVISION: passport.commit + dirty,
        "org.opencontainers.image.created": created,
        "model": passport.model,
        "data": passport.data,
        "dvc-lock": passport.dvc_lock,
        "verdict": passport.verdict,
        "engine": passport.engine,
    }
    values = {
        "PYTHON": Path(".python-version").read_text(encoding="utf-8").strip(),
        "LIBRARIES": "compiled" if passport.engine == "compiled" else "serve",
        "SOURCE_DATE_EPOCH": epoch,
    }
    arguments = [f"--build-arg={name}={value}" for name, value in values.items()]
    arguments += [f"--label={name}={value}" for name, value in labels.items()]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "id")
        docker("build", "--quiet", "--tag", tag, f"--iidfile={file}", *arguments, ".")
        return file.read_text(encoding="utf-8").strip()


def push(tag: str, repository: str, name: str) -> str:
    """The image's reference by digest, as the registry took it; what an engine lists may be another form of it."""
    docker("tag", tag, f"{repository}:{name}")
    found = re.search(r"digest: (sha256:[0-9a-f]{64})", docker("push", f"{repository}:{name}"))
    if not found:
        raise UserError(f"{repository} gave no digest; run `docker push {repository}:{name}` and look")
    return f"{repository}@{found[1]}"


def runs(passport: Passport) -> bool:
    """Whether production is meant to run this model with this code already."""
    champion = deployments.state("production")["champion"]
    if not champion or not champion["image"] or champion["model"] != passport.model:
        return False
    return not git("diff", "--name-only", champion["commit"], passport.commit, "--", *INPUTS, str(LOCK))


def main(repository: str = "", only_new: bool = False) -> int:
    """Build the image of the current model, let it prove itself, push it to REPOSITORY where one is named."""
    params = load_params()
    repository = repository or params.deploy.repository or ""
    with stage("image") as notes:
        passport = current(params)
        if not passport.commit:
            raise UserError("an image says from which commit it is; commit first (git init, git add, git commit)")
        if only_new and runs(passport):
            notes["built"] = "nothing: production runs this model with this code"
            return 0
        log_in(repository)
        name = passport.model[:12]
        tag = f"{Project.load().name}:{name}"
        image = build(passport, tag)
        docker(*SEALED, image, "serve", "--check")
        image = push(tag, repository, name) if repository else image
        about = {"image": image, "model": passport.model, "commit": passport.commit, "engine": passport.engine}
        write_json(IMAGE, about)
        python = json.loads(docker(*SEALED, "--entrypoint=python", image, "-c", PACKAGES))
        debian = docker(*SEALED, "--entrypoint=dpkg-query", image, "-W", FORMAT).splitlines()
        parts = [("pypi", *row) for row in python] + [("deb/debian", *row.split("\t")) for row in debian]
        write_json(SBOM, sbom.bill("container", Project.load().name, image, parts))
        lineage.write(image)
        append("GITHUB_OUTPUT", f"image={image}\ndigest={image.partition('@')[2]}\n")
        notes["built"], notes["engine"] = image, passport.engine
    return 0

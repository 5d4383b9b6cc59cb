"""Verb: the current model becomes an image: the lock's libraries, our code, one model, labels that say which."""

import json
import re
import tempfile
from pathlib import Path

from modelyard.core import deployments
from modelyard.core.console import report_stage
from modelyard.core.errors import UserError
from modelyard.core.files import write_json
from modelyard.core.params import load_params
from modelyard.core.paths import DVC_LOCK
from modelyard.core.process import run_git
from modelyard.core.project import Project
from modelyard.delivery.docker import log_in_to_registry, run_docker
from modelyard.github.post import append_to_actions_file
from modelyard.inference.bundle import ModelBundle
from modelyard.inference.prepare import load_or_build_bundle
from modelyard.provenance import lineage, sbom

IMAGE_REPORT = Path("reports/image.json")
SBOM = Path("reports/sbom.json")
BUILD_INPUTS = (
    *("packages/modelyard/src", "src", "models", "requirements"),
    *("pyproject.toml", "params.yaml", "schema.yaml", "Dockerfile"),
)
ISOLATED_RUN = ("run", "--rm", "--read-only", "--network=none", "--cap-drop=ALL")
LIST_PACKAGES_SCRIPT = """import importlib.metadata as m, json
print(json.dumps(sorted({(d.name, d.version) for d in m.distributions()})))"""
DPKG_FORMAT = "--showformat=${Package}\\t${Version}\\n"
REVISION_LABEL = "org.opencontainers.image.revision"


def build_image(passport: ModelBundle, tag: str) -> str:
    """The id of an image built from this folder, labelled; an uncommitted change shows in its revision."""
    dirty = "-dirty" if run_git("status", "--porcelain", "--", *BUILD_INPUTS) else ""
    epoch, created = run_git("show", "-s", "--format=%ct %cI", passport.commit).split()
    labels = {
        "org.opencontainers.image.title": Project.load().name,
        REVISION_LABEL: passport.commit + dirty,
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
        run_docker("build", "--quiet", "--tag", tag, f"--iidfile={file}", *arguments, ".")
        return file.read_text(encoding="utf-8").strip()


def push_image(tag: str, repository: str, name: str) -> str:
    """The image's reference by digest, as the registry took it; what an engine lists may be another form of it."""
    run_docker("tag", tag, f"{repository}:{name}")
    found = re.search(r"digest: (sha256:[0-9a-f]{64})", run_docker("push", f"{repository}:{name}"))
    if not found:
        raise UserError(f"{repository} gave no digest; run `docker push {repository}:{name}` and look")
    return f"{repository}@{found[1]}"


def is_in_production(passport: ModelBundle) -> bool:
    """Whether production is meant to run this model with this code already."""
    champion = deployments.load_state("production")["champion"]
    if not champion or not champion["image"] or champion["model"] != passport.model:
        return False
    return not run_git("diff", "--name-only", champion["commit"], passport.commit, "--", *BUILD_INPUTS, str(DVC_LOCK))


def main(repository: str = "", only_new: bool = False) -> int:
    """Build the image of the current model, let it prove itself, push it to REPOSITORY where one is named."""
    params = load_params()
    repository = repository or params.deploy.repository or ""
    with report_stage("image") as notes:
        passport = load_or_build_bundle(params)
        if not passport.commit:
            raise UserError("an image says from which commit it is; commit first (git init, git add, git commit)")
        if only_new and is_in_production(passport):
            notes["built"] = "nothing: production runs this model with this code"
            return 0
        log_in_to_registry(repository)
        name = passport.model[:12]
        tag = f"{Project.load().name}:{name}"
        image = build_image(passport, tag)
        run_docker(*ISOLATED_RUN, image, "serve", "--check")
        image = push_image(tag, repository, name) if repository else image
        about = {"image": image, "model": passport.model, "commit": passport.commit, "engine": passport.engine}
        write_json(IMAGE_REPORT, about)
        python = json.loads(run_docker(*ISOLATED_RUN, "--entrypoint=python", image, "-c", LIST_PACKAGES_SCRIPT))
        debian = run_docker(*ISOLATED_RUN, "--entrypoint=dpkg-query", image, "-W", DPKG_FORMAT).splitlines()
        parts = [("pypi", *row) for row in python] + [("deb/debian", *row.split("\t")) for row in debian]
        write_json(SBOM, sbom.build_sbom("container", Project.load().name, image, parts))
        lineage.write_lineage(image)
        append_to_actions_file("GITHUB_OUTPUT", f"image={image}\ndigest={image.partition('@')[2]}\n")
        notes["built"], notes["engine"] = image, passport.engine
    return 0

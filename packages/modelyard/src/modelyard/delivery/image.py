"""Builds the image of the current model: pinned packages, the project's code, one model, and labels that name it."""

import json
import re
import tempfile
from pathlib import Path

from modelyard.core import deployments
from modelyard.core.console import report_stage
from modelyard.core.errors import InvalidFileError, ToolError, UserError
from modelyard.core.files import write_json
from modelyard.core.params import load_params
from modelyard.core.paths import DVC_LOCK
from modelyard.core.process import run_git
from modelyard.core.project import Project
from modelyard.delivery.docker import build_image_tag, log_in_to_registry, run_docker
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


def build_labels(bundle: ModelBundle, created: str) -> dict[str, str]:
    """Return the labels of an image; a change that is not committed shows in the revision.

    Parameters
    ----------
    bundle
        The model.
    created
        The time of its commit.
    """
    dirty = "-dirty" if run_git("status", "--porcelain", "--", *BUILD_INPUTS) else ""
    return {
        "org.opencontainers.image.title": Project.load().name,
        REVISION_LABEL: bundle.commit + dirty,
        "org.opencontainers.image.created": created,
        "model": bundle.model,
        "data": bundle.data,
        "dvc-lock": bundle.dvc_lock,
        "verdict": bundle.verdict,
        "engine": bundle.engine,
    }


def read_python_version() -> str:
    """Return the version in .python-version; raise an `InvalidFileError` where it is anything else."""
    path = Path(".python-version")
    version = path.read_text(encoding="utf-8").strip()
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)*", version):
        raise InvalidFileError(path, "is not a version", "write digits and dots, such as 3.12")
    return version


def build_image(bundle: ModelBundle, tag: str) -> str:
    """Build an image from this folder and return its id.

    Parameters
    ----------
    bundle
        The model.
    tag
        The name of the image.
    """
    epoch, created = run_git("show", "-s", "--format=%ct %cI", bundle.commit).split()
    build_arguments = {
        "PYTHON": read_python_version(),
        "LIBRARIES": "compiled" if bundle.engine == "compiled" else "serve",
        "SOURCE_DATE_EPOCH": epoch,
    }
    options = [f"--build-arg={name}={value}" for name, value in build_arguments.items()]
    options += [f"--label={name}={value}" for name, value in build_labels(bundle, created).items()]
    with tempfile.TemporaryDirectory() as folder:
        id_file = Path(folder, "id")
        run_docker("build", "--quiet", "--tag", tag, f"--iidfile={id_file}", *options, ".")
        return id_file.read_text(encoding="utf-8").strip()


def push_image(tag: str, repository: str, version: str) -> str:
    """Push an image to a repository and return its reference by digest, as the registry reports it.

    Raises
    ------
    ToolError
        The registry reported no digest.
    """
    target = f"{repository}:{version}"
    run_docker("tag", tag, target)
    found = re.search(r"digest: (sha256:[0-9a-f]{64})", run_docker("push", target))
    if not found:
        raise ToolError("docker push", f"{repository} gave no digest; run `docker push {target}` to see why")
    return f"{repository}@{found[1]}"


def is_in_production(bundle: ModelBundle) -> bool:
    """Return whether production already runs this model from an image with the same code."""
    champion = deployments.get_champion("production")
    if not champion.get("image") or champion["model"] != bundle.model:
        return False
    inputs = (*BUILD_INPUTS, str(DVC_LOCK))
    return not run_git("diff", "--name-only", champion["commit"], bundle.commit, "--", *inputs)


def write_image_sbom(image: str) -> None:
    """Write the Python and Debian packages of an image to reports/sbom.json."""
    python = json.loads(run_docker(*ISOLATED_RUN, "--entrypoint=python", image, "-c", LIST_PACKAGES_SCRIPT))
    debian = run_docker(*ISOLATED_RUN, "--entrypoint=dpkg-query", image, "-W", DPKG_FORMAT)
    packages = [("pypi", name, version) for name, version in python]
    for line in debian.splitlines():
        name, version = line.split("\t")
        packages.append(("deb/debian", name, version))
    write_json(SBOM, sbom.build_sbom("container", Project.load().name, image, packages))


def build_and_push(bundle: ModelBundle, repository: str) -> str:
    """Build the image of a model, let it test itself, and push it where a repository is named; return its reference."""
    tag = build_image_tag(bundle.model)
    image = build_image(bundle, tag)
    run_docker(*ISOLATED_RUN, image, "serve", "--check")
    return push_image(tag, repository, bundle.model[:12]) if repository else image


def main(repository: str = "", only_new: bool = False) -> int:
    """Build the image of the current model, test it, and push it to REPOSITORY where one is named."""
    params = load_params()
    repository = repository or params.deploy.repository or ""
    with report_stage("image") as notes:
        bundle = load_or_build_bundle(params)
        if not bundle.commit:
            raise UserError("nothing is committed, and an image names its commit; commit first: git add, git commit")
        if only_new and is_in_production(bundle):
            notes["built"] = "nothing: production runs this model with this code"
            return 0
        log_in_to_registry(repository)
        image = build_and_push(bundle, repository)
        about = {"image": image, "model": bundle.model, "commit": bundle.commit, "engine": bundle.engine}
        write_json(IMAGE_REPORT, about)
        write_image_sbom(image)
        lineage.write_lineage(image)
        append_to_actions_file("GITHUB_OUTPUT", f"image={image}\ndigest={image.partition('@')[2]}\n")
        notes["built"] = image
        notes["engine"] = bundle.engine
    return 0

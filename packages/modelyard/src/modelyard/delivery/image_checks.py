"""Checks that the image of a model may be deployed: its model, its origin, its signatures and its chain to the data."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modelyard.core.errors import UserError
from modelyard.core.files import sha256
from modelyard.core.params import DeployParams, load_params
from modelyard.core.paths import MODEL_FILE
from modelyard.delivery.docker import DockerError, build_image_tag, get_image_labels, has_image, run_docker
from modelyard.delivery.image import REVISION_LABEL
from modelyard.provenance.lineage import verify_lineage
from modelyard.provenance.signing import verify_signature

ALLOWED_VERDICTS = ("pass", "warn")
ChosenModel = dict[str, Any]  # what a deploy file says of a slot: model, commit, image


class MissingImageError(UserError):
    """The engine has no such image, and can pull none.

    Parameters
    ----------
    image
        The image.
    problem
        What the engine said.
    """

    def __init__(self, image: str, problem: object) -> None:
        super().__init__(f"there is no image {image} ({problem}); `make image` builds it")
        self.image = image


class ImageOriginError(UserError):
    """An image is not what the deploy file or params.yaml asks for.

    Parameters
    ----------
    image
        The image.
    problem
        What is wrong with it, as the rest of a sentence that begins with the image.
    """

    def __init__(self, image: str, problem: str) -> None:
        super().__init__(f"{image} {problem}")
        self.image = image
        self.problem = problem


def pull_image(image: str) -> dict[str, str]:
    """Pull an image that is named by digest and not here yet, and return its labels."""
    try:
        if "@" in image and not has_image(image):
            run_docker("pull", "--quiet", image)
        return get_image_labels(image)
    except DockerError as problem:
        raise MissingImageError(image, problem) from None


def resolve_image(chosen: ChosenModel, rules: DeployParams) -> str:
    """Return the image of a model after every check that params.yaml asks for.

    Parameters
    ----------
    chosen
        The model, its commit and its image, as a deploy file names them.
    rules
        The block `deploy` of params.yaml.

    Raises
    ------
    MissingImageError
        There is no such image.
    ImageOriginError
        It holds another model, or does not come from where it should.
    SignatureError
        It or its model is not signed.
    IntegrityError
        Its chain back to the data does not hold.
    """
    model = chosen["model"]
    image = str(chosen.get("image") or build_image_tag(model))
    labels = pull_image(image)
    if labels.get("model") != model:
        raise ImageOriginError(image, f"holds the model {labels.get('model', 'none')[:12]}, not {model[:12]}")
    if rules.repository:
        verify_image_origin(image, labels, chosen, rules.repository)
    verify_signature(image, "deploy.signed", rules.signed, image=image)
    command = load_params().release.signed
    if command:
        verify_image_model(image, model, command)
    claim = {
        "model": model,
        "commit": labels.get(REVISION_LABEL, "none").removesuffix("-dirty"),
        "dvc_lock": labels.get("dvc-lock", ""),
        "data": labels.get("data", ""),
    }
    verify_lineage(claim, strict=False)
    return image


def verify_image_model(image: str, model: str, command: Sequence[str]) -> None:
    """Check that the model file in an image is a model, and that it is signed.

    Parameters
    ----------
    image
        The image.
    model
        The SHA-256 that the file must have.
    command
        The command in params.yaml (release.signed) that verifies the signature.

    Raises
    ------
    ImageOriginError
        The file is another one.
    SignatureError
        It is not signed.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, MODEL_FILE.name)
        container = run_docker("create", image)
        try:
            run_docker("cp", f"{container}:/app/{MODEL_FILE}", str(file))
        finally:
            run_docker("rm", container)
        found = sha256(file)
        if found != model:
            raise ImageOriginError(image, f"is labelled with the model {model[:12]}, but holds {found[:12]}")
        verify_signature(f"the model {model[:12]}", "release.signed", command, model=str(file), digest=model)


def verify_image_origin(image: str, labels: dict[str, str], chosen: ChosenModel, repository: str) -> None:
    """Raise an `ImageOriginError` unless an image is the repository's, of the chosen commit, and passed the gate.

    Parameters
    ----------
    image
        The image.
    labels
        Its labels.
    chosen
        The model, its commit and its image, as a deploy file names them.
    repository
        The only repository that images may come from.
    """
    commit = labels.get(REVISION_LABEL, "")
    verdict = labels.get("verdict")
    if not image.startswith(f"{repository}@sha256:"):
        raise ImageOriginError(image, f"is not {repository}@sha256:…, which params.yaml (deploy.repository) asks for")
    if commit != chosen["commit"]:
        raise ImageOriginError(image, f"was built from {commit[:12]}, the file says {chosen['commit'][:12]}")
    if verdict not in ALLOWED_VERDICTS:
        raise ImageOriginError(image, f"has the verdict {verdict}; deploy an image that the gate let pass")

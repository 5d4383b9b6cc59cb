"""TODO doc."""

import hashlib
import itertools
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pandas as pd

from modelyard.core.console import print_result
from modelyard.core.dvc_lock import hash_path
from modelyard.core.errors import IntegrityError, UserError
from modelyard.core.files import atomic_write, get_nested, read_json, sha256
from modelyard.core.params import Params, load_params
from modelyard.core.paths import (
    DATA_JSON,
    DVC_LOCK,
    HOLDOUT_PARQUET,
    MODEL_FILE,
    PARAMS_YAML,
    SCHEMA_YAML,
    VERDICT_JSON,
)
from modelyard.core.process import run_git
from modelyard.core.project import Project
from modelyard.core.yaml import read_yaml
from modelyard.data.schema_fields import SchemaField
from modelyard.inference.bundle import BUNDLE, RUNTIME_FILES, ModelBundle, compute_max_difference
from modelyard.inference.onnx import ONNX_MODEL, convert_to_onnx, extract_category_encodings
from modelyard.inference.predictor import OnnxPredictor, get_library_versions, load_predictor, to_prediction_arrays
from modelyard.inference.request import RequestDecoder

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

TOLERANCE = 1e-6
EXAMPLE_ROWS = 20
MAX_COMPARED_ROWS = 50_000  # rows of the holdout that the comparison takes


def to_json_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as a client would send them: no value is null, a time is text."""
    plain = table.astype("object").where(table.notna(), None).to_dict("records")
    return msgspec.json.decode(msgspec.json.encode(plain, enc_hook=lambda value: value.isoformat()))


def synthesize_values(real: pd.Series, item: SchemaField) -> pd.Series:
    """Values of no person in place of a column's: those allowed in turn, the mean of numbers and times, masked text."""
    if "isin" in item.checks:
        made = [*itertools.islice(itertools.cycle(item.checks["isin"]), len(real))]
    elif real.dtype.kind in "iufbM" and real.notna().any():
        made = [real.mean() if real.dtype.kind in "fM" else round(real.mean())] * len(real)
    else:
        made = ["".join(map(mask_character, str(value))) for value in real]
    return pd.Series(made, real.index, dtype=str(real.dtype)).where(real.notna())


def mask_character(letter: str) -> str:
    """A letter or a digit that says nothing, of the same kind; other signs stay."""
    if letter.isdigit():
        return "0"
    return ("X" if letter.isupper() else "x") if letter.isalpha() else letter


def hash_sources() -> str:
    """One digest of everything that the compiled model and the rows in its passport come from."""
    library = Path(__file__).parents[1]
    folders = [library / name for name in ("core", "data", "pipeline", "inference")]
    code = [file for folder in (*folders, Project.load().source) for file in sorted(folder.rglob("*.py"))]
    return hashlib.sha256(
        "".join(map(sha256, [MODEL_FILE, HOLDOUT_PARQUET, PARAMS_YAML, SCHEMA_YAML, *code])).encode()
    ).hexdigest()


def select_example_rows(holdout: pd.DataFrame, rows: RequestDecoder) -> pd.DataFrame:
    """Rows that a passport may show: of the holdout, but for what schema.yaml marks as personal."""
    hidden = [item for item in rows.columns if item.is_required and item.name in rows.personal]
    shown = holdout.assign(**{item.name: synthesize_values(holdout[item.name], item) for item in hidden})
    shown = shown.iloc[np.unique(np.linspace(0, len(shown) - 1, EXAMPLE_ROWS).astype(int))]
    for item in hidden:
        if any(item.broken(value) for value in shown[item.name].dropna()):
            why = f"no value can be invented that keeps {SCHEMA_YAML}'s rules for the personal column {item.name}"
            raise UserError(f"{why}, and an image shows no real one; name the values (isin), or do not learn from it")
    return shown


def build_bundle(params: Params) -> ModelBundle:
    """A passport with the engine that proved equal to the pipeline on the holdout."""
    from modelyard.pipeline.estimator import predict_frame
    from modelyard.pipeline.model_file import load_model
    from modelyard.pipeline.preprocessing import select_features

    holdout = select_features(params, pd.read_parquet(HOLDOUT_PARQUET))
    holdout = holdout.iloc[np.unique(np.linspace(0, len(holdout) - 1, MAX_COMPARED_ROWS).astype(int))]
    pipeline = load_model(MODEL_FILE)
    truth = predict_frame(pipeline, holdout)
    dtypes = {str(name): str(dtype) for name, dtype in holdout.dtypes.items()}
    rows = RequestDecoder(params.data, dtypes)
    shown = select_example_rows(holdout, rows)
    passport = ModelBundle(
        **get_model_identity(),
        file=sha256(MODEL_FILE),
        versions=get_library_versions("scikit-learn"),
        dtypes=dtypes,
        classes=pipeline.classes_.tolist() if hasattr(pipeline, "classes_") else None,
        quantiles=np.unique(truth.iloc[:, -1].quantile(np.linspace(0, 1, 11)).round(6)).tolist(),
        rows=to_json_rows(shown),
        answers=[],
        sources=hash_sources(),
    )
    passport.answers = passport.to_response(to_prediction_arrays(predict_frame(pipeline, shown)))
    said, sent = (
        passport.to_response(to_prediction_arrays(truth)),
        rows.decode(msgspec.json.encode(to_json_rows(holdout))),
    )
    select_runtime(passport, pipeline, rows.frame(sent), said)
    predictor = load_predictor(passport)
    if passport.engine == "compiled":
        with suppress(Exception):  # whatever pandas has and the light table has not
            passport.light = (
                compute_max_difference(passport.to_response(predictor(rows.table(sent))), said) <= TOLERANCE
            )
    each = rows.decode(msgspec.json.encode(passport.rows))
    alone = [one for row in each for one in passport.to_response(predictor(rows.frame([row])))]
    if not compute_max_difference(alone, passport.answers) <= TOLERANCE:
        raise UserError("a row alone gets another answer than among others; features() must look at one row at a time")
    return passport


def select_runtime(passport: ModelBundle, pipeline: "Pipeline", raw: pd.DataFrame, said: list[dict[str, Any]]) -> None:
    """Give the passport the compiled engine where that equals the pipeline, else the reason against it."""
    ONNX_MODEL.unlink(missing_ok=True)
    try:
        steps = {name: (step, list(names)) for name, step, names in pipeline["columns"].transformers_}
        passport.numbers, passport.codes = steps["numbers"][1], extract_category_encodings(*steps["categories"])
        width = len(passport.numbers) + sum(len(c.missing) for c in passport.codes)
        with atomic_write(ONNX_MODEL) as draft:
            draft.write_bytes(convert_to_onnx(pipeline, passport.numbers, width))
            passport.difference = compute_max_difference(
                passport.to_response(OnnxPredictor(passport, draft)(raw)), said
            )
            if not passport.difference <= TOLERANCE:
                raise ValueError(f"compiled, it differs by {passport.difference:.1e} on the holdout")
        passport.engine, passport.file, passport.versions = (
            "compiled",
            sha256(ONNX_MODEL),
            get_library_versions("compiled"),
        )
    except Exception as problem:  # converters raise of every kind, and each means: use the pipeline
        passport.numbers, passport.codes = [], []
        passport.reason = f"{type(pipeline[-1]).__name__}: " + " ".join(str(problem).split())[:200]
        passport.difference = compute_max_difference(passport.to_response(load_predictor(passport)(raw)), said)
        if not passport.difference <= TOLERANCE:
            raise UserError(
                f"rows sent as JSON get other answers than rows of the table (by {passport.difference:.1e}); "
                "look for a column whose dtype JSON does not keep"
            ) from None


def main() -> int:
    """Write models/model.onnx and models/passport.json, unless they are of this very model already."""
    passport = load_or_build_bundle(load_params())
    said = f"largest difference {passport.difference:.1e}" if passport.engine == "compiled" else passport.reason
    print_result("compile", f"{passport.model[:12]} is served by {passport.engine}: {said}")
    return 0


def load_or_build_bundle(params: Params) -> ModelBundle:
    """The passport of the model here: in a working copy it follows the model, in an image it stands."""
    if not HOLDOUT_PARQUET.exists() or not MODEL_FILE.exists():
        return verify_bundle(ModelBundle.read())
    from modelyard.core.dvc_lock import verify_model_matches_lock

    pass  # pylint: disable=cyclic-import # a working copy only: an image has no compiler

    verify_model_matches_lock()
    try:
        old = ModelBundle.read()
        fresh = old.sources == hash_sources() and RUNTIME_FILES[old.engine].exists()
    except UserError:
        fresh = False
    passport = msgspec.structs.replace(old, **get_model_identity()) if fresh else build_bundle(params)
    with atomic_write(BUNDLE) as draft:
        draft.write_bytes(msgspec.json.format(msgspec.json.encode(passport), indent=1))
    return passport


def verify_bundle(passport: ModelBundle) -> ModelBundle:
    """The passport, after what lies beside it was found to be what dvc.lock says that its model was made of."""
    for link, path, said in (("dvc.lock", DVC_LOCK, passport.dvc_lock), ("model", MODEL_FILE, passport.model)):
        if (found := sha256(path) if path.exists() else "missing") != said:
            raise IntegrityError(link, f"{path} is {found[:12]}, and the passport says {said[:12]}")
    here, lock = read_yaml(PARAMS_YAML), read_yaml(DVC_LOCK)
    for stage in lock["stages"].values():
        for key, said in stage.get("params", {}).get(str(PARAMS_YAML), {}).items():
            if get_nested(here, key) != said:
                raise IntegrityError("parameters", f"{PARAMS_YAML} has another {key} than {DVC_LOCK}")
        for part in (*stage.get("deps", []), *stage.get("outs", [])):
            if (path := Path(part["path"])).exists() and hash_path(path) != part["md5"]:
                raise IntegrityError(
                    "model" if path == MODEL_FILE else "code", f"{path} is not what {DVC_LOCK} was made with"
                )
    return passport


def get_model_identity() -> dict[str, Any]:
    """What ties the model to the repository: commit, lock, data, and the verdict if there is one on it."""
    verdict = read_json(VERDICT_JSON) if VERDICT_JSON.exists() else {}
    judged = (verdict.get("candidate") or {}).get("model") == sha256(MODEL_FILE)
    try:
        commit = run_git("rev-parse", "HEAD")
    except UserError:
        commit = ""
    return {
        "model": sha256(MODEL_FILE),
        "commit": commit,
        "dvc_lock": sha256(DVC_LOCK) if DVC_LOCK.exists() else "",
        "data": read_json(DATA_JSON)["sha256"],
        "verdict": verdict["decision"] if judged else "none",
    }

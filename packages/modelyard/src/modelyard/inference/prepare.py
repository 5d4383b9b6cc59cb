"""TODO doc."""

import hashlib
import itertools
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pandas as pd

from modelyard.core.dvc_lock import path_digest
from modelyard.core.errors import Broken, UserError
from modelyard.core.files import atomic, numbered, read_json, sha256, within
from modelyard.core.params import Params, load_params
from modelyard.core.paths import DATA, HOLDOUT, LOCK, MODEL, PARAMS, SCHEMA, VERDICT
from modelyard.core.process import git
from modelyard.core.project import Project
from modelyard.data.schema_fields import Field
from modelyard.inference.bundle import FILES, PASSPORT, Passport, distance
from modelyard.inference.onnx import GRAPH, codes, graph
from modelyard.inference.predictor import Compiled, columns, load_predictor, versions
from modelyard.inference.request import Rows

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

TOLERANCE = 1e-6
EXAMPLES = 20
MOST = 50_000  # rows of the holdout that the comparison takes


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as a client would send them: no value is null, a time is text."""
    plain = table.astype("object").where(table.notna(), None).to_dict("records")
    return msgspec.json.decode(msgspec.json.encode(plain, enc_hook=lambda value: value.isoformat()))


def nobody(real: pd.Series, item: Field) -> pd.Series:
    """Values of no person in place of a column's: those allowed in turn, the mean of numbers and times, masked text."""
    if "isin" in item.checks:
        made = [*itertools.islice(itertools.cycle(item.checks["isin"]), len(real))]
    elif real.dtype.kind in "iufbM" and real.notna().any():
        made = [real.mean() if real.dtype.kind in "fM" else round(real.mean())] * len(real)
    else:
        made = ["".join(map(masked, str(value))) for value in real]
    return pd.Series(made, real.index, dtype=str(real.dtype)).where(real.notna())


def masked(letter: str) -> str:
    """A letter or a digit that says nothing, of the same kind; other signs stay."""
    if letter.isdigit():
        return "0"
    return ("X" if letter.isupper() else "x") if letter.isalpha() else letter


def sources() -> str:
    """One digest of everything that the compiled model and the rows in its passport come from."""
    library = Path(__file__).parents[1]
    folders = [library / name for name in ("core", "data", "pipeline", "inference")]
    code = [file for folder in (*folders, Project.load().source) for file in sorted(folder.rglob("*.py"))]
    return hashlib.sha256("".join(map(sha256, [MODEL, HOLDOUT, PARAMS, SCHEMA, *code])).encode()).hexdigest()


def examples(holdout: pd.DataFrame, rows: Rows) -> pd.DataFrame:
    """Rows that a passport may show: of the holdout, but for what schema.yaml marks as personal."""
    hidden = [item for item in rows.columns if item.needed and item.name in rows.personal]
    shown = holdout.assign(**{item.name: nobody(holdout[item.name], item) for item in hidden})
    shown = shown.iloc[np.unique(np.linspace(0, len(shown) - 1, EXAMPLES).astype(int))]
    for item in hidden:
        if any(item.broken(value) for value in shown[item.name].dropna()):
            why = f"no value can be invented that keeps {SCHEMA}'s rules for the personal column {item.name}"
            raise UserError(f"{why}, and an image shows no real one; name the values (isin), or do not learn from it")
    return shown


def anew(params: Params) -> Passport:
    """A passport with the engine that proved equal to the pipeline on the holdout."""
    from modelyard.pipeline.estimator import predict
    from modelyard.pipeline.model_file import load
    from modelyard.pipeline.preprocessing import inputs

    holdout = inputs(params, pd.read_parquet(HOLDOUT))
    holdout = holdout.iloc[np.unique(np.linspace(0, len(holdout) - 1, MOST).astype(int))]
    pipeline = load(MODEL)
    truth = predict(pipeline, holdout)
    dtypes = {str(name): str(dtype) for name, dtype in holdout.dtypes.items()}
    rows = Rows(params.data, dtypes)
    shown = examples(holdout, rows)
    passport = Passport(
        **identity(),
        file=sha256(MODEL),
        versions=versions("scikit-learn"),
        dtypes=dtypes,
        classes=pipeline.classes_.tolist() if hasattr(pipeline, "classes_") else None,
        quantiles=np.unique(truth.iloc[:, -1].quantile(np.linspace(0, 1, 11)).round(6)).tolist(),
        rows=records(shown),
        answers=[],
        sources=sources(),
    )
    passport.answers = passport.said(columns(predict(pipeline, shown)))
    said, sent = passport.said(columns(truth)), rows.decode(msgspec.json.encode(records(holdout)))
    choose(passport, pipeline, rows.frame(sent), said)
    predictor = load_predictor(passport)
    if passport.engine == "compiled":
        with suppress(Exception):  # whatever pandas has and the light table has not
            passport.light = distance(passport.said(predictor(rows.table(sent))), said) <= TOLERANCE
    each = rows.decode(msgspec.json.encode(passport.rows))
    alone = [one for row in each for one in passport.said(predictor(rows.frame([row])))]
    if not distance(alone, passport.answers) <= TOLERANCE:
        raise UserError("a row alone gets another answer than among others; features() must look at one row at a time")
    return passport


def choose(passport: Passport, pipeline: "Pipeline", raw: pd.DataFrame, said: list[dict[str, Any]]) -> None:
    """Give the passport the compiled engine where that equals the pipeline, else the reason against it."""
    GRAPH.unlink(missing_ok=True)
    try:
        steps = {name: (step, list(names)) for name, step, names in pipeline["columns"].transformers_}
        passport.numbers, passport.codes = steps["numbers"][1], codes(*steps["categories"])
        width = len(passport.numbers) + sum(len(c.missing) for c in passport.codes)
        with atomic(GRAPH) as draft:
            draft.write_bytes(graph(pipeline, passport.numbers, width))
            passport.difference = distance(passport.said(Compiled(passport, draft)(raw)), said)
            if not passport.difference <= TOLERANCE:
                raise ValueError(f"compiled, it differs by {passport.difference:.1e} on the holdout")
        passport.engine, passport.file, passport.versions = "compiled", sha256(GRAPH), versions("compiled")
    except Exception as problem:  # converters raise of every kind, and each means: use the pipeline
        passport.numbers, passport.codes = [], []
        passport.reason = f"{type(pipeline[-1]).__name__}: " + " ".join(str(problem).split())[:200]
        passport.difference = distance(passport.said(load_predictor(passport)(raw)), said)
        if not passport.difference <= TOLERANCE:
            raise UserError(
                f"rows sent as JSON get other answers than rows of the table (by {passport.difference:.1e}); "
                "look for a column whose dtype JSON does not keep"
            ) from None


def main() -> int:
    """Write models/model.onnx and models/passport.json, unless they are of this very model already."""
    passport = current(load_params())
    said = f"largest difference {passport.difference:.1e}" if passport.engine == "compiled" else passport.reason
    print(f"{'compile':<10}{passport.model[:12]} is served by {passport.engine}: {said}")
    return 0


def current(params: Params) -> Passport:
    """The passport of the model here: in a working copy it follows the model, in an image it stands."""
    if not HOLDOUT.exists() or not MODEL.exists():
        return sealed(Passport.read())
    from modelyard.core.dvc_lock import own_model

    pass  # pylint: disable=cyclic-import # a working copy only: an image has no compiler

    own_model()
    try:
        old = Passport.read()
        fresh = old.sources == sources() and FILES[old.engine].exists()
    except UserError:
        fresh = False
    passport = msgspec.structs.replace(old, **identity()) if fresh else anew(params)
    with atomic(PASSPORT) as draft:
        draft.write_bytes(msgspec.json.format(msgspec.json.encode(passport), indent=1))
    return passport


def sealed(passport: Passport) -> Passport:
    """The passport, after what lies beside it was found to be what dvc.lock says that its model was made of."""
    for link, path, said in (("dvc.lock", LOCK, passport.dvc_lock), ("model", MODEL, passport.model)):
        if (found := sha256(path) if path.exists() else "missing") != said:
            raise Broken(link, f"{path} is {found[:12]}, and the passport says {said[:12]}")
    here, lock = numbered(PARAMS), numbered(LOCK)
    for stage in lock["stages"].values():
        for key, said in stage.get("params", {}).get(str(PARAMS), {}).items():
            if within(here, key) != said:
                raise Broken("parameters", f"{PARAMS} has another {key} than {LOCK}")
        for part in (*stage.get("deps", []), *stage.get("outs", [])):
            if (path := Path(part["path"])).exists() and path_digest(path) != part["md5"]:
                raise Broken("model" if path == MODEL else "code", f"{path} is not what {LOCK} was made with")
    return passport


def identity() -> dict[str, Any]:
    """What ties the model to the repository: commit, lock, data, and the verdict if there is one on it."""
    verdict = read_json(VERDICT) if VERDICT.exists() else {}
    judged = (verdict.get("candidate") or {}).get("model") == sha256(MODEL)
    try:
        commit = git("rev-parse", "HEAD")
    except UserError:
        commit = ""
    return {
        "model": sha256(MODEL),
        "commit": commit,
        "dvc_lock": sha256(LOCK) if LOCK.exists() else "",
        "data": read_json(DATA)["sha256"],
        "verdict": verdict["decision"] if judged else "none",
    }

"""Verb: the fitted pipeline becomes an ONNX graph, used only where it answers the holdout equally."""

import copy
import hashlib
import itertools
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import msgspec
import numpy as np
import pandas as pd

from .config import HOLDOUT, MODEL, PARAMS, SCHEMA, Params, UserError, atomic, load_params, sha256
from .light import missing
from .predictor import FILES, Codes, Compiled, Passport, columns, current, distance, identity, load_predictor, versions
from .rows import Field, Rows

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

TOLERANCE = 1e-6
EXAMPLES = 20
MOST = 50_000  # rows of the holdout that the comparison takes
GRAPH = FILES["compiled"]


def codes(encoder: Any, names: list[str]) -> list[Codes]:
    """Each category column's codes, asked of the fitted encoder itself: one column does not see another."""
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

    if not names:
        return []
    if not isinstance(encoder, OneHotEncoder | OrdinalEncoder):
        raise ValueError(f"{type(encoder).__name__} may look at more than one column")
    lists = [known.tolist() for known in encoder.categories_]
    longest = max(map(len, lists))
    table = [[*known, *known[:1] * (longest - len(known)), "\0 none such", None] for known in lists]
    filled = np.asarray(encoder.transform(pd.DataFrame(dict(zip(names, table, strict=True)), dtype="object")))
    nameless = copy.copy(encoder)
    del nameless.feature_names_in_  # so that it takes names by which each column can be told
    marks = [f"{number:06d}|" for number in range(len(names))]
    columns = np.array([name[:7] for name in nameless.get_feature_names_out(marks)])
    found = []
    for mark, name, known in zip(marks, names, lists, strict=True):
        part = filled[:, columns == mark].astype(float).tolist()
        pairs = [(value, code) for value, code in zip(known, part, strict=False) if not missing(value)]
        found.append(Codes(name, pairs, part[-2], part[-1]))
    return found


def graph(pipeline: "Pipeline", numbers: list[str], width: int) -> bytes:
    """The numbers' step and the estimator as one ONNX graph; its input is the numbers, then the codes."""
    from skl2onnx import to_onnx
    from skl2onnx.common import tree_ensemble
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline

    steps = [("numbers", pipeline["columns"].transformers_[0][1], list(range(len(numbers))))]
    steps.append(("codes", "passthrough", list(range(len(numbers), width))))
    columns = ColumnTransformer(steps)
    columns.transformers_ = [step for step in steps if step[2]]  # fitted already
    estimator, plain = pipeline["estimator"], tree_ensemble.add_node

    def whole(*arguments: Any, nodes_missing_value_tracks_true: Any = 0, **rest: Any) -> Any:
        return plain(*arguments, nodes_missing_value_tracks_true=int(nodes_missing_value_tracks_true), **rest)

    with mock.patch.object(tree_ensemble, "add_node", whole):  # its bool is none of ONNX's attribute types
        made = to_onnx(
            Pipeline([("columns", columns), ("estimator", estimator)]),
            initial_types=[("x", FloatTensorType([None, width]))],
            options={id(estimator): {"zipmap": False}} if hasattr(estimator, "predict_proba") else None,
        )
    made.opset_import.sort(key=lambda one: one.domain)  # else they come by chance: the same model, other bytes
    return bytes(lean(made).SerializeToString())


def lean(made: Any) -> Any:
    """Two classes of boosted trees as one sum and its sigmoid: the second class's probability, a sixth sooner."""
    from onnx.helper import make_attribute, make_node

    node = made.graph.node[-1]
    given = {one.name: one for one in node.attribute}
    if node.op_type == "TreeEnsembleClassifier" and given["post_transform"].s == b"LOGISTIC":
        node.op_type, node.output[:], given["post_transform"].s = "TreeEnsembleRegressor", ["sum"], b"NONE"
        for name in [name for name in given if name.startswith("classlabels")]:
            node.attribute.remove(given[name])
        for name in ("ids", "nodeids", "treeids", "weights"):
            given[f"class_{name}"].name = f"target_{name}"
        given["class_ids"].ints[:] = [0] * len(given["class_ids"].ints)
        node.attribute.append(make_attribute("n_targets", 1))
        del made.graph.output[0]
        made.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1
        made.graph.node.append(make_node("Sigmoid", ["sum"], [made.graph.output[0].name]))
    return made


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
    names = ("compile", "features", "light", "model", "predictor", "rows")
    files = [MODEL, HOLDOUT, PARAMS, SCHEMA, *(Path(__file__).with_name(f"{name}.py") for name in names)]
    return hashlib.sha256("".join(map(sha256, files)).encode()).hexdigest()


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
    from .model import inputs, load, predict

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

"""Build a model bundle: choose the runtime that gives the pipeline's own predictions on the holdout."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pandas as pd

from modelyard.core.errors import HookError, UserError
from modelyard.core.files import atomic_write, sha256
from modelyard.core.params import Params
from modelyard.core.paths import HOLDOUT_PARQUET, MODEL_FILE
from modelyard.core.predictions import Predictions
from modelyard.core.project import Project
from modelyard.inference.bundle import (
    ModelBundle,
    PredictionDict,
    Predictor,
    compute_max_difference,
    to_response,
)
from modelyard.inference.edge_rows import EdgeRow, generate_edge_rows
from modelyard.inference.example_rows import select_evenly, select_example_rows, to_json_rows
from modelyard.inference.identity import get_model_identity, hash_sources
from modelyard.inference.onnx import ONNX_MODEL, convert_to_onnx, extract_category_encodings
from modelyard.inference.predictor import OnnxPredictor, get_library_versions, load_predictor
from modelyard.inference.request import RequestDecoder, Row
from modelyard.pipeline.estimator import predict_frame
from modelyard.pipeline.model_file import load_model
from modelyard.pipeline.preprocessing import select_features

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

TOLERANCE = 1e-6  # of a probability, or relative to a number
MAX_COMPARED_ROWS = 50_000  # rows of the holdout


def build_bundle(params: Params) -> ModelBundle:
    """Return the bundle of the model in this folder, and write its compiled model if there is one.

    Raises
    ------
    UserError
        Rows sent as JSON get other predictions than rows of the table, or a row's prediction depends on other rows.
    """
    holdout = select_evenly(select_features(params, pd.read_parquet(HOLDOUT_PARQUET)), MAX_COMPARED_ROWS)
    pipeline = load_model(MODEL_FILE)
    expected_frame = predict_frame(pipeline, holdout)
    expected = to_response(Predictions.from_frame(expected_frame))
    dtypes = {str(name): str(dtype) for name, dtype in holdout.dtypes.items()}
    decoder = RequestDecoder(params.data, dtypes, params.serve.outside == "flag")
    examples = select_example_rows(holdout, decoder)
    bundle = ModelBundle(
        **get_model_identity(),
        file=sha256(MODEL_FILE),
        versions=get_library_versions("scikit-learn"),
        dtypes=dtypes,
        classes=pipeline.classes_.tolist() if hasattr(pipeline, "classes_") else None,
        quantiles=compute_deciles(expected_frame.iloc[:, -1]),
        rows=to_json_rows(examples),
        answers=to_response(Predictions.from_frame(predict_frame(pipeline, examples))),
        sources=hash_sources(),
    )
    rows = decoder.decode(msgspec.json.encode(to_json_rows(holdout)))
    select_runtime(bundle, pipeline, decoder.to_dataframe(rows), expected)
    predictor = load_predictor(bundle)
    if bundle.engine == "compiled":
        bundle.light_reason = find_light_table_obstacle(params, bundle, predictor, decoder, rows, expected)
        bundle.light = not bundle.light_reason
    reject_dependent_rows(bundle, predictor, decoder)
    return bundle


def compute_deciles(scores: pd.Series) -> list[float]:
    """Return the distinct deciles of the scores, with six digits after the point."""
    return np.unique(scores.quantile(np.linspace(0, 1, 11)).round(6)).tolist()


def select_runtime(
    bundle: ModelBundle, pipeline: "Pipeline", raw: pd.DataFrame, expected: list[PredictionDict]
) -> None:
    """Make the compiled model the bundle's runtime if it equals the pipeline; else note the reason why not.

    Parameters
    ----------
    bundle
        The bundle, with the pipeline as its runtime.
    pipeline
        The fitted pipeline.
    raw
        Rows of the holdout as they arrive in a request.
    expected
        The pipeline's predictions for them.

    Raises
    ------
    UserError
        The pipeline itself gives other predictions for rows that arrive in a request.
    """
    ONNX_MODEL.unlink(missing_ok=True)
    try:
        compile_model(bundle, pipeline, raw, expected)
    except Exception as problem:  # a converter may raise anything; the pipeline serves then, and the bundle says why
        bundle.numbers, bundle.codes = [], []
        sentence = " ".join(str(problem).split())[:200]
        bundle.reason = f"{type(pipeline[-1]).__name__}: {sentence}"
        bundle.difference = compute_max_difference(to_response(load_predictor(bundle)(raw)), expected)
        if not bundle.difference <= TOLERANCE:
            difference = f"rows sent as JSON get other predictions than rows of the table (by {bundle.difference:.1e})"
            raise UserError(f"{difference}; look for a column whose dtype JSON does not keep") from None


def compile_model(bundle: ModelBundle, pipeline: "Pipeline", raw: pd.DataFrame, expected: list[PredictionDict]) -> None:
    """Write the compiled model and make it the bundle's runtime; raise ValueError if it differs from the pipeline."""
    steps = {name: (step, list(names)) for name, step, names in pipeline["columns"].transformers_}
    encoder, categories = steps["categories"]
    bundle.numbers = steps["numbers"][1]
    bundle.codes = extract_category_encodings(encoder, categories)
    width = len(bundle.numbers) + sum(len(encoding.missing) for encoding in bundle.codes)
    with atomic_write(ONNX_MODEL) as draft:
        draft.write_bytes(convert_to_onnx(pipeline, bundle.numbers, width))
        predictor = OnnxPredictor(bundle, draft)
        bundle.difference = compute_max_difference(to_response(predictor(raw)), expected)
        if not bundle.difference <= TOLERANCE:
            raise ValueError(f"the compiled model differs by {bundle.difference:.1e} on the holdout")
    bundle.engine = "compiled"
    bundle.file = sha256(ONNX_MODEL)
    bundle.versions = get_library_versions("compiled")


def find_light_table_obstacle(
    params: Params,
    bundle: ModelBundle,
    predictor: Predictor,
    decoder: RequestDecoder,
    rows: list[Row],
    expected: list[PredictionDict],
) -> str:
    """Return why the light table cannot stand in for pandas; an empty text if it can.

    It must give the same predictions as pandas on the holdout's rows and on generated rows.
    """
    if not params.serve.light_table:
        return "switched off by serve.light_table"
    found = predict_or_explain(predictor, decoder.to_light_frame, rows)
    if isinstance(found, str):
        return f"on the holdout: {found}"
    difference = compute_max_difference(to_response(found), expected)
    if not difference <= TOLERANCE:
        return f"on the holdout: the predictions differ by {difference:.1e}"
    for edge in generate_edge_rows(decoder, bundle.rows[0]):
        obstacle = compare_tables(predictor, decoder, edge)
        if obstacle:
            return f"on a row with {edge}: {obstacle}"
    return ""


def compare_tables(predictor: Predictor, decoder: RequestDecoder, edge: EdgeRow) -> str:
    """Return how the light table differs from pandas on a row; an empty text if it does not."""
    found = predict_or_explain(predictor, decoder.to_light_frame, [edge.row])
    expected = predict_or_explain(predictor, decoder.to_dataframe, [edge.row])
    if isinstance(found, str):
        return "" if isinstance(expected, str) else found
    if isinstance(expected, str):
        return f"only pandas fails ({expected})"
    if not np.allclose(get_numbers(found), get_numbers(expected), rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True):
        return "the predictions differ"
    return ""


def predict_or_explain(
    predictor: Predictor, make_table: Callable[[list[Row]], Any], rows: list[Row]
) -> Predictions | str:
    """Return the predictions for a table of the rows, or the error that making them raised."""
    try:
        with np.errstate(all="ignore"):
            return predictor(make_table(rows))
    except Exception as problem:  # features() is the project's own code and may raise anything
        return f"{type(problem).__name__}: {problem}"


def get_numbers(predictions: Predictions) -> np.ndarray:
    """Return the probabilities, or for a regression the predicted numbers."""
    return predictions.values if predictions.probabilities is None else predictions.probabilities


def reject_dependent_rows(bundle: ModelBundle, predictor: Predictor, decoder: RequestDecoder) -> None:
    """Raise `HookError` if an example row alone gets another prediction than among the others."""
    rows = decoder.decode(msgspec.json.encode(bundle.rows))
    alone = [to_response(predictor(decoder.to_dataframe([row])))[0] for row in rows]
    if not compute_max_difference(alone, bundle.answers) <= TOLERANCE:
        file = f"src/{Project.load().package}/features.py"
        problem = "looks at other rows: a row alone gets another prediction; let it look at one row at a time"
        raise HookError(file, "features()", problem)

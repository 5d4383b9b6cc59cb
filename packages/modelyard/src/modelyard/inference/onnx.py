"""Verb: the fitted pipeline becomes an ONNX graph, used only where it answers the holdout equally."""

import copy
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import pandas as pd

from modelyard.inference.bundle import RUNTIME_FILES, CategoryEncoding
from modelyard.inference.columns import is_missing

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

ONNX_MODEL = RUNTIME_FILES["compiled"]


def extract_category_encodings(encoder: Any, names: list[str]) -> list[CategoryEncoding]:
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
        pairs = [(value, code) for value, code in zip(known, part, strict=False) if not is_missing(value)]
        found.append(CategoryEncoding(name, pairs, part[-2], part[-1]))
    return found


def convert_to_onnx(pipeline: "Pipeline", numbers: list[str], width: int) -> bytes:
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
    return bytes(fuse_binary_trees(made).SerializeToString())


def fuse_binary_trees(made: Any) -> Any:
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

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from modelyard.core.errors import InvalidFileError, UserError
from modelyard.core.predictions import (
    Predictions,
    encode_aligned,
    encode_classes,
    normalize_class_names,
    to_log_column,
)

TWO_CLASSES = pd.DataFrame({"prediction": ["b", "a"], "p_a": [0.2, 0.9], "p_b": [0.8, 0.1]})
THREE_CLASSES = pd.DataFrame({"prediction": ["a", "c"], "p_a": [0.6, 0.1], "p_b": [0.3, 0.1], "p_c": [0.1, 0.8]})
NUMBERS = pd.DataFrame({"prediction": [1.5, 2.5]})


@pytest.mark.parametrize("frame", [TWO_CLASSES, THREE_CLASSES, NUMBERS], ids=["two", "three", "numbers"])
def test_a_table_comes_back_as_it_was(frame: pd.DataFrame) -> None:
    index = pd.Index([7, 9])
    found = Predictions.from_frame(frame.set_axis(index)).to_frame(index)
    pd.testing.assert_frame_equal(found, frame.set_axis(index), check_dtype=False)


def test_other_columns_are_ignored() -> None:
    found = Predictions.from_frame(TWO_CLASSES.assign(truth=1, id=2))
    assert found.classes == ("a", "b")
    assert len(found) == 2


def test_probabilities_predict_the_most_probable_class_with_its_type() -> None:
    found = Predictions.from_probabilities(np.array([[0.2, 0.8], [0.5, 0.5]]), np.array([3, 5]))
    assert found.values.tolist() == [5, 3]
    assert found.classes == ("3", "5")


def test_predicted_classes_follow_from_probabilities_alone() -> None:
    assert Predictions.from_frame(TWO_CLASSES[["p_a", "p_b"]]).values.tolist() == ["b", "a"]


def test_an_empty_table_has_no_predictions() -> None:
    assert Predictions.from_frame(pd.DataFrame()).align_to(["a", "b"]).compute_scores().tolist() == []


def test_a_table_without_predictions_is_refused() -> None:
    with pytest.raises(UserError, match="prediction"):
        Predictions.from_frame(pd.DataFrame({"x": [1]}))


def test_parquet_is_read_and_names_a_file_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "predictions.parquet"
    TWO_CLASSES.to_parquet(path)
    assert Predictions.from_parquet(path).classes == ("a", "b")
    path.write_text("no Parquet", encoding="utf-8")
    with pytest.raises(InvalidFileError) as refusal:
        Predictions.from_parquet(path)
    assert refusal.value.path == path


@pytest.mark.parametrize("rows", [np.array([False, True]), np.array([1])], ids=["mask", "numbers"])
def test_rows_are_selected_by_mask_or_number(rows: np.ndarray) -> None:
    found = Predictions.from_frame(TWO_CLASSES).select_rows(rows)
    assert found.values.tolist() == ["a"]
    assert np.asarray(found.probabilities).tolist() == [[0.9, 0.1]]


def test_alignment_orders_classes_and_fills_unknown_ones() -> None:
    found = Predictions.from_frame(TWO_CLASSES).align_to(["b", "z", "a"])
    assert np.asarray(found.probabilities).tolist() == [[0.8, 0.0, 0.2], [0.1, 0.0, 0.9]]
    assert np.isnan(Predictions.from_frame(TWO_CLASSES).align_to(["z"], missing=np.nan).probabilities).all()


def test_encode_gives_codes_and_a_column_for_each_class() -> None:
    codes, scores = Predictions.from_frame(TWO_CLASSES).encode(pd.Series(["b", "c"]))
    assert codes.tolist() == [1, 2]
    assert scores.tolist() == [[0.2, 0.8, 0.0], [0.9, 0.1, 0.0]]


def test_encode_gives_numbers_for_a_regression() -> None:
    truth, scores = Predictions.from_frame(NUMBERS).encode(pd.Series([1, 2]))
    assert (truth.tolist(), scores.tolist()) == ([1.0, 2.0], [1.5, 2.5])


def test_two_models_are_encoded_with_the_same_classes() -> None:
    other = Predictions.from_frame(pd.DataFrame({"prediction": ["c", "b"], "p_c": [0.7, 0.0], "p_b": [0.3, 1.0]}))
    codes, (first, second) = encode_aligned(pd.Series(["a", "d"]), Predictions.from_frame(TWO_CLASSES), other)
    assert codes.tolist() == [0, 3]
    assert first.tolist() == [[0.2, 0.8, 0.0, 0.0], [0.9, 0.1, 0.0, 0.0]]
    assert second.tolist() == [[0.0, 0.3, 0.7, 0.0], [0.0, 1.0, 0.0, 0.0]]


def test_no_model_chooses_the_order_of_the_classes() -> None:
    reversed_columns = Predictions.from_frame(TWO_CLASSES[["prediction", "p_b", "p_a"]])
    codes, (scores,) = encode_aligned(pd.Series(["b", "a"]), reversed_columns)
    assert codes.tolist() == [1, 0] and scores.tolist() == [[0.2, 0.8], [0.9, 0.1]]


def test_classes_that_are_numbers_are_in_the_order_of_numbers() -> None:
    model = Predictions.from_frame(pd.DataFrame({"prediction": [10, 9], "p_10": [0.7, 0.1], "p_9": [0.3, 0.9]}))
    codes, (scores,) = encode_aligned(pd.Series([10, 9]), model)
    assert codes.tolist() == [1, 0] and scores[:, 1].tolist() == [0.7, 0.1]


def test_a_class_that_is_not_listed_has_no_code() -> None:
    assert encode_classes(pd.Series(["b", "z"]), ["a", "b"]).tolist() == [1, -1]


@pytest.mark.parametrize(
    ("frame", "scores"), [(TWO_CLASSES, [0.8, 0.1]), (THREE_CLASSES, [0.6, 2.8]), (NUMBERS, [1.5, 2.5])]
)
def test_score_is_one_number_a_row(frame: pd.DataFrame, scores: list[float]) -> None:
    assert Predictions.from_frame(frame).compute_scores().tolist() == scores


@pytest.mark.parametrize(("frame", "scores"), [(THREE_CLASSES, [0.1, 0.8]), (NUMBERS, [1.5, 2.5])])
def test_last_score_is_that_of_the_last_class(frame: pd.DataFrame, scores: list[float]) -> None:
    assert Predictions.from_frame(frame).get_last_scores().tolist() == scores


def test_log_columns_do_not_collide_with_the_logs_own() -> None:
    names = ["time", "time_", "p_x", "price"]
    assert [to_log_column(name) for name in names] == ["time_", "time__", "p_x_", "price"]


def test_class_names_do_not_depend_on_how_a_file_spells_them() -> None:
    assert normalize_class_names(pd.Series([1, 1.0, True, "1.0", "a"], dtype=object)).tolist() == ["1"] * 4 + ["a"]


def test_import_needs_no_pandas() -> None:
    load = "import modelyard.core.predictions; sys.exit('pandas' in sys.modules)"
    code = f"import sys; sys.path[:0] = {sys.path!r}; {load}"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("changed", "is_equal"), [(0.0, True), (1e-9, False)])
def test_equal_answers_are_equal_in_every_row(changed: float, is_equal: bool) -> None:
    scores = np.array([[0.2, 0.8], [0.6, 0.4]])
    names = np.array(["0", "1"])
    other = scores + np.array([[0, 0], [changed, -changed]])
    first, second = (Predictions.from_probabilities(values, names) for values in (scores, other))
    assert first.has_equal_answers(second) is is_equal
    assert Predictions(scores[:, 0]).has_equal_answers(Predictions(other[:, 0])) is is_equal

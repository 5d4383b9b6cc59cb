import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modelyard.core.errors import UserError
from modelyard.core.files import read_json
from modelyard.core.params import load_params
from modelyard.core.yaml import parse_yaml
from modelyard.data import importing, profiling, schema, text_files
from modelyard.pipeline import evaluate, split, train, validate
from modelyard.workspace import adopt

pytestmark = pytest.mark.usefixtures("project")
ROWS = 120


def table(rows: int = ROWS) -> pd.DataFrame:
    """A table with something of everything; `y` follows `size` and `kind`."""
    random = np.random.default_rng(0)
    size, kind = random.normal(50, 10, rows).round(2), random.choice(["alpha", "beta", "gamma"], rows)
    noise = random.normal(0, 5, rows)
    return pd.DataFrame(
        {
            "who": [f"P{i // 3:04d}" for i in range(rows)],
            "at": pd.date_range("2024-01-01", periods=rows, freq="D").astype("datetime64[us]"),
            "size": size,
            "kind": kind,
            "count": random.integers(0, 90, rows),
            "y": np.where(size + 10 * (kind == "beta") + noise > 53, "yes", "no"),
        }
    )


def text(frame: pd.DataFrame | None = None, **options: object) -> str:
    return str((table() if frame is None else frame).to_csv(index=False, **options))  # type: ignore[call-overload]


def given(content: str | bytes, name: str = "mine.csv") -> Path:
    path = Path("..") / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def state() -> dict[str, bytes]:
    """Every file of the project with its bytes."""
    return {str(p): p.read_bytes() for p in sorted(Path().rglob("*")) if p.is_file()}


def adopted(content: str | bytes, name: str = "mine.csv", target: str = "y", **options: object) -> pd.DataFrame:
    adopt.main(str(given(content, name)), target, **options)  # type: ignore[arg-type]
    return pd.read_parquet(load_params().data.path)


def ragged(frame: pd.DataFrame) -> str:
    lines = text(frame).splitlines()
    return "\n".join([*lines[:5], lines[5] + ",more", *lines[6:]])


def wide(rows: int) -> str:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(rows, 200)), columns=[f"c{i}" for i in range(200)])
    return text(frame.assign(y=(frame["c0"] + frame["c1"] > 0).astype(int)))


def changed(**columns: object) -> str:
    return text(table().assign(**columns))


def holed(name: str, rows: int) -> str:
    frame = table().astype({name: object})
    frame.loc[: rows - 1, name] = None
    return text(frame)


ALL = ["x"] * ROWS
BAD: list[tuple[str, Callable[[], str | bytes], dict[str, object], str]] = [
    ("empty file", lambda: "", {}, "is empty"),
    ("blank lines", lambda: "\n\n \n", {}, "is blank"),
    ("header only", lambda: "a,b,y\n", {}, "no rows"),
    ("one column", lambda: text(table()[["y"]]), {}, "one column"),
    ("no such target", text, {"target": "yes"}, "no column yes; it has y, "),
    ("no such time", text, {"time": "date"}, "no column date"),
    ("no such group", text, {"group": "whom"}, "it has who, "),
    ("no such sensitive", text, {"sensitive": "kind,sex"}, "no column sex"),
    ("target in two roles", text, {"group": "y"}, "is the target"),
    ("target without values", lambda: holed("y", ROWS), {}, "no value of y in any"),
    ("target without values, drop", lambda: holed("y", ROWS), {"drop": True}, "no value of y in any"),
    ("target with gaps", lambda: holed("y", 7), {}, "of 120 rows 7 have no y; add DROP=1"),
    ("time with gaps", lambda: holed("at", 3), {"time": "at"}, "of 120 rows 3 have no at; add DROP=1"),
    ("one class", lambda: changed(y="no"), {}, "every row says y = no"),
    ("a class a row", lambda: changed(y=[f"c{i}" for i in range(ROWS)]), {}, "too many for classes"),
    ("1,200 classes", lambda: text(table(4000).assign(y=[f"c{i % 1200}" for i in range(4000)])), {}, "1,000 values"),
    ("target of times", text, {"target": "at"}, "holds no numbers"),
    ("regression on text", text, {"task": "regression"}, "holds no numbers"),
    ("unknown task", text, {"task": "ranking"}, "is no task"),
    ("columns of one name", lambda: text().replace("count", "size", 1), {}, "2 columns called size"),
    ("ragged rows", lambda: ragged(table()), {}, r"row 6 has 7 instead of 6 .*more.*SEP="),
    ("binary file", lambda: bytes(range(256)) * 50, {}, "binary file"),
    ("a web page", lambda: "<html><body>Not found</body></html>\n", {}, "not a table"),
    ("JSON", lambda: '[{"a": 1, "y": 2}]\n', {}, "not a table"),
    (
        "wrong encoding",
        lambda: text().replace("alpha", "ä").encode("latin-1"),
        {"encoding": "utf-8"},
        "ENCODING=latin-1",
    ),
    ("unknown encoding", text, {"encoding": "klingon"}, "ENCODING klingon does not exist"),
    ("bytes of no encoding", lambda: text().encode() + b"\x81\x8d\x8f", {}, "not written in utf-8 or cp1252"),
    ("unreadable time", lambda: changed(at="last week"), {"time": "at"}, "values that are not times"),
    (
        "one unreadable time",
        lambda: text().replace("2024-02-03", "2024-02-31"),
        {"time": "at"},
        "values that are not times",
    ),
    ("numbers for a time", text, {"time": "count"}, "values that are not times"),
    ("200 columns, 5 rows", lambda: wide(5), {}, "there are 5 rows"),
    ("5 rows", lambda: text(table(5)), {}, "there are 5 rows"),
    (
        "infinite values",
        lambda: changed(size=[np.inf, -np.inf, *range(ROWS - 2)]),
        {},
        "size in .* has infinite values",
    ),
    (
        "mixed types",
        lambda: changed(size=["n.a.", *range(ROWS - 1)]),
        {},
        r"size \('n.a.'\); say TEXT=size .*MISSING=n.a. ",
    ),
    (
        "gaps and mixed types",
        lambda: text(
            table().assign(size=["n.a.", *range(ROWS - 1)], count=[*range(ROWS - 1), "?!"], y=[None, *"ab" * 59, "a"])
        ),
        {},
        r"1 have no y; add DROP=1 .*'n.a.'.*'\?!'.*TEXT=size,count .*MISSING='n.a.,\?!' ",
    ),
    ("one group", lambda: changed(who="all"), {"group": "who"}, "one side without rows"),
    (
        "one class by time",
        lambda: text(table().sort_values("y", ignore_index=True).assign(at=table()["at"])),
        {"time": "at"},
        "only y = ",
    ),
    ("nothing to learn from", lambda: text(pd.DataFrame({"a": 1, "y": [0, 1] * 60})), {}, "no column is left"),
    ("broken Parquet", lambda: b"PAR1 and nothing more", {}, "not a readable Parquet"),
    ("an open quote", lambda: text().replace("alpha", '"alpha', 1), {}, "cannot be cut"),
]


@pytest.mark.parametrize(("content", "options", "words"), [pytest.param(*case[1:], id=case[0]) for case in BAD])
def test_bad_input_is_one_sentence_and_changes_nothing(
    content: Callable[[], str | bytes], options: dict[str, object], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path, before = given(content()), state()
    with pytest.raises(UserError, match=words) as refusal:
        adopt.main(str(path), **{"target": "y", **options})  # type: ignore[arg-type]
    assert "\n" not in str(refusal.value)
    assert refusal.value.code in (1, 2)
    assert state() == before
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("csv", "words"), [("none.csv", "none.csv is missing"), ("..", "is a folder"), ("", "CSV=path TARGET=column")]
)
def test_a_path_that_is_no_file_is_refused(csv: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        adopt.main(csv, "y")


def test_half_an_archive_is_refused() -> None:
    path = given(gzip.compress(text().encode())[:200], "mine.csv.gz")
    with pytest.raises(UserError, match=r"is not a table .*fetch it again"):
        adopt.main(str(path), "y")


def test_a_table_becomes_the_projects_data() -> None:
    found = adopted(text(), name="My Table (1).csv")
    data = load_params().data
    assert (data.path, data.task, data.target) == ("data/raw/my-table-1.parquet", "classification", "y")
    assert data.features == ["who", "at", "size", "kind", "count"]
    assert found.dtypes.astype(str).to_dict() == {
        "who": "str",
        "at": "datetime64[us]",
        "size": "float64",
        "kind": "str",
        "count": "int64",
        "y": "str",
    }


def test_the_pipeline_runs_on_it() -> None:
    adopted(text(), time="at")
    for stage in (validate, split, train, evaluate):
        stage.main()
    assert read_json(Path("reports/metrics.json"))["roc_auc"] > 0.7


def test_what_came_from_the_former_data_is_gone() -> None:
    old = Path(load_params().data.path)
    Path("dvc.lock").write_text("stages: {}\n", encoding="utf-8")
    before = Path("deploy/production.yaml").read_text(encoding="utf-8")
    adopted(text())
    assert [
        p for p in (old, Path("dvc.lock"), Path("models"), Path("reports"), Path("data/train.parquet")) if p.exists()
    ] == []
    assert Path("deploy/production.yaml").read_text(encoding="utf-8") == before


def test_other_blocks_and_their_comments_stay() -> None:
    before = Path("params.yaml").read_text(encoding="utf-8")
    adopted(text())
    after = Path("params.yaml").read_text(encoding="utf-8")
    rest = before[before.index("\nsplit:") : before.index("\ntrain:")]
    assert rest in after
    assert list(parse_yaml(before)) == list(parse_yaml(after))


def test_adopt_again_gives_the_same_files() -> None:
    adopted(text())
    once = state()
    adopted(text())
    assert state() == once


@pytest.mark.parametrize(
    ("content", "name"),
    [
        pytest.param(lambda: gzip.compress(text().encode()), "t.csv.gz", id="gzip"),
        pytest.param(lambda: text(sep=";").encode(), "t.csv", id="semicolons"),
        pytest.param(lambda: text(sep="\t").encode(), "t.tsv", id="tabs"),
        pytest.param(lambda: text(sep="|").encode(), "t.txt", id="bars"),
        pytest.param(lambda: text(sep=";", decimal=",").encode(), "t.csv", id="decimal commas"),
        pytest.param(lambda: text().encode("utf-16"), "t.csv", id="utf-16"),
        pytest.param(lambda: text().encode("utf-8-sig"), "t.csv", id="byte order mark"),
        pytest.param(lambda: text(lineterminator="\r\n").encode(), "t.csv", id="Windows lines"),
        pytest.param(lambda: text(quoting=1).encode(), "t.csv", id="quotes"),
        pytest.param(lambda: text().replace(",", ", ").encode(), "t.csv", id="spaces"),
        pytest.param(lambda: text(date_format="%d.%m.%Y").encode(), "t.csv", id="dates with points"),
        pytest.param(lambda: text(date_format="%m/%d/%Y").encode(), "t.csv", id="dates with slashes"),
        pytest.param(lambda: text(date_format="%Y-%m-%dT%H:%M:%SZ").encode(), "t.csv", id="times with a zone"),
        pytest.param(
            lambda: text(date_format="%Y-%m-%d %H:%M:%S.123456789").replace(".123456789", ".000000000").encode(),
            "t.csv",
            id="nanoseconds",
        ),
    ],
)
def test_every_way_to_write_a_table_gives_the_same_one(content: Callable[[], bytes], name: str) -> None:
    pd.testing.assert_frame_equal(
        adopted(content(), name), pd.read_csv(given(text()), parse_dates=["at"]), check_dtype=False
    )


def test_parquet_of_any_types_becomes_plain() -> None:
    frame = table().astype({"kind": "category", "count": "int16", "size": "float32"})
    frame["y"] = frame["y"] == "yes"
    arrow = pa.Table.from_pandas(frame).append_column("nested", pa.array([[1]] * ROWS))
    arrow = arrow.set_column(1, "at", arrow["at"].cast(pa.timestamp("ns", "Europe/Berlin")))
    pq.write_table(arrow, "../t.parquet")
    adopt.main("../t.parquet", "y", time="at")
    found = pd.read_parquet(load_params().data.path)
    types = ["str", "datetime64[us]", "float64", "str", "int64", "int64"]
    assert found.dtypes.astype(str).tolist() == types


def test_a_zip_of_one_file_is_read() -> None:
    with zipfile.ZipFile("../t.zip", "w") as archive:
        archive.writestr("inside.csv", text())
    adopt.main("../t.zip", "y")
    assert load_params().data.path == "data/raw/t.parquet"


def test_letters_of_windows_are_read_and_noted(capsys: pytest.CaptureFixture[str]) -> None:
    found = adopted(text(table().replace({"kind": {"alpha": "ä"}})).encode("cp1252"))
    assert "ä" in set(found["kind"])
    assert "cp1252" in capsys.readouterr().out


@pytest.mark.parametrize(("sep", "mark", "point"), [(",", ",", "."), (";", ".", ",")])
def test_marks_at_the_thousands_are_no_text(sep: str, mark: str, point: str) -> None:
    written = [f"{i},{i + 100}.5".replace(",", "m").replace(".", point).replace("m", mark) for i in range(1, ROWS + 1)]
    whole = [f"{i}{mark}{i + 100}" for i in range(1, ROWS + 1)]
    found = adopted(text(table().assign(size=written, count=whole), sep=sep))
    assert found["size"].tolist() == [1000 * i + i + 100.5 for i in range(1, ROWS + 1)]
    assert found["count"].tolist() == [1000 * i + i + 100 for i in range(1, ROWS + 1)]


def test_a_type_is_told_by_all_rows() -> None:
    late = table(3000)
    late["size"] = [*range(2999), 0.5]
    late["code"] = [f"{i % 7 + 10}" for i in range(2999)] + ["010"]
    found = adopted(text(late))
    assert (str(found["size"].dtype), str(found["code"].dtype)) == ("float64", "str")


def test_gaps_make_whole_numbers_floats_and_the_schema_knows() -> None:
    found = adopted(holed("count", 5))
    assert str(found["count"].dtype) == "float64"
    assert schema.load_schema().columns["count"].nullable
    assert not schema.load_schema().columns["size"].nullable


def test_drop_leaves_out_rows_without_a_target(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(adopted(holed("y", 7), drop=True)) == ROWS - 7
    assert "of 120 rows 7 have no y: left out" in capsys.readouterr().out


def test_a_word_for_missing_may_be_named() -> None:
    found = adopted(changed(size=["n.a.", *range(ROWS - 1)]), missing="n.a., none of it")
    assert found["size"].isna().sum() == 1


def test_columns_that_must_stay_out_are_named_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    frame = table().assign(
        row=range(ROWS),
        uuid=[f"{i * 7919:x}" for i in range(ROWS)],
        same=1,
        empty=None,
        again=lambda t: t["y"].map({"yes": 1.5, "no": 0.5}),
        hint=lambda t: ((t["y"] == "yes") ^ (np.arange(ROWS) % 30 == 7)).astype(int),
        remarks=[f"a long remark about row {i} in words" for i in range(ROWS)],
    )
    adopted(text(frame), group="who", sensitive="kind")
    assert load_params().data.left_out == {
        "who": "group",
        "kind": "sensitive: watched, not learned from",
        "row": "row number",
        "uuid": "identifier",
        "same": "constant",
        "empty": "empty",
        "again": "gives y away",
        "remarks": "free text",
    }
    said = capsys.readouterr().out
    assert "gives y away" in said
    assert "hint alone tells 9" in said


@pytest.mark.parametrize("ids", [[f"{i * 7919:x}" for i in range(ROWS)], [*range(ROWS)]])
def test_a_single_identifier_becomes_the_key(ids: list[object]) -> None:
    adopted(text(table().assign(customerId=ids)))
    found_schema = schema.load_schema()
    assert found_schema.unique == ["customerId"]
    assert found_schema.columns["customerId"].checks == []  # the next row has another


def test_text_that_happens_to_differ_is_no_key() -> None:
    adopted(changed(price=[f"${i}.50" for i in range(ROWS)]), text="price")
    assert load_params().data.left_out == {"price": "identifier"}
    assert schema.load_schema().unique is None


@pytest.mark.parametrize(
    ("target", "task", "metric"),
    [
        (["a", "b"], "classification", "roc_auc"),
        (["a", "b", "c"], "classification", "log_loss"),
        ([0, 1], "classification", "roc_auc"),
        ([True, False], "classification", "roc_auc"),
        ([0.5, 1.5, 2.25], "regression", "rmse"),
        (list(range(60)), "regression", "rmse"),
    ],
)
def test_task_and_metric_follow_from_the_target(target: list[object], task: str, metric: str) -> None:
    adopted(text(table().assign(y=target * (ROWS // len(target)))))
    params = load_params()
    assert (params.data.task, params.evaluate.metric) == (task, metric)
    assert list(params.gate.floors) == [metric]


def test_a_column_is_found_in_any_case_where_one_is_meant() -> None:
    adopted(text(table().rename(columns={"y": "Sold"})), target="SOLD", time="AT")
    data = load_params().data
    assert (data.target, data.time) == ("Sold", "at")


def test_the_task_may_be_overruled() -> None:
    adopted(text(table().assign(y=[3, 4, 5, 6] * 30)), task="regression")
    assert load_params().train.estimator == "sklearn.linear_model.Ridge"


def test_two_hundred_columns_are_no_trouble() -> None:
    adopted(wide(150))
    assert len(load_params().data.features) == 200


@pytest.mark.parametrize("name", ["yes", "null", "1", "a: b", "#", "ä ö", 'with "quotes"', "- x", "{a}"])
def test_any_column_name_is_written_so_that_it_is_read_again(name: str) -> None:
    adopted(text(table().rename(columns={"size": name})))
    assert name in load_params().data.features
    assert name in schema.load_schema().columns


def test_memory_does_not_grow_with_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "BLOCK_BYTES", 1 << 16)
    monkeypatch.setattr(profiling, "BATCH_ROWS", 1 << 10)
    usual, peaks = pa.default_memory_pool(), []
    for rows in (5_000, 50_000):
        path, pool = given(text(table(rows))), pa.proxy_memory_pool(usual)
        pa.set_memory_pool(pool)
        try:
            source = importing.open_text(path, importing.ImportOptions())
            importing.convert_to_parquet(source, Path("out.parquet"), ["y"], drop=False)
            assert profiling.profile_columns(Path("out.parquet"))["y"].rows == rows
        finally:
            pa.set_memory_pool(usual)
        peaks.append(pool.max_memory())
    assert peaks[1] < 1.5 * peaks[0]


def test_a_large_file_goes_under_dvc(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    added: list[Path] = []
    monkeypatch.setattr(adopt, "DVC_THRESHOLD_BYTES", 1000)
    monkeypatch.setattr(adopt, "add_to_dvc", added.append)
    adopted(text())
    assert added == [Path(load_params().data.path)]
    assert "`make remote`" in capsys.readouterr().out


def test_what_fails_at_the_very_end_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("data/raw/.gitignore").write_text("/other.csv\n", encoding="utf-8")
    before = state()

    def refuse(path: Path) -> None:
        path.with_name(f"{path.name}.dvc").write_text("half", encoding="utf-8")
        raise UserError("DVC did not take it")

    monkeypatch.setattr(adopt, "DVC_THRESHOLD_BYTES", 1000)
    monkeypatch.setattr(adopt, "add_to_dvc", refuse)
    with pytest.raises(UserError, match="did not take it"):
        adopted(text())
    assert state() == before


def test_a_file_that_dvc_kept_is_forgotten() -> None:
    old = Path(load_params().data.path)
    old.with_name(f"{old.name}.dvc").write_text("outs: []\n", encoding="utf-8")
    Path("data/raw/.gitignore").write_text(f"/{old.name}\n", encoding="utf-8")
    adopted(text(), name=f"{old.stem}.csv")
    assert sorted(p.name for p in Path("data/raw").iterdir()) == ["README.md", old.name]


def test_the_projects_own_table_can_be_adopted_again() -> None:
    data = load_params().data
    adopt.main(data.path, data.target)
    assert load_params().data.path == data.path


BODY = "".join(f"{i % 7}.5,{'ab'[i % 2]},{i % 2}\n" for i in range(60))
LAYOUTS = {
    "sep= line": "sep=;\r\nx;z;y\r\n" + BODY.replace(",", ";"),
    "preamble": '"Data Source","Indicators"\n\n"Updated","2026-07-01"\n\nx,z,y\n' + BODY,
    "banner": "Generated by a tool (you can hide this message)\nx,z,y\n" + BODY,
    "units": "x,z,y\nkg,,1/0\n" + BODY,
    "comments": "# exported\nx,z,y\n# and more\n" + BODY,
    "footer": f"x,z,y\n{BODY}\nTotal rows: 60\n",
    "trailing separator": "x,z,y\n" + BODY.replace("\n", ",\n"),
    "row names": "x,z,y\n" + "".join(f"r{i},{line}\n" for i, line in enumerate(BODY.splitlines())),
    "CR": "x,z,y\r" + BODY.replace("\n", "\r"),
    "spaces": "x z  y\n" + BODY.replace(",", "   "),
    "quotes with names": '"x;1";z;y\n'.replace("x;1", "x") + BODY.replace(",", ";"),
    "JSON lines": "".join(f'{{"x": {i % 7}.5, "z": "{"ab"[i % 2]}", "y": {i % 2}}}\n' for i in range(60)),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_is_found_and_only_rows_are_kept(name: str) -> None:
    found = adopted(LAYOUTS[name].encode())
    assert found["x"].tolist() == [i % 7 + 0.5 for i in range(60)]
    assert found["z"].tolist() == ["ab"[i % 2] for i in range(60)]
    assert found["y"].tolist() == [i % 2 for i in range(60)]


def test_backslashes_before_quotes_are_no_text() -> None:
    lines = "".join(f'{i % 7}.5,"said \\"ok, {"ab"[i % 2]}\\"",{i % 2}\n' for i in range(60))
    assert set(adopted("x,z,y\n" + lines)["z"]) == {'said "ok, a"', 'said "ok, b"'}


def test_a_row_that_was_cut_off_is_no_footer() -> None:
    with pytest.raises(UserError, match=r"row 62 has 1 instead of 3 \(3.\)"):
        adopted(f"x,z,y\n{BODY}3.")


def test_a_file_without_names_says_so() -> None:
    with pytest.raises(UserError, match="HEADER=0"):
        adopted(BODY.replace("a", "7").replace("b", "8"))
    assert list(adopted(BODY, target="column_3", header=False)) == ["column_1", "column_2", "column_3"]


def test_lines_before_and_after_may_be_named() -> None:
    found = adopted(f"a,b,c\nd,e,f\nx,z,y\n{BODY}1,2,3\n", skip="2", footer="1")
    assert (len(found), list(found)) == (60, ["x", "z", "y"])


@pytest.mark.parametrize(
    ("option", "words"), [("skip", "SKIP is 'two'"), ("sep", "SEP is 'two'"), ("numbers", "NUMBERS")]
)
def test_an_option_that_makes_no_sense_is_refused(option: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        adopted(text(), **{option: "two"})


def test_a_class_may_be_called_none() -> None:
    content = changed(y=["None", "None", "Insomnia"] * (ROWS // 3))
    with pytest.raises(UserError, match=r"of 120 rows 80 have no y \(80 × None\); add KEEP=None .*DROP=1"):
        adopted(content)
    assert adopted(content, keep="None")["y"].value_counts().to_dict() == {"None": 80, "Insomnia": 40}


def test_the_words_taken_for_missing_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    adopted(changed(kind=["?", "a", "b", "-"] * (ROWS // 4)))
    assert "missing    kind                30 × ?, 30 × -; KEEP=" in capsys.readouterr().out


MARKED = {
    "price": ("${:,.2f}", 1234.5),
    "share": ("{:.0f}%", 88),
    "way": ("{:.1f} kmpl", 26.5),
    "french": ("{:,.2f}", 1234.5),
    "account": ("({:,.2f})", -1234.5),
}


@pytest.mark.parametrize("name", MARKED)
def test_numbers_with_signs_or_units_are_proposed_and_read(name: str) -> None:
    form, value = MARKED[name]
    written = [form.format(abs(value) + i) for i in range(ROWS)]
    if name == "french":
        written = [word.replace(",", "\u202f").replace(".", ",") for word in written]
    content = text(table().assign(size=written), sep=";")
    with pytest.raises(UserError, match=r"in size \('.*' as .*\); add NUMBERS=auto .*TEXT=size as text"):
        adopted(content)
    assert adopted(content, numbers="auto")["size"].iloc[0] == value
    assert adopted(content, text="size")["size"].dtype == "str"


def test_codes_among_numbers_are_one_question() -> None:
    codes = [*(str(i) for i in range(100, 97 + ROWS)), "V57", "V58", "4,1 (x)"]
    with pytest.raises(UserError, match=r"size \('V57', 'V58', '4,1 \(x\)'\); say TEXT=size .*MISSING='V57,V58,\"4,1"):
        adopted(changed(size=codes))
    assert adopted(changed(size=codes), text="size")["size"].tolist() == codes
    assert adopted(changed(size=codes), missing='V57,V58,"4,1 (x)"')["size"].isna().sum() == 3


@pytest.mark.parametrize(
    ("layout", "time"),
    [("%m/%d/%Y %I:%M %p", False), ("%d-%b-%y", False), ("%G-W%V-%u", True), ("%s", True), ("%Y-%b", True)],
)
def test_times_are_understood(layout: str, time: bool, capsys: pytest.CaptureFixture[str]) -> None:
    days = pd.date_range("2024-01-13", periods=ROWS, freq="D")
    written = days.strftime(layout) if layout != "%s" else (days.astype("int64") // 10**6).astype(str)
    content = changed(at=[day.removesuffix("-7") for day in written])
    if layout == "%G-W%V-%u":
        content = changed(at=[day[:8] for day in written])
    found = adopted(content, time="at" if time else "")
    assert str(found["at"].dtype) == "datetime64[us]"
    assert found["at"].dt.year.eq(2024).all()
    assert "times" in capsys.readouterr().out


def test_offsets_are_turned_to_utc_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    found = adopted(changed(at=["2024-06-01T12:00:00+02:00", "2024-06-01T12:00:00-01:00"] * (ROWS // 2)))
    assert found["at"].dt.hour.tolist()[:2] == [10, 13]
    assert "turned to UTC" in capsys.readouterr().out


def test_parquet_of_other_programs_is_taken() -> None:
    frame = table()
    arrow = pa.table(
        {
            "big": pa.array([2**63 + i for i in range(ROWS)], pa.uint64()),
            "bytes": pa.array([kind.encode() for kind in frame["kind"]], pa.binary()),
            "money": pa.array(frame["size"].round(2)).cast(pa.decimal128(20, 2), safe=False),
            "zoned": pa.array(frame["at"]).cast(pa.timestamp("us")).cast(pa.timestamp("us", "Europe/Berlin")),
            "y": pa.array([answer.encode() for answer in frame["y"]], pa.large_binary()),
        }
    )
    pq.write_table(arrow, "../mine.parquet")
    adopt.main("../mine.parquet", "y")
    found = pd.read_parquet(load_params().data.path)
    types = {"big": "str", "bytes": "str", "money": "float64", "zoned": "datetime64[us]", "y": "str"}
    assert found.dtypes.astype(str).to_dict() == types
    assert set(found["y"]) == {"yes", "no"}

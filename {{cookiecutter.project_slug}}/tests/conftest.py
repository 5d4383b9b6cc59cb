"""Rows that keep schema.yaml and a small project around them, so that the tests hold for any table.

The rows are made from the schema alone: the data itself need not be here. Their target follows a feature.
"""

import contextlib
import re
import shutil
import string
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from {{cookiecutter.__package}}.config import Params, load_params

ROOT = Path(__file__).parents[1]
ROWS = 240
FILES = ("params.yaml", "schema.yaml", "dvc.yaml", "deploy", "requirements/dev.txt", "requirements/serve.txt")
TOKEN = re.compile(r"(\[[^]]+\]|\\.|.)(?:\{(\d+)(?:,\d*)?\}|[+*?])?")


def checks(rules: dict[str, Any]) -> dict[str, Any]:
    """The checks of a column by name, in both forms that pandera writes."""
    listed = rules.get("checks") or {}
    if isinstance(listed, list):
        listed = {item["options"]["check_name"]: item for item in listed}
    found = {**rules, **listed}
    return {name: value.get("value", value) if isinstance(value, dict) else value for name, value in found.items()}


def texts(found: dict[str, Any], count: int, random: np.random.Generator) -> list[str]:
    """Text that keeps a pattern or a length."""
    pattern = str(found.get("str_matches", "")).strip("^$")
    length = found.get("str_length", {"max_value": 8})
    size = length if isinstance(length, int) else min(8, length.get("max_value") or 8)
    letters = [(list(string.ascii_lowercase), size)]
    if pattern:
        tokens = TOKEN.findall(pattern)
        letters = [([c for c in string.printable if re.fullmatch(t, c)], int(n or 1)) for t, n in tokens]
    parts = [[random.choice(some, count) for _ in range(size)] for some, size in letters]
    return ["".join(row) for row in zip(*(column for part in parts for column in part), strict=True)]


def bounds(found: dict[str, Any]) -> tuple[float, float]:
    """The range of a column of numbers, however its bounds are written."""
    inside = found.get("in_range", {})
    low = inside.get("min_value", found.get("greater_than_or_equal_to", found.get("greater_than")))
    high = inside.get("max_value", found.get("less_than_or_equal_to", found.get("less_than")))
    low = low if low is not None else (0.0 if high is None else high - 1000)
    return float(low), float(high if high is not None else low + 1000)


def values(rules: dict[str, Any], order: np.ndarray, random: np.random.Generator) -> pd.Series:
    """Values that keep a column's rules; those of numbers rise with `order`, those of times with the row."""
    found, dtype, count = checks(rules), str(rules["dtype"]), len(order)
    if dtype.startswith("datetime"):
        return pd.Series(pd.date_range("2024-01-01", periods=count, freq="h")).astype(dtype)
    if "isin" in found:
        return pd.Series(random.choice(np.array(found["isin"], dtype=object), count)).astype(dtype)
    if "int" in dtype or "float" in dtype:
        low, high = bounds(found)
        drawn = low + (high - low) * (0.05 + 0.9 * (0.8 * order + 0.2 * random.random(count)))
        return pd.Series(np.floor(drawn) if "int" in dtype else drawn).clip(low, high).astype(dtype)
    return pd.Series(texts(found, count, random)).astype(dtype)


def make_rows(schema: dict[str, Any], params: Params, count: int = ROWS, seed: int = 0) -> pd.DataFrame:
    """So many rows that keep the schema, with gaps where it allows them."""
    random = np.random.default_rng(seed)
    order = random.permutation(count) / count
    data, columns = params.data, dict(schema["columns"])
    table = pd.DataFrame({name: values(rules, order, random) for name, rules in columns.items()})
    for name in (name for name in table if columns[name].get("nullable") and name != data.target):
        table.loc[random.random(count) < 0.05, name] = np.nan
    target = checks(columns[data.target])
    if data.task == "classification":
        classes = target.get("isin", [0, 1])
        noisy = np.where(random.random(count) < 0.1, random.random(count), order)
        table[data.target] = pd.Series([classes[int(x * len(classes))] for x in noisy]).astype(table[data.target].dtype)
    if data.group and data.group != data.target:
        table[data.group] = table[data.group].to_numpy()[np.arange(count) // 4 * 4]
    return table.drop_duplicates(schema["unique"], ignore_index=True) if schema.get("unique") else table


class Key:
    """A key of a test's own: it signs bytes, and has the command for params.yaml that finds models signed by it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.openssl("ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", "key.pem")
        self.openssl("ec", "-in", "key.pem", "-pubout", "-out", "key.pub")
        files = ["-verify", str(folder / "key.pub"), "-signature", str(folder / "{digest}.sig")]
        self.command = ["openssl", "dgst", "-sha256", *files, "{model}"]

    def openssl(self, *words: str) -> None:
        subprocess.run(["openssl", *words], cwd=self.folder, check=True, capture_output=True)

    def sign(self, content: bytes, name: str) -> None:
        """Leave the signature of some bytes under a name."""
        (self.folder / "content").write_bytes(content)
        self.openssl("dgst", "-sha256", "-sign", "key.pem", "-out", f"{name}.sig", "content")

    def forge(self, how: str, content: bytes, name: str, other: "Key") -> None:
        """Leave under a name what is no signature of these bytes by this key."""
        signer, signed = (other, content) if how == "by another key" else (self, b"another model")
        if how != "missing":
            signer.sign(signed, name)
            shutil.copy(signer.folder / f"{name}.sig", self.folder / f"{name}.sig.copy")
            (self.folder / f"{name}.sig.copy").replace(self.folder / f"{name}.sig")


FORGED = ("by another key", "of another file", "missing")


@pytest.fixture
def key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return Key(tmp_path_factory.mktemp("key"))


@pytest.fixture
def other_key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return Key(tmp_path_factory.mktemp("other"))


@pytest.fixture(scope="session")
def params() -> Params:
    """The project's own parameters."""
    return load_params(ROOT / "params.yaml")


@pytest.fixture(scope="session")
def drawn(params: Params) -> pd.DataFrame:
    """Rows made from the schema, drawn once."""
    schema = yaml.safe_load((ROOT / "schema.yaml").read_text(encoding="utf-8"))
    classes = checks(schema["columns"][params.data.target]).get("isin", [])
    return make_rows(schema, params, max(ROWS, 12 * len(classes)))


@pytest.fixture
def frame(drawn: pd.DataFrame) -> pd.DataFrame:
    """Rows made from the schema, for one test, which may change them."""
    return drawn.copy()


@pytest.fixture(scope="session")
def piped(drawn: pd.DataFrame, params: Params, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of this schema whose pipeline ran once, for the session."""
    from {{cookiecutter.__package}} import evaluate, split, train, validate

    folder = tmp_path_factory.mktemp("piped")
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        copy(ROOT / name, folder / name)
    (folder / params.data.path).parent.mkdir(parents=True, exist_ok=True)
    drawn.to_parquet(folder / params.data.path, index=False)
    with contextlib.chdir(folder):
        for stage in (validate, split, train, evaluate):
            stage.main()
    return folder


@pytest.fixture
def project(piped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of that project, for one test, as the current folder."""
    folder = tmp_path / "project"
    shutil.copytree(piped, folder)
    monkeypatch.chdir(folder)
    yield folder

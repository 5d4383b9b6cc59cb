"""Files and words that want to do harm: each is refused with a sentence, and nothing of it is ever run."""

import gzip
import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from functools import partial
from operator import methodcaller
from pathlib import Path
from typing import Any

import cloudpickle
import joblib
import numpy as np
import pytest
import skops.io
import yaml
from msgspec.structs import replace
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import FunctionTransformer

from modelyard.core import model_at
from modelyard.core.errors import UserError
from modelyard.core.params import load_params
from modelyard.core.paths import MODEL_FILE, ROW_HASHES_FILE
from modelyard.inference.predictor import load_predictor
from modelyard.inference.prepare import load_or_build_bundle
from modelyard.pipeline import model_file
from modelyard.tracking import flavor
from tests.library.support import TEMPLATE

CANARY = Path("canary")
Make = Callable[[], bytes]


class Evil:
    """What runs a command as soon as it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, (f"touch {CANARY}",)


def joblibbed(**options: Any) -> bytes:
    joblib.dump(Evil(), "evil", **options)
    return Path("evil").read_bytes()


def packed(**members: bytes) -> bytes:
    """A zip with these members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def members() -> dict[str, bytes]:
    with zipfile.ZipFile(MODEL_FILE) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def schema(change: Callable[[dict[str, Any]], Any]) -> bytes:
    """The project's model with another schema.json."""
    found = members()
    tree = json.loads(found["schema.json"])
    change(tree)
    return packed(**{**found, "schema.json": json.dumps(tree).encode()})


def pickled_array() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([Evil()], dtype=object), allow_pickle=True)
    return packed(**{name: buffer.getvalue() if name.endswith(".npy") else b for name, b in members().items()})


def called(module: str, name: str) -> bytes:
    """The project's model in which the first type is another function or class."""

    def change(tree: dict[str, Any]) -> None:
        tree.update({"__module__": module, "__class__": name})

    return schema(change)


def method() -> bytes:
    """The project's model, inside of which a method of a trusted type is asked for."""
    tree: dict[str, Any] = {"__class__": "system", "__module__": "os", "__loader__": "MethodNode", "__id__": 1}
    text = {"__class__": "str", "__module__": "builtins", "__loader__": "TypeNode"}
    tree["content"] = {"func": "system", "obj": text}
    return schema(lambda old: old.update(tree))


def bomb(name: str) -> bytes:
    """A quarter of a gigabyte of nothing, in a quarter of a megabyte."""
    return packed(**{**members(), name: bytes(256 << 20)})


def cut(percent: int) -> bytes:
    content = MODEL_FILE.read_bytes()
    return content[: len(content) * percent // 100]


def dumped(value: Any) -> Make:
    return lambda: skops.io.dumps(value)


PICKLES: dict[str, Make] = {
    f"pickle-{p}": partial(pickle.dumps, Evil(), protocol=p) for p in range(pickle.HIGHEST_PROTOCOL + 1)
}
OTHERS: dict[str, Make] = {
    "cloudpickle": lambda: cloudpickle.dumps(lambda: os.system(f"touch {CANARY}")),
    "cloudpickle-evil": lambda: cloudpickle.dumps(Evil()),
    "joblib": joblibbed,
    "joblib-zlib": lambda: joblibbed(compress=3),
    "joblib-gzip": lambda: joblibbed(compress=("gzip", 3)),
    "gzip": lambda: gzip.compress(pickle.dumps(Evil())),
    "numpy-object": pickled_array,
    "pickle-in-zip": lambda: packed(**{"schema.json": pickle.dumps(Evil())}),
    "pickle-beside": lambda: packed(**{**members(), "evil.pkl": pickle.dumps(Evil())}),
}
STRANGERS: dict[str, Make] = {
    "system": dumped(FunctionTransformer(os.system)),
    "eval": dumped(FunctionTransformer(eval)),
    "partial": dumped(FunctionTransformer(partial(os.system, f"touch {CANARY}"))),
    "methodcaller": dumped(FunctionTransformer(methodcaller("unlink"))),
    "unlink": dumped(FunctionTransformer(Path.unlink)),
    "type-os": lambda: called("os", "system"),
    "type-subprocess": lambda: called("subprocess", "Popen"),
    "type-builtins": lambda: called("builtins", "exec"),
    "type-sklearn": lambda: called("sklearn.utils._testing", "_TempDir"),
    "method": method,
}
ZIPS: dict[str, Make] = {
    "bomb-member": lambda: bomb("0.npy"),
    "bomb-schema": lambda: bomb("schema.json"),
    "bomb-extra": lambda: bomb("999.npy"),
    "traversal": lambda: packed(**{**members(), "../../canary": b"x"}),
    "absolute": lambda: packed(**{**members(), "/tmp/canary": b"x"}),
    "windows": lambda: packed(**{**members(), "..\\canary": b"x"}),
    "no-schema": lambda: packed(**{"0.npy": b""}),
    "schema-is-a-list": lambda: packed(**{"schema.json": b"[]"}),
    "schema-is-deep": lambda: packed(**{"schema.json": b'{"a":' * 20000 + b"1" + b"}" * 20000}),
    "schema-without-loader": lambda: schema(lambda tree: tree.pop("__loader__")),
    "schema-with-another-loader": lambda: schema(lambda tree: tree.update({"__loader__": "NoNode"})),
    "missing-member": lambda: packed(**{"schema.json": members()["schema.json"]}),
}
CUTS: dict[str, Make] = {f"cut-{percent}": partial(cut, percent) for percent in (0, 1, 50, 99)}
EVERY = PICKLES | OTHERS | STRANGERS | ZIPS | CUTS


@pytest.mark.usefixtures("project")
def test_the_canary_sings_when_a_pickle_is_loaded() -> None:
    pickle.loads(pickle.dumps(Evil()))
    assert CANARY.exists()


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("make", EVERY.values(), ids=EVERY)
def test_a_malicious_model_is_refused_and_runs_nothing(make: Make) -> None:
    content = make()
    CANARY.unlink(missing_ok=True)
    MODEL_FILE.write_bytes(content)
    for load in (partial(model_file.load_model, MODEL_FILE), partial(flavor.load_pyfunc_model, MODEL_FILE)):
        with pytest.raises(UserError, match=r"models/model\.skops"):
            load()
    assert not CANARY.exists()


@pytest.mark.usefixtures("project")
def test_a_swapped_model_is_refused_by_its_digest() -> None:
    passport = load_or_build_bundle(load_params())
    other = skops.io.dumps(LogisticRegression())
    MODEL_FILE.write_bytes(other)
    with pytest.raises(UserError, match="is not the model"):
        model_file.load_model(MODEL_FILE, passport.model)
    for path in (MODEL_FILE, Path("models/model.onnx")):
        path.write_bytes(other)
    for engine in ("compiled", "scikit-learn"):
        here = replace(passport, engine=engine, versions={})
        with pytest.raises(UserError, match="refusing to start"):
            load_predictor(here)


@pytest.mark.usefixtures("project")
def test_pickled_rows_are_refused_and_run_nothing() -> None:
    np.save(ROW_HASHES_FILE, np.array([Evil()], dtype=object), allow_pickle=True)
    CANARY.unlink(missing_ok=True)
    with pytest.raises(UserError, match=r"models/rows\.npy"):
        model_at.load_row_hashes(Path())
    assert not CANARY.exists()


def test_a_planted_secret_is_found_by_the_hook(tmp_path: Path) -> None:
    hooks = yaml.safe_load((TEMPLATE / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    (hook,) = (one for one in hooks if one["id"] == "secrets")
    for name, text, found in (("clean.py", "x = 1\n", 0), ("planted.py", f'key = "{"AKIA" + "Q7" * 8}"\n', 1)):
        (tmp_path / name).write_text(text)
        command = [Path(sys.executable).with_name(hook["entry"]), tmp_path / name]
        assert subprocess.run(command, capture_output=True, check=False).returncode == found

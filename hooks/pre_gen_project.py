"""Refuses a bad answer before a file is written: what was refused, then what is accepted."""

import json
import keyword
import re
import sys
import unicodedata

ANSWERS = r"""{{ cookiecutter | jsonify }}"""

FREE_TEXT = ("project_name", "description", "author")
LONGEST = {"project_name": 100, "description": 300, "author": 100}
LICENSES = ("MIT", "Apache-2.0", "BSD-3-Clause", "Proprietary")
PYTHONS = ("3.11", "3.12", "3.13")
DEPLOYS = ("compose", "none")
SLUG = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
SLUG_LENGTH = 63  # of a DNS label: the slug becomes the name of images, containers and hosts
UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")  # control, lone surrogate, line and paragraph separator
OURS = ("conftest", "src", "test", "tests")
# Windows opens a device for these names, whatever folder they lie in, so git cannot check them out.
DEVICES = ("con", "prn", "aux", "nul", *(f"{port}{digit}" for port in ("com", "lpt") for digit in range(10)))
# What the project installs and what that is imported as: src/ comes first on the path, so a
# package of the same name would hide it. A test of the template keeps this list complete.
INSTALLED = """
aiohappyeyeballs aiohttp aiohttp_retry aiosignal alembic amqp annotated_doc annotated_types antlr4
antlr4_python3_runtime anyio appdirs appnope ast_serialize astroid asttokens asyncssh atpublic attr attrs billiard
blinker cachetools catboost celery certifi cffi cfgv charset_normalizer click click_didyoumean click_plugins
click_repl cloudpickle colorama colorlog comm configobj contourpy cryptography cycler dask databricks databricks_sdk
dateutil debugpy detect_secrets dictdiffer dill diskcache distlib distributed distro docker dotenv dpath dulwich dvc
dvc_data dvc_http dvc_objects dvc_render dvc_studio_client dvc_task entrypoints evidently executing fairlearn fastapi
fastjsonschema filelock flask flask_cors flatbuffers flatten_dict flufl flufl_lock fonttools frozenlist fsspec funcy
git gitdb gitpython google google_auth grandalf granian graphene graphql graphql_core graphql_relay gto gunicorn h11
httptools httpx huey hydra hydra_core hypothesis identify idna importlib_metadata iniconfig ipykernel
ipykernel_launcher ipython ipython_pygments_lexers isort iterative_telemetry itsdangerous jedi jinja2 joblib
jsonschema jsonschema_specifications jupyter jupyter_client jupyter_core kiwisolver kombu librt lightgbm mako
markdown_it markdown_it_py markupsafe matplotlib matplotlib_inline mccabe mdurl ml_dtypes mlflow mlflow_skinny
mlflow_tracing modelyard mpl_toolkits msgspec multidict mypy mypy_extensions mypyc narwhals nbclient nbformat
nbstripout nest_asyncio2 networkx nodeenv numpy omegaconf onnx onnxruntime opentelemetry opentelemetry_api
opentelemetry_proto opentelemetry_sdk opentelemetry_semantic_conventions optuna orjson packaging pandas pandas_stubs
pandera parso pathspec pexpect pil pillow pip platformdirs pluggy polars pre_commit pre_commit_hooks prettytable
prometheus_client prompt_toolkit propcache protobuf psutil ptyprocess public pure_eval py pyarrow pyasn1
pyasn1_modules pycparser pydantic pydantic_core pydantic_settings pydevd_plugins pydot pygit2 pygments pygtrie pylab
pylint pyparsing pytest python_dateutil python_discovery python_dotenv pywin32 pyyaml pyzmq ray referencing requests
rich rpds rpds_py ruamel ruamel_yaml ruff scikit_learn scipy scmrepo semver setuptools shortuuid shtab skl2onnx
sklearn skops smmap sortedcontainers sqlalchemy sqlparse sqltrie stack_data starlette tabulate threadpoolctl tomlkit
tornado tqdm traitlets typeguard types_pyyaml typing_extensions typing_inspect typing_inspection tzdata tzlocal
urllib3 uv uv_build uvicorn uvloop validate vine virtualenv voluptuous waitress wcwidth werkzeug wheel xgboost yaml
yarl zc zc_lockfile zipp zmq
"""

Refusal = tuple[str, str]


def text(question: str, answer: str) -> Refusal | None:
    """One printable line that says something: it ends up in TOML, YAML, Markdown and Python."""
    bad = [c for c in answer if unicodedata.category(c) in UNPRINTABLE or c in "\ufffe\uffff"]
    if bad or not answer.strip() or len(answer) > LONGEST[question]:
        return answer, f"one line of 1 to {LONGEST[question]} printable characters"
    return None


def slug(answer: str) -> Refusal | None:
    """A name that git hosts, container registries, DNS and Python all take."""
    if not SLUG.fullmatch(answer) or len(answer) > SLUG_LENGTH:
        return answer, (
            "lowercase letters and digits, single hyphens between them, a letter first, "
            f"at most {SLUG_LENGTH} characters, such as flight-delays"
        )
    return None


def package(answer: str) -> Refusal | None:
    """A package that hides no keyword, no standard module, nothing imported, and that every system can store."""
    name = answer.replace("-", "_")
    taken = {
        "a Python keyword": keyword.kwlist,
        "a module of the standard library": getattr(sys, "stdlib_module_names", ()),
        "a library that the project installs": INSTALLED.split(),
        "a folder or module of the project itself": OURS,
        "a device of Windows, which cannot check it out": DEVICES,
    }
    for what, names in taken.items():
        if name in names:
            return answer, f"a name whose package, here {name}, is not {what}"
    return None


def choice(answer: str, accepted: tuple[str, ...]) -> Refusal | None:
    """One of the offered answers: replay files and update tools can bring others."""
    return None if answer in accepted else (answer, ", ".join(accepted))


def refusals(answers: dict[str, str]) -> dict[str, Refusal | None]:
    """For each question the refused answer and what is accepted instead, or None."""
    return {
        **{question: text(question, answers[question]) for question in FREE_TEXT},
        "project_slug": slug(answers["project_slug"]) or package(answers["project_slug"]),
        "license": choice(answers["license"], LICENSES),
        "python_version": choice(answers["python_version"], PYTHONS),
        "deploy": choice(answers["deploy"], DEPLOYS),
    }


def main() -> int:
    """Print the first refusal, if there is one."""
    for question, refusal in refusals(json.loads(ANSWERS)).items():
        if refusal:
            print(f"refused: {question} = {refusal[0]!a}", file=sys.stderr)
            print(f"accepted: {refusal[1]}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Reads and writes YAML as DVC does: YAML 1.2, where `NO` and `00:30` are text and `1e-3` is a number."""

import re
from pathlib import Path
from typing import Any, ClassVar

import yaml

# The scalar types of YAML 1.2 as DVC's reader (ruamel.yaml) tells them apart.
SCALARS = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?(0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*)", list("-+0123456789")),
    "float": (
        r"[-+]?([0-9][0-9_]*\.[0-9_]*([eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+|\.[0-9_]+([eE][-+][0-9]+)?)"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
}
KEPT = ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:merge")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # an image has no C parser
    """PyYAML's safe loader with the scalar types of YAML 1.2."""

    yaml_implicit_resolvers: ClassVar = {
        first: [rule for rule in rules if rule[0] in KEPT]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper; it quotes text that YAML 1.1 or YAML 1.2 would read as another type."""


def _construct_int(loader: Any, node: yaml.ScalarNode) -> int:
    """Return a whole number; a leading zero does not make it octal."""
    text = str(loader.construct_scalar(node)).replace("_", "")
    return int(text, 0) if re.match(r"[-+]?0[box]", text) else int(text)


def _construct_float(loader: Any, node: yaml.ScalarNode) -> float:
    """Return a number, also one of the forms `1e-3` and `.inf`."""
    text = str(loader.construct_scalar(node)).replace("_", "").lower()
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


def _represent_text(dumper: Any, text: str) -> Any:
    """Write text; what is not printable in escapes, since YAML 1.1 and 1.2 do not agree which of it ends a line."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')


for _name, (_pattern, _first) in SCALARS.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(rf"^(?:{_pattern})$"), _first)
_Dumper.add_representer(str, _represent_text)
_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _construct_float)


def is_ambiguous(text: str) -> bool:
    """Return whether YAML 1.1 or YAML 1.2 reads a plain text as another type."""
    rules = _Dumper.yaml_implicit_resolvers
    return any(pattern.match(text) for _, pattern in rules.get(text[:1], []) + rules.get(None, []))


def parse_yaml(text: str | bytes) -> Any:
    """Return the value of a YAML document; raise `yaml.YAMLError` where the text is not one."""
    return yaml.load(text, _Loader)


def read_yaml(path: Path) -> Any:
    """Return the value of a YAML file."""
    return parse_yaml(path.read_bytes())


def dump_yaml(value: Any) -> str:
    """Return a value as YAML, with its keys in their order."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)

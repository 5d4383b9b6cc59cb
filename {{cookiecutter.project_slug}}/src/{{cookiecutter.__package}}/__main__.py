"""The command line: `python -m <package> <verb> [--option value]`, the same that `make <verb>` calls."""

import argparse
import gc
import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from .config import UserError


def verbs() -> dict[str, Path]:
    """Every module of this package that has a `main` is a verb of that name."""
    files = sorted(Path(__file__).parent.glob("[a-z]*.py"))
    return {f.stem: f for f in files if "\ndef main(" in f.read_text(encoding="utf-8")}


class Parser(argparse.ArgumentParser):
    """A command line whose mistakes are one sentence, as all others are."""

    def error(self, message: str) -> NoReturn:
        """Say what is missing as make and as the command line take it, or what is wrong."""
        verb, lacks = str(self.prog).split()[-1], re.findall(r"--(\w+)", message.partition("required:")[2])
        if not lacks:
            raise UserError(f"{message}; `python -m {self.prog} --help` lists the options", code=2)
        wanted = " ".join(f"{name.upper()}=…" for name in lacks)
        raise UserError(f"{verb} needs {' and '.join(map(str.upper, lacks))}; run `make {verb} {wanted}`", code=2)


def parser(verb: str, main: Callable[..., int | None]) -> Parser:
    """An option for each parameter of `main` (`in_` is `--in`); its default is that variable of the environment."""
    command = Parser(prog=f"{__package__} {verb}", description=main.__doc__)
    for name, parameter in inspect.signature(main).parameters.items():
        option = name.rstrip("_")
        value = os.environ.get(option.upper()) or parameter.default
        required = value is inspect.Parameter.empty
        if isinstance(parameter.default, bool):
            switch = argparse.BooleanOptionalAction
            on = value if isinstance(value, bool) else value.lower() not in ("0", "no", "false")
            command.add_argument(f"--{option}", dest=name, action=switch, default=on)
        else:
            kind = type(parameter.default) if isinstance(parameter.default, int | float) else str
            default = None if required else value
            command.add_argument(f"--{option}", dest=name, type=kind, default=default, required=required)
    return command


def run(arguments: list[str]) -> int:
    """Run one verb; a `UserError` becomes one sentence and the exit code that it carries."""
    known = verbs()
    if not arguments or arguments[0] not in known:
        print(f"usage: python -m {__package__} <verb> [--option value]\nverbs: {' '.join(known)}")
        return 0 if not arguments or arguments[0] in ("-h", "--help") else 2
    main = importlib.import_module(f".{arguments[0]}", __package__).main
    try:
        return main(**vars(parser(arguments[0], main).parse_args(arguments[1:]))) or 0
    except UserError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return problem.code


if __name__ == "__main__":
    gc.set_threshold(100_000)  # imports make half a million objects that stay: looking through them costs a tenth
    sys.exit(run(sys.argv[1:]))

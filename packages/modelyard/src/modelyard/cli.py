"""The command line: `python -m modelyard <command> [--option value]`, which every make verb calls."""

import argparse
import gc
import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from modelyard import __version__
from modelyard.core import console
from modelyard.core.errors import UserError

COMMANDS = {
    "adopt": "workspace.adopt:main",
    "alert": "github.alert:main",
    "audit": "delivery.audit:main",
    "compile": "inference.prepare:main",
    "compute": "workspace.compute:main",
    "deploy": "delivery.deploy:main",
    "doctor": "workspace.doctor:main",
    "evaluate": "pipeline.evaluate:main",
    "evidently": "monitoring.evidently:main",
    "gate": "gate.verdict:main",
    "image": "delivery.image:main",
    "labels": "monitoring.labels:main",
    "monitor": "monitoring.run:main",
    "move": "tracking.migrate:main",
    "next": "workspace.next_step:main",
    "post": "github.post:main",
    "predict": "pipeline.predict:main",
    "promote": "delivery.promote:main",
    "protect": "workspace.protect:main",
    "pull": "workspace.pull:main",
    "push": "workspace.push:main",
    "registry": "tracking.registry:main",
    "rehearse": "workspace.rehearse:main",
    "release": "github.release:main",
    "remote": "workspace.remote:main",
    "report": "report.sections:main",
    "resolve": "workspace.resolve:main",
    "retrain": "automation.retrain:main",
    "rollback": "delivery.rollback:main",
    "schema": "workspace.infer_schema:main",
    "score": "inference.batch:main",
    "serve": "serving.server:main",
    "smoke": "serving.smoke:main",
    "split": "pipeline.split:main",
    "start": "core.start_model:main",
    "sweep": "automation.tune:main",
    "track": "tracking.store:main",
    "train": "pipeline.train:main",
    "update": "workspace.update:main",
    "validate": "pipeline.validate:main",
    "verify": "delivery.chain:main",
}
ENV_PREFIX = "MODELYARD_"
FALSE_WORDS = ("", "0", "no", "false")


class CommandParser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence."""

    def error(self, message: str) -> NoReturn:
        """Raise a `UserError` that names the missing options as make takes them, or what is wrong."""
        command = self.prog.split()[-1]
        missing = re.findall(r"--(\w+)", message.partition("required:")[2])
        if not missing:
            raise UserError(f"{message}; `python -m {self.prog} --help` lists the options", code=2)
        names = " and ".join(name.upper() for name in missing)
        example = " ".join(f"{name.upper()}=…" for name in missing)
        raise UserError(f"{command} needs {names}; run `make {command} {example}`", code=2)


def add_option(parser: CommandParser, name: str, parameter: inspect.Parameter) -> None:
    """Add the option of one parameter (`in_` is `--in`); `MODELYARD_<NAME>` in the environment is its default."""
    option = name.rstrip("_")
    given = os.environ.get(ENV_PREFIX + option.upper())
    required = parameter.default is inspect.Parameter.empty and not given
    default = None if parameter.default is inspect.Parameter.empty else parameter.default
    if isinstance(default, bool):
        value = default if given is None else given.lower() not in FALSE_WORDS
        parser.add_argument(f"--{option}", dest=name, action=argparse.BooleanOptionalAction, default=value)
        return
    kind = type(default) if isinstance(default, int | float) else str
    parser.add_argument(f"--{option}", dest=name, type=kind, default=given or default, required=required)


def make_parser(command: str, function: Callable[..., int | None]) -> CommandParser:
    """Return the parser of a command: an option for each parameter of its function."""
    parser = CommandParser(prog=f"modelyard {command}", description=function.__doc__)
    volume = parser.add_mutually_exclusive_group()
    volume.add_argument("-v", "--verbose", action="store_true", help="show where an error comes from")
    volume.add_argument("-q", "--quiet", action="store_true", help="print errors only")
    for name, parameter in inspect.signature(function).parameters.items():
        add_option(parser, name, parameter)
    return parser


def load_command(command: str) -> Callable[..., int | None]:
    """Import the function of a command."""
    module, _, name = COMMANDS[command].partition(":")
    function: Callable[..., int | None] = getattr(importlib.import_module(f"modelyard.{module}"), name)
    return function


def run_command(command: str, arguments: Sequence[str]) -> int:
    """Run a command; a `UserError` becomes one sentence and the exit code that it carries."""
    verbose = False
    try:
        function = load_command(command)
        options = vars(make_parser(command, function).parse_args(arguments))
        verbose = options.pop("verbose")
        console.set_quiet(options.pop("quiet"))
        return function(**options) or 0
    except UserError as problem:
        if verbose:
            raise
        print(f"error: {problem}", file=sys.stderr)
        return problem.code


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name; without one, list the commands."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    command = words[0] if words else "--help"
    if command == "--version":
        print(__version__)
        return 0
    if command in COMMANDS:
        return run_command(command, words[1:])
    print(f"usage: python -m modelyard <command> [--option value]\ncommands: {' '.join(sorted(COMMANDS))}")
    return 0 if command in ("-h", "--help") else 2


def run_and_exit() -> NoReturn:
    """Run the command line and exit with its code."""
    gc.set_threshold(100_000)  # imports make half a million objects that stay: looking through them costs a tenth
    sys.exit(main())

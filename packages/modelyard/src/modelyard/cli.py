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
    "holdout": "automation.holdout:main",
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
    "receive": "workspace.receive:main",
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
FALSE_WORDS = ("0", "no", "false")


class UsageError(UserError):
    """A command was called with wrong or missing options; the exit code is 2.

    Parameters
    ----------
    sentence
        What is wrong, and what to do.
    missing
        The options that the command lacks.
    """

    def __init__(self, sentence: str, missing: Sequence[str] = ()) -> None:
        super().__init__(sentence, code=2)
        self.missing = tuple(missing)


class CommandParser(argparse.ArgumentParser):
    """An argument parser that raises one sentence instead of printing its usage."""

    def error(self, message: str) -> NoReturn:
        """Raise a `UsageError` that names the missing options as make takes them, or repeats what is wrong."""
        command = self.prog.split()[-1]
        missing = re.findall(r"--(\w+)", message.partition("required:")[2])
        if not missing:
            raise UsageError(f"{message}; `python -m {self.prog} --help` lists the options")
        names = " and ".join(name.upper() for name in missing)
        example = " ".join(f"{name.upper()}=…" for name in missing)
        raise UsageError(f"{command} needs {names}; run `make {command} {example}`", missing)


def add_option(parser: CommandParser, name: str, parameter: inspect.Parameter) -> None:
    """Add the option for one parameter of a command.

    Parameters
    ----------
    parser
        The parser of the command.
    name
        The name of the parameter; `in_` becomes `--in`.
    parameter
        Its default gives the type of the option, and without one the option is required. A variable
        `MODELYARD_<NAME>` replaces the default, unless it is empty.
    """
    option = name.rstrip("_")
    is_required = parameter.default is inspect.Parameter.empty
    default = None if is_required else parameter.default
    given = os.environ.get(ENV_PREFIX + option.upper())
    if isinstance(default, bool):
        is_on = given.lower() not in FALSE_WORDS if given else default
        parser.add_argument(f"--{option}", dest=name, action=argparse.BooleanOptionalAction, default=is_on)
        return
    kind = type(default) if isinstance(default, int | float) else str
    value = given or default
    parser.add_argument(f"--{option}", dest=name, type=kind, default=value, required=is_required and not given)


def make_parser(command: str, function: Callable[..., int | None]) -> CommandParser:
    """Return the parser of a command, with an option for each parameter of its function."""
    parser = CommandParser(
        prog=f"modelyard {command}",
        description=inspect.getdoc(function),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    volume = parser.add_mutually_exclusive_group()
    volume.add_argument("-v", "--verbose", action="store_true", help="show where an error comes from")
    volume.add_argument("-q", "--quiet", action="store_true", help="print errors only")
    for name, parameter in inspect.signature(function).parameters.items():
        add_option(parser, name, parameter)
    return parser


def load_command(command: str) -> Callable[..., int | None]:
    """Import the function of a command; a `UserError` in an image, which has only what a service needs."""
    place, _, name = COMMANDS[command].partition(":")
    district = place.partition(".")[0]
    try:
        module = importlib.import_module(f"modelyard.{place}")
    except ModuleNotFoundError as problem:
        if problem.name != f"modelyard.{district}":
            raise
        raise UserError(f"there is no {command} here, as in an image; run it in the project's folder") from None
    function: Callable[..., int | None] = getattr(module, name)
    return function


def run_command(command: str, arguments: Sequence[str]) -> int:
    """Run a command and return its exit code; a `UserError` is printed as one sentence, with -v it is raised."""
    is_verbose = False
    try:
        function = load_command(command)
        options = vars(make_parser(command, function).parse_args(arguments))
        is_verbose = options.pop("verbose")
        console.set_quiet(options.pop("quiet"))
        return function(**options) or 0
    except UserError as problem:
        if is_verbose:
            raise
        console.print_error(f"error: {problem}")
        return problem.code


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name, and return its exit code; without one, list the commands."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    command = words[0] if words else "--help"
    if command == "--version":
        console.print_data(__version__)
        return 0
    if command in COMMANDS:
        return run_command(command, words[1:])
    console.print_data(f"usage: python -m modelyard <command> [--option value]\ncommands: {' '.join(sorted(COMMANDS))}")
    return 0 if command in ("-h", "--help") else 2


def run_and_exit() -> NoReturn:
    """Run the command line and exit with its code."""
    console.accept_any_character()
    gc.set_threshold(100_000)  # imports make half a million objects that stay: looking through them costs a tenth
    sys.exit(main())

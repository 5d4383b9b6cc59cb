"""One exception class for each kind of failure; each carries its data, so that nobody has to parse a sentence."""

from pathlib import Path


class UserError(Exception):
    """A failure that the user can fix; its sentence says what is wrong and what to do.

    Parameters
    ----------
    sentence
        One sentence for the user.
    code
        The exit code of the command.
    """

    def __init__(self, sentence: str, code: int = 1) -> None:
        super().__init__(sentence)
        self.code = code


class MissingFileError(UserError):
    """A file that a command needs is not there.

    Parameters
    ----------
    path
        The missing file.
    cure
        What to do.
    """

    def __init__(self, path: Path | str, cure: str) -> None:
        super().__init__(f"{path} is missing; {cure}")
        self.path = Path(path)


class InvalidFileError(UserError):
    """A file does not have the contents that it should have.

    Parameters
    ----------
    path
        The file.
    problem
        What is wrong with it, as the rest of a sentence that begins with the path.
    cure
        What to do.
    """

    def __init__(self, path: Path | str, problem: str, cure: str) -> None:
        super().__init__(f"{path} {problem}; {cure}")
        self.path = Path(path)
        self.problem = problem


class SettingError(UserError):
    """A setting of params.yaml, schema.yaml or pyproject.toml has a value that does not work.

    Parameters
    ----------
    setting
        The name of the setting, such as `split.holdout`.
    problem
        What is wrong with it, as the rest of a sentence that begins with the setting.
    cure
        What to do.
    """

    def __init__(self, setting: str, problem: str, cure: str) -> None:
        super().__init__(f"{setting} {problem}; {cure}")
        self.setting = setting


class OptionError(UserError):
    """An option of a command has a value that does not work; the exit code is 2.

    Parameters
    ----------
    option
        The name of the option.
    problem
        What is wrong with it, as the rest of a sentence that begins with the option.
    cure
        What to do.
    """

    def __init__(self, option: str, problem: str, cure: str) -> None:
        super().__init__(f"{option} {problem}; {cure}", code=2)
        self.option = option


class ToolError(UserError):
    """A program such as git, DVC or Docker fails.

    Parameters
    ----------
    tool
        The program, with its command where it has several: `git push`.
    problem
        What it said.
    """

    def __init__(self, tool: str, problem: str) -> None:
        super().__init__(f"{tool}: {problem}")
        self.tool = tool
        self.problem = problem


class MissingToolError(ToolError):
    """A program is not installed.

    Parameters
    ----------
    tool
        The program.
    cure
        What to do.
    """

    def __init__(self, tool: str, cure: str = "install it and try again") -> None:
        super().__init__(tool, f"this program is not installed; {cure}")


class HookError(UserError):
    """A function of the project's own package breaks its contract.

    Parameters
    ----------
    file
        The file of the function, relative to the project.
    hook
        The name of the function.
    problem
        What was found and what was expected.
    """

    def __init__(self, file: str, hook: str, problem: str) -> None:
        super().__init__(f"{file}: {hook} {problem}")
        self.file = file
        self.hook = hook


class IntegrityError(UserError):
    """A link of the chain from the running model back to its data does not hold.

    Parameters
    ----------
    link
        The name of the link.
    sentence
        What does not match, and what to do.
    """

    def __init__(self, link: str, sentence: str) -> None:
        super().__init__(f"the link `{link}` does not hold: {sentence}")
        self.link = link

"""One exception class for each kind of failure; each carries what failed, so that nobody has to parse a sentence."""

from pathlib import Path


class UserError(Exception):
    """A failure that the person at the keyboard can mend: what is wrong, and what to do.

    Parameters
    ----------
    sentence
        One sentence for people.
    code
        The exit code of the command that fails with it.
    """

    def __init__(self, sentence: str, code: int = 1) -> None:
        super().__init__(sentence)
        self.code = code


class MissingFileError(UserError):
    """A file that a command needs is not there."""

    def __init__(self, path: Path | str, cure: str) -> None:
        super().__init__(f"{path} is missing; {cure}")
        self.path = Path(path)


class InvalidFileError(UserError):
    """A file cannot be read as what it should be."""

    def __init__(self, path: Path | str, problem: str, cure: str) -> None:
        super().__init__(f"{path} {problem}; {cure}")
        self.path = Path(path)
        self.problem = problem


class SettingError(UserError):
    """A setting of params.yaml, schema.yaml or pyproject.toml has a value that does not work."""

    def __init__(self, setting: str, problem: str, cure: str) -> None:
        super().__init__(f"{setting} {problem}; {cure}")
        self.setting = setting


class OptionError(UserError):
    """An option of a command has a value that does not work."""

    def __init__(self, option: str, problem: str, cure: str) -> None:
        super().__init__(f"{option} {problem}; {cure}", code=2)
        self.option = option


class ToolError(UserError):
    """A program such as git, DVC or Docker is missing or refused what it was asked."""

    def __init__(self, tool: str, problem: str) -> None:
        super().__init__(f"{tool}: {problem}")
        self.tool = tool
        self.problem = problem


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
    """A link of the chain from what runs back to the data does not hold."""

    def __init__(self, link: str, sentence: str) -> None:
        super().__init__(f"the link `{link}` does not hold: {sentence}")
        self.link = link

"""Checks signatures with the command that params.yaml names for it."""

from collections.abc import Sequence

from modelyard.core.errors import MissingToolError, SettingError, UserError
from modelyard.core.process import last_error_line, run_process


class SignatureError(UserError):
    """Something is not signed as params.yaml asks for.

    Parameters
    ----------
    subject
        What is not signed.
    setting
        The setting in params.yaml that holds the command.
    reason
        The last line of the command's output.
    """

    def __init__(self, subject: str, setting: str, reason: str) -> None:
        super().__init__(f"{subject} is not signed as params.yaml ({setting}) asks for: {reason}")
        self.subject = subject
        self.setting = setting


def verify_signature(subject: str, setting: str, command: Sequence[str], **values: str) -> None:
    """Run the command that verifies a signature.

    Parameters
    ----------
    subject
        What is verified, for the message.
    setting
        The setting in params.yaml that holds the command.
    command
        The words of the command; no words ask for no signature.
    **values
        What takes the place of `{name}` in each word.

    Raises
    ------
    SettingError
        The command cannot be run.
    SignatureError
        The command failed.
    """
    if not command:
        return
    words = []
    for word in command:
        for name, value in values.items():
            word = word.replace(f"{{{name}}}", value)
        words.append(word)
    try:
        done = run_process(words)
    except (OSError, MissingToolError) as problem:
        raise SettingError(f"{setting} in params.yaml", f"cannot be run ({problem})", "install what it names") from None
    if done.returncode:
        raise SignatureError(subject, setting, last_error_line(done.stderr or done.stdout))

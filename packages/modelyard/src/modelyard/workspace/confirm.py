"""Ask the person at the terminal before something is changed that is hard to undo."""

import sys

from modelyard.core.errors import UserError


class ConfirmationError(UserError):
    """Nobody can be asked, since the command does not run on a terminal.

    Parameters
    ----------
    verb
        The make verb that asks.
    subject
        What there is to look at.
    """

    def __init__(self, verb: str, subject: str) -> None:
        super().__init__(f"nobody is there to ask; look at {subject} and run `make {verb} YES=1`")
        self.verb = verb


def confirm(verb: str, subject: str, question: str, yes: bool) -> bool:
    """Ask a question on the terminal.

    Parameters
    ----------
    verb
        The make verb that asks.
    subject
        What there is to look at before one answers, such as "the list above".
    question
        The question.
    yes
        Whether the answer was given beforehand, by `YES=1`.

    Returns
    -------
    bool
        Whether the answer is yes.

    Raises
    ------
    ConfirmationError
        If the command does not run on a terminal and the answer was not given beforehand.
    """
    if yes:
        return True
    if not sys.stdin.isatty():
        raise ConfirmationError(verb, subject)
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")

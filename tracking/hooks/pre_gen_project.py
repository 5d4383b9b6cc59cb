"""Refuses a bad answer before a file is written: what was refused, then what is accepted."""

import json
import re
import sys

ANSWERS = r"""{{ cookiecutter | jsonify }}"""

# Windows opens a device for these names, whatever folder they lie in.
DEVICES = ("con", "prn", "aux", "nul", *(f"{port}{digit}" for port in ("com", "lpt") for digit in range(10)))
FOLDER = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")  # what Compose takes as the name of a project
PORT = re.compile(r"[1-9][0-9]{0,4}")
HOSTS = re.compile(r"[A-Za-z0-9.:*-]+(,[A-Za-z0-9.:*-]+)*")

Refusal = tuple[str, str]


def folder(answer: str) -> Refusal | None:
    """A name that Compose takes and that every system can store."""
    if answer in DEVICES:
        return answer, "a name that is not a device of Windows"
    if not FOLDER.fullmatch(answer):
        return answer, "1 to 63 lowercase letters, digits, hyphens and underscores, such as tracking"
    return None


def port(answer: str) -> Refusal | None:
    """A port of this machine."""
    if PORT.fullmatch(answer) and int(answer) < 2**16:
        return None
    return answer, "a number from 1 to 65535"


def hosts(answer: str) -> Refusal | None:
    """Names that a Makefile and a shell take as they are."""
    if HOSTS.fullmatch(answer):
        return None
    return answer, "host names with commas between them and no spaces, such as localhost,mlflow.example.com"


def refusals(answers: dict[str, str]) -> dict[str, Refusal | None]:
    """For each question the refused answer and what is accepted instead, or None."""
    return {check.__name__: check(answers[check.__name__]) for check in (folder, port, hosts)}


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

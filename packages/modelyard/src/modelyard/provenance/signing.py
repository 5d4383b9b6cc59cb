"""TODO doc."""

import subprocess
from collections.abc import Sequence
from functools import reduce

from modelyard.core.errors import UserError
from modelyard.core.process import last_error_line


def verify_signature(what: str, key: str, command: Sequence[str], **words: str) -> None:
    """Raise unless the command that params.yaml names under a key finds something signed; none asks for nothing."""
    filled = [reduce(lambda text, name: text.replace(f"{{{name}}}", words[name]), words, word) for word in command]
    try:
        done = subprocess.run(filled, capture_output=True, text=True, check=False) if filled else None
    except OSError as problem:
        raise UserError(f"{key} in params.yaml cannot be run ({problem}); install what it names") from None
    if done and done.returncode:
        why = last_error_line(done.stderr or done.stdout)
        raise UserError(f"{what} is not signed as params.yaml ({key}) asks for: {why}")

"""Verb: data and models go to the remote, if the project has one."""

from modelyard.core.errors import UserError
from modelyard.core.process import dvc, last_words
from modelyard.workspace.pull import remote


def main() -> int:
    """Bring data and models to the remote, if there is one."""
    name = remote()
    if not name:
        print("push      no remote: nothing to bring there (`make remote` adds one)")
        return 0
    done = dvc("push", "--run-cache")
    if done.returncode:
        why = last_words(done.stderr)
        raise UserError(f"the remote {name} took not everything ({why}); check its rights and run this again")
    print(f"push      {last_words(done.stdout or 'everything')} to {name}")
    return 0

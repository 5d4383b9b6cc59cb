"""Verb: data and models go to the remote, if the project has one."""

from .config import UserError
from .pull import dvc, remote


def main() -> int:
    """Bring data and models to the remote, if there is one."""
    name = remote()
    if not name:
        print("push      no remote: nothing to bring there (`make remote` adds one)")
        return 0
    done = dvc("push", "--run-cache")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["without a word"])[-1]
        raise UserError(f"the remote {name} took not everything ({last}); check its rights and run this again")
    print(f"push      {(done.stdout.strip().splitlines() or ['everything'])[-1]} to {name}")
    return 0

"""Verb: data and models go to the remote, if the project has one."""

from modelyard.core.console import print_line
from modelyard.core.errors import UserError
from modelyard.core.process import last_error_line, run_dvc
from modelyard.workspace.pull import get_default_remote


def main() -> int:
    """Bring data and models to the remote, if there is one."""
    name = get_default_remote()
    if not name:
        print_line("push      no remote: nothing to bring there (`make remote` adds one)")
        return 0
    done = run_dvc("push", "--run-cache")
    if done.returncode:
        why = last_error_line(done.stderr)
        raise UserError(f"the remote {name} took not everything ({why}); check its rights and run this again")
    print_line(f"push      {last_error_line(done.stdout or 'everything')} to {name}")
    return 0

"""Bring data and models to the remote, if the project has one."""

from modelyard.core.console import print_result
from modelyard.core.errors import ToolError
from modelyard.core.process import get_default_remote, last_error_line, run_dvc


def main() -> int:
    """Bring data and models to the remote, if there is one."""
    remote = get_default_remote()
    if not remote:
        print_result("push", "no remote: nothing to bring there (`make remote` adds one)")
        return 0
    done = run_dvc("push", "--run-cache")
    if done.returncode:
        reason = last_error_line(done.stderr)
        raise ToolError("dvc push", f"{remote} did not take everything ({reason}); check its rights and run this again")
    print_result("push", f"{last_error_line(done.stdout or 'everything')} to {remote}")
    return 0

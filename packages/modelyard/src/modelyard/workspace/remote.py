"""Verb: data and models get a home outside git (a bucket, a server, a folder) and are brought there."""

import os
import re
from pathlib import Path

from modelyard.core.console import print_line, print_result
from modelyard.core.errors import UserError
from modelyard.core.files import restore_files_on_error
from modelyard.core.params import load_params
from modelyard.core.process import add_to_dvc, last_error_line, run_dvc, run_git
from modelyard.workspace.dependencies import install_plugin

REMOTE_NAME = "storage"
DVC_CONFIG = Path(".dvc/config")
VARIABLES_PAGE = "Settings → Secrets and variables → Actions → Variables"
NO_ACCESS_ADVICE = "GitHub's runners have no key to it: the workflows go on with their cache and the releases"
# The DVC plugin of each kind of address, and what GitHub's side then needs: never a long-lived key.
REMOTE_KINDS = {
    "s3": (
        "dvc-s3>=3",
        f"set AWS_READ_ROLE and AWS_WRITE_ROLE, roles that trust GitHub's OIDC, under {VARIABLES_PAGE}",
    ),
    "gs": (
        "dvc-gs>=3",
        f"set GOOGLE_READ_PROVIDER and GOOGLE_WRITE_PROVIDER, identity providers, under {VARIABLES_PAGE}",
    ),
    "azure": ("dvc-azure>=3", f"set AZURE_TENANT, AZURE_READ_CLIENT and AZURE_WRITE_CLIENT under {VARIABLES_PAGE}"),
    "ssh": ("dvc-ssh>=4", NO_ACCESS_ADVICE),
    "": ("", NO_ACCESS_ADVICE),
}


def parse_scheme(url: str) -> str:
    """The scheme of an address, empty for a folder; one that nobody serves here is a `UserError`."""
    scheme, mark, rest = url.partition("://")
    found = scheme if mark else ""
    if found not in REMOTE_KINDS or not (rest if mark else url):
        raise UserError(f"{url!r} is no remote; give s3://…, gs://…, azure://…, ssh://… or the path of a folder")
    return found


def run_dvc_or_fail(*arguments: str) -> str:
    """What DVC answers; its refusal is a `UserError`."""
    done = run_dvc(*arguments)
    if done.returncode:
        what = "see that the place is there and that you may write to it, then run this again"
        raise UserError(f"dvc {arguments[0]}: {last_error_line(done.stderr)}; {what}")
    return done.stdout.strip()


def main(url: str, endpoint: str = "") -> int:
    """Give data and models a home at URL and bring them there; ENDPOINT is the server of an S3 of your own."""
    plugin, advice = REMOTE_KINDS[parse_scheme(url)]
    data = Path(load_params().data.path)
    install_plugin(plugin)
    with restore_files_on_error(DVC_CONFIG):  # only a remote that took everything stays configured
        run_dvc_or_fail("remote", "add", "--force", "--default", REMOTE_NAME, url)
        said = re.search("AccountName=([^;]+)", os.environ.get("AZURE_STORAGE_CONNECTION_STRING", ""))
        account = said[1] if said else os.environ.get("AZURE_STORAGE_ACCOUNT", "")
        if url.startswith("azure:") and account:  # no secret: a role without a key needs it
            run_dvc_or_fail("remote", "modify", REMOTE_NAME, "account_name", account)
        if endpoint:
            run_dvc_or_fail("remote", "modify", REMOTE_NAME, "endpointurl", endpoint)
        run_dvc_or_fail("push", "--run-cache")
    if run_git("ls-files", "--", str(data)):
        add_to_dvc(data)
        run_dvc_or_fail("push")
        print_result("remote", f"{data} left git for DVC")
    if "in sync" not in run_dvc_or_fail("status", "--cloud"):
        raise UserError(f"{url} lacks some of what dvc.lock names; `make pipeline`, then run this again")
    print_result("remote", f"{url} holds what dvc.lock names")
    print_line(f"{'':<10}{advice}\n{'':<10}next: git add -A && git commit -m 'Data and models live at {url}'")
    return 0

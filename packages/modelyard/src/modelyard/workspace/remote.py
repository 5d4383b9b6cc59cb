"""Give data and models a home outside git (a bucket, a server, a folder), and bring them there."""

import os
import re
from pathlib import Path
from typing import NamedTuple

from modelyard.core.console import print_line, print_result
from modelyard.core.errors import OptionError, ToolError, UserError
from modelyard.core.files import restore_files_on_error
from modelyard.core.params import load_params
from modelyard.core.process import add_to_dvc, last_error_line, run_dvc, run_git
from modelyard.workspace.dependencies import install_plugin

REMOTE_NAME = "storage"
DVC_CONFIG = Path(".dvc/config")
VARIABLES_PAGE = "Settings → Secrets and variables → Actions → Variables"
NO_ACCESS_ADVICE = "GitHub's runners have no key to it: the workflows go on with their cache and the releases"


class RemoteKind(NamedTuple):
    """A kind of remote.

    Attributes
    ----------
    plugin
        The DVC plugin that serves it; empty where none is needed.
    advice
        What GitHub's side then needs: never a long-lived key.
    """

    plugin: str
    advice: str


REMOTE_KINDS = {
    "s3": RemoteKind(
        "dvc-s3>=3", f"set AWS_READ_ROLE and AWS_WRITE_ROLE, roles that trust GitHub's OIDC, under {VARIABLES_PAGE}"
    ),
    "gs": RemoteKind(
        "dvc-gs>=3",
        f"set GOOGLE_READ_PROVIDER and GOOGLE_WRITE_PROVIDER, identity providers, under {VARIABLES_PAGE}",
    ),
    "azure": RemoteKind(
        "dvc-azure>=3", f"set AZURE_TENANT, AZURE_READ_CLIENT and AZURE_WRITE_CLIENT under {VARIABLES_PAGE}"
    ),
    "ssh": RemoteKind("dvc-ssh>=4", NO_ACCESS_ADVICE),
    "": RemoteKind("", NO_ACCESS_ADVICE),
}


def parse_scheme(url: str) -> str:
    """Return the scheme of an address; empty for a folder.

    Raises
    ------
    OptionError
        If no remote has such an address.
    """
    before, mark, after = url.partition("://")
    scheme = before if mark else ""
    place = after if mark else url
    if scheme not in REMOTE_KINDS or not place:
        cure = "give s3://…, gs://…, azure://…, ssh://… or the path of a folder"
        raise OptionError("URL", f"{url!r} is no remote", cure)
    return scheme


def run_dvc_or_fail(*arguments: str) -> str:
    """Run a DVC command and return what it prints.

    Raises
    ------
    ToolError
        If DVC refuses.
    """
    done = run_dvc(*arguments)
    if done.returncode:
        cure = "see that the place is there and that you may write to it, then run this again"
        raise ToolError(f"dvc {arguments[0]}", f"{last_error_line(done.stderr)}; {cure}")
    return done.stdout.strip()


def find_azure_account() -> str:
    """Return the name of the storage account from Azure's own variables; empty where they name none."""
    connection = os.environ.get("AZURE_STORAGE_CONNECTION_STRING", "")
    found = re.search("AccountName=([^;]+)", connection)
    return found[1] if found else os.environ.get("AZURE_STORAGE_ACCOUNT", "")


def configure_remote(url: str, endpoint: str) -> None:
    """Make an address the default remote of DVC."""
    run_dvc_or_fail("remote", "add", "--force", "--default", REMOTE_NAME, url)
    account = find_azure_account()
    if url.startswith("azure:") and account:  # no secret: a role without a key needs it
        run_dvc_or_fail("remote", "modify", REMOTE_NAME, "account_name", account)
    if endpoint:
        run_dvc_or_fail("remote", "modify", REMOTE_NAME, "endpointurl", endpoint)


def main(url: str, endpoint: str = "") -> int:
    """Give data and models a home at URL and bring them there; ENDPOINT is the server of an S3 of your own."""
    kind = REMOTE_KINDS[parse_scheme(url)]
    data = Path(load_params().data.path)
    install_plugin(kind.plugin)
    with restore_files_on_error(DVC_CONFIG):  # only a remote that took everything stays configured
        configure_remote(url, endpoint)
        run_dvc_or_fail("push", "--run-cache")
    if run_git("ls-files", "--", str(data)):
        add_to_dvc(data)
        run_dvc_or_fail("push")
        print_result("remote", f"{data} left git for DVC")
    if "in sync" not in run_dvc_or_fail("status", "--cloud"):
        raise UserError(f"{url} lacks some of what dvc.lock names; `make pipeline`, then run this again")
    print_result("remote", f"{url} holds what dvc.lock names")
    print_line(f"{'':<10}{kind.advice}")
    print_line(f"{'':<10}next: git add -A && git commit -m 'Data and models live at {url}'")
    return 0

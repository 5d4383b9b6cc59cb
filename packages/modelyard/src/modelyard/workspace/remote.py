"""Verb: data and models get a home outside git (a bucket, a server, a folder) and are brought there."""

import os
import re
from pathlib import Path

from modelyard.core.errors import UserError
from modelyard.core.files import kept_on_error
from modelyard.core.params import load_params
from modelyard.core.process import dvc, dvc_add, git, last_words
from modelyard.workspace.dependencies import plug_in

NAME = "storage"
CONFIG = Path(".dvc/config")
GITHUB = "Settings → Secrets and variables → Actions → Variables"
FAR = "GitHub's runners have no key to it: the workflows go on with their cache and the releases"
# The DVC plugin of each kind of address, and what GitHub's side then needs: never a long-lived key.
KINDS = {
    "s3": ("dvc-s3>=3", f"set AWS_READ_ROLE and AWS_WRITE_ROLE, roles that trust GitHub's OIDC, under {GITHUB}"),
    "gs": ("dvc-gs>=3", f"set GOOGLE_READ_PROVIDER and GOOGLE_WRITE_PROVIDER, identity providers, under {GITHUB}"),
    "azure": ("dvc-azure>=3", f"set AZURE_TENANT, AZURE_READ_CLIENT and AZURE_WRITE_CLIENT under {GITHUB}"),
    "ssh": ("dvc-ssh>=4", FAR),
    "": ("", FAR),
}


def kind(url: str) -> str:
    """The scheme of an address, empty for a folder; one that nobody serves here is a `UserError`."""
    scheme, mark, rest = url.partition("://")
    found = scheme if mark else ""
    if found not in KINDS or not (rest if mark else url):
        raise UserError(f"{url!r} is no remote; give s3://…, gs://…, azure://…, ssh://… or the path of a folder")
    return found


def told(*arguments: str) -> str:
    """What DVC answers; its refusal is a `UserError`."""
    done = dvc(*arguments)
    if done.returncode:
        what = "see that the place is there and that you may write to it, then run this again"
        raise UserError(f"dvc {arguments[0]}: {last_words(done.stderr)}; {what}")
    return done.stdout.strip()


def main(url: str, endpoint: str = "") -> int:
    """Give data and models a home at URL and bring them there; ENDPOINT is the server of an S3 of your own."""
    plugin, advice = KINDS[kind(url)]
    data = Path(load_params().data.path)
    plug_in(plugin)
    with kept_on_error(CONFIG):  # only a remote that took everything stays configured
        told("remote", "add", "--force", "--default", NAME, url)
        said = re.search("AccountName=([^;]+)", os.environ.get("AZURE_STORAGE_CONNECTION_STRING", ""))
        account = said[1] if said else os.environ.get("AZURE_STORAGE_ACCOUNT", "")
        if url.startswith("azure:") and account:  # no secret: a role without a key needs it
            told("remote", "modify", NAME, "account_name", account)
        if endpoint:
            told("remote", "modify", NAME, "endpointurl", endpoint)
        told("push", "--run-cache")
    if git("ls-files", "--", str(data)):
        dvc_add(data)
        told("push")
        print(f"{'remote':<10}{data} left git for DVC")
    if "in sync" not in told("status", "--cloud"):
        raise UserError(f"{url} lacks some of what dvc.lock names; `make pipeline`, then run this again")
    print(f"{'remote':<10}{url} holds what dvc.lock names")
    print(f"{'':<10}{advice}\n{'':<10}next: git add -A && git commit -m 'Data and models live at {url}'")
    return 0

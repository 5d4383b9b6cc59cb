"""The part of GitHub's API that writes git objects, on a real bare repository."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BOT = {"login": "github-actions[bot]", "type": "Bot"}
MAIL = "41898282+github-actions[bot]@users.noreply.github.com"
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "GIT_AUTHOR_NAME": BOT["login"],
    "GIT_AUTHOR_EMAIL": MAIL,
    "GIT_COMMITTER_NAME": "GitHub",
    "GIT_COMMITTER_EMAIL": "noreply@github.com",
}

Answer = tuple[int, Any]


@dataclass
class GitData:
    """Trees, commits and refs, as /repos/o/r/git/… gives and takes them."""

    origin: Path

    def git(self, *arguments: str, data: str | None = None) -> str:
        """What git answers."""
        index = {"GIT_INDEX_FILE": str(self.origin / "index-of-the-api")}
        command = ["git", "-C", str(self.origin), *arguments]
        done = subprocess.run(command, input=data, capture_output=True, text=True, env=ENVIRONMENT | index, check=True)
        return done.stdout.strip()

    def serve(self, method: str, path: str, body: Any) -> Answer:
        """Do what the call asks for."""
        kind, _, name = path.partition("/")
        try:
            if method == "GET":
                return self.branch(name) if kind == "ref" else self.read_commit(name)
            if method == "DELETE":
                return 204, self.git("update-ref", "-d", f"refs/{name}") or None
            writers = {"trees": self.tree, "commits": self.commit, "refs": self.ref}
            return writers[kind](name, body)
        except subprocess.CalledProcessError as problem:
            return (404 if method == "GET" else 422), {"message": problem.stderr.strip()}

    def branch(self, name: str) -> Answer:
        """Where a ref points."""
        sha = self.git("rev-parse", "--verify", f"refs/{name}")
        return 200, {"ref": f"refs/{name}", "object": {"sha": sha, "type": "commit"}}

    def read_commit(self, name: str) -> Answer:
        """A commit's tree, author and parents."""
        tree, author, parents = f"{self.git('log', '-1', '--format=%T%n%an%n%P', name)}\n".split("\n")[:3]
        about = {"sha": name, "tree": {"sha": tree}, "author": {"name": author}}
        return 200, about | {"parents": [{"sha": sha} for sha in parents.split()]}

    def tree(self, _: str, body: Any) -> Answer:
        """A new tree: the base's, with some files replaced."""
        blobs = (self.git("hash-object", "-w", "--stdin", data=entry["content"]) for entry in body["tree"])
        lines = [f"{entry['mode']} {blob}\t{entry['path']}" for entry, blob in zip(body["tree"], blobs, strict=True)]
        self.git("read-tree", body["base_tree"])
        self.git("update-index", "--add", "--index-info", data="\n".join(lines) + "\n")
        return 201, {"sha": self.git("write-tree")}

    def commit(self, _: str, body: Any) -> Answer:
        """A new commit, by the bot."""
        parents = [part for parent in body["parents"] for part in ("-p", parent)]
        return 201, {"sha": self.git("commit-tree", body["tree"], *parents, data=body["message"])}

    def ref(self, name: str, body: Any) -> Answer:
        """A new branch, or one that moves; backwards only by force."""
        if "ref" in body:
            self.git("update-ref", body["ref"], body["sha"], "0" * 40)
            return 201, self.branch(body["ref"].removeprefix("refs/"))[1]
        if not body.get("force"):
            self.git("merge-base", "--is-ancestor", f"refs/{name}", body["sha"])
        self.git("update-ref", f"refs/{name}", body["sha"])
        return self.branch(name)

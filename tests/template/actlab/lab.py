"""A pretended GitHub: runs a repository's workflows with act, without containers or network."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from . import workflows
from .fakegithub import FakeGitHub

DOUBLES = Path(__file__).resolve().parent / "doubles"
ACT = shutil.which("act", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}") or "act"
# What jobs get of our environment; everything else of it stays outside.
KEEP = re.compile(r"PATH|HOME|USER|LANG|TZ|TMPDIR|SSL_CERT_FILE|REQUESTS_CA_BUNDLE|(PIP|UV)_.*")
IDENTITY = {f"GIT_{who}_{what}": "ci@example.invalid" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


@dataclass
class Job:
    """What became of one job."""

    conclusion: str = "skipped"  # act prints nothing about a job that it skips
    steps: dict[str, str] = field(default_factory=dict)  # its outcome, before continue-on-error
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)  # by the step's id
    annotations: list[dict[str, str]] = field(default_factory=list)
    summary: str = ""
    log: str = ""
    broken: bool = False  # a step failed that may not
    times: list[datetime] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """From its first line to its last."""
        return (max(self.times) - min(self.times)).total_seconds() if self.times else 0.0


@dataclass
class Run:
    """What became of everything that one event started."""

    jobs: dict[str, Job]  # 'Workflow/job', 'Workflow/job (matrix values)', 'caller/Called workflow/job'
    artifacts: Path
    number: int = 0
    event: str = ""
    sha: str = ""
    tokens: dict[str, dict[str, str]] = field(default_factory=dict)
    ok: bool = True
    stderr: str = ""
    name: str = ""  # of the last workflow that was started

    def job(self, name: str) -> Job:
        """The job of that name, in full or without its workflow; skipped when it never began."""
        names = (key for key in self.jobs if name in (key, key.split("/", 1)[-1]))
        return self.jobs[found] if (found := next(names, None)) else Job()

    @property
    def conclusions(self) -> dict[str, str]:
        """Every job's conclusion, by the job's own name."""
        return {key.split("/", 1)[-1]: job.conclusion for key, job in self.jobs.items()}


def git(repository: Path, *arguments: str | Path) -> str:
    """What git answers in that repository, as a user of our own."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")} | IDENTITY
    command = ["git", "-C", str(repository), *map(str, arguments)]
    return subprocess.run(command, check=True, text=True, stdout=-1, env=env).stdout.strip()


@dataclass
class GitHub:
    """One repository as GitHub keeps it: commits, API, caches, secrets and settings."""

    origin: Path  # a bare repository
    tmp: Path
    api: FakeGitHub | None = None
    name: str = "acme/demo"
    secrets: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    doubles: dict[str, Path] = field(default_factory=dict)  # other folders in place of doubles/
    timeout: int = 600
    runs: int = 0

    def push(self, branch: str = "main", before: str = "", **options: Any) -> Run:
        """What a push starts: the workflows as they are in the pushed commit."""
        after = git(self.origin, "rev-parse", branch)
        parents = git(self.origin, "log", "-1", "--format=%P", after).split()
        before = before or next(iter(parents), "0" * 40)
        payload = {"ref": f"refs/heads/{branch}", "before": before, "after": after}
        payload |= {"created": not before.strip("0"), "forced": False}
        changed = self.changed(before, after) if before.strip("0") else ["?"]
        return self.run("push", payload, f"refs/heads/{branch}", after, changed=changed, **options)

    def pull_request(
        self,
        head: str,
        base: str = "main",
        number: int = 1,
        action: str = "opened",
        fork: str = "",
        changes: dict[str, Any] | None = None,
        **options: Any,
    ) -> Run:
        """What a pull request starts, as it is in refs/pull/N/merge; on a conflict nothing."""
        b, h = git(self.origin, "rev-parse", base), git(self.origin, "rev-parse", head)
        try:
            tree = git(self.origin, "merge-tree", "--write-tree", b, h).split()[0]
        except subprocess.CalledProcessError:
            return Run({}, self.tmp)
        merge = git(self.origin, "commit-tree", tree, "-p", b, "-p", h, "-m", f"Merge {h} into {b}")
        git(self.origin, "update-ref", ref := f"refs/pull/{number}/merge", merge)
        title = git(self.origin, "log", "-1", "--format=%s", h)
        sides = {
            "base": {"ref": base, "sha": b, "repo": {"full_name": self.name}},
            "head": {
                "ref": head,
                "sha": h,
                "repo": {"full_name": fork or self.name, "fork": bool(fork)},
            },
        }
        pull = {"number": number, "title": title, "user": {"login": "octocat"}, **sides}
        payload = {"action": action, "number": number, "pull_request": pull, "changes": changes or {}}
        options["env"] = {
            "GITHUB_BASE_REF": base,
            "GITHUB_HEAD_REF": head,
            **options.get("env", {}),
        }
        changed = self.changed(b, tree)
        return self.run("pull_request", payload, ref, merge, changed=changed, fork=bool(fork), **options)

    def dispatch(
        self,
        workflow: str,
        branch: str = "main",
        inputs: dict[str, str] | None = None,
        **options: Any,
    ) -> Run:
        """What the button "Run workflow" starts, or the API's dispatch."""
        payload = {"inputs": inputs or {}, "ref": f"refs/heads/{branch}"}
        return self.on_branch("workflow_dispatch", payload, branch, only=workflow, **options)

    def schedule(self, workflow: str, **options: Any) -> Run:
        """What the clock starts, on the default branch."""
        return self.on_branch("schedule", {}, only=workflow, **options)

    def repository_dispatch(self, kind: str, payload: dict[str, Any] | None = None, **options: Any) -> Run:
        """What a call of the API's /dispatches starts, on the default branch."""
        event = {"action": kind, "client_payload": payload or {}}
        return self.on_branch("repository_dispatch", event, **options)

    def merge_group(self, branch: str, **options: Any) -> Run:
        """What the merge queue starts for one pull request of that branch."""
        base = git(self.origin, "rev-parse", "main")
        head = git(self.origin, "rev-parse", branch)
        group = {"base_sha": base, "head_sha": head, "base_ref": "refs/heads/main"}
        return self.on_branch("merge_group", {"action": "checks_requested", "merge_group": group}, branch, **options)

    def workflow_run(self, workflow: str, after: Run, **options: Any) -> Run:
        """What the end of a run on main starts: the named workflow, told which run and commit it was."""
        ended = {
            "id": after.number,
            "name": after.name,
            "head_sha": after.sha,
            "head_branch": "main",
        }
        ended |= {"event": after.event, "conclusion": "success" if after.ok else "failure"}
        event = {"action": "completed", "workflow_run": ended}
        return self.on_branch("workflow_run", event, only=workflow, **options)

    def on_branch(self, event: str, payload: dict[str, Any], branch: str = "main", **options: Any) -> Run:
        """What an event starts that is about a branch."""
        sha = git(self.origin, "rev-parse", branch)
        return self.run(event, payload, f"refs/heads/{branch}", sha, **options)

    def changed(self, before: str, after: str) -> list[str]:
        """The files that differ between two commits or trees."""
        return git(self.origin, "diff", "--name-only", before, after).split()

    def run(
        self,
        event: str,
        payload: dict[str, Any],
        ref: str,
        sha: str,
        *,
        only: str = "",
        changed: list[str] | None = None,
        fork: bool = False,
        env: dict[str, str] | None = None,
    ) -> Run:
        """Run every workflow that this event starts (`only`: that file alone) as in a commit."""
        self.runs += 1
        folder = self.tmp / f"run-{self.runs}"
        tree, result = self.lay(folder / "tree", sha), Run({}, folder / "artifacts", self.runs)
        result.event, result.sha = event, sha
        result.artifacts.mkdir()
        (folder / "event.json").write_text(json.dumps({**self.repository(), **payload}))
        files = {path: workflows.load(path) for path in workflows.sources(tree)}
        started = [
            path
            for path, parsed in files.items()
            if path.parent.name == "workflows"
            and only in ("", path.name)
            and workflows.triggered(parsed, event, payload, ref, changed or [])
        ]
        for path in (tree / ".github/workflows").glob("*.y*ml"):
            result.tokens |= workflows.plant(path, fork)
        if self.api:
            self.api.tokens |= result.tokens
        flags = [*self.flags(folder, {} if fork else self.secrets), *self.mapped(files.values())]
        variables = self.environment(folder, ref, sha) | (env or {})
        for path in started:
            result.name = files[path]["name"]
            self.act(result, [event, "-W", str(path), *flags, *pairs("--env", variables)])
        for name, job in result.jobs.items():
            (folder / f"{name.replace('/', '·')}.log").write_text(job.log)
        return result

    def act(self, result: Run, arguments: list[str]) -> None:
        """Run one workflow file and add what became of its jobs."""
        kept = {key: value for key, value in os.environ.items() if KEEP.fullmatch(key)}
        done = subprocess.run(
            [ACT, *arguments],
            text=True,
            capture_output=True,
            env=kept,
            timeout=self.timeout,
            check=False,
        )
        parse(done.stdout, result.jobs)
        result.ok &= done.returncode == 0 and all(j.conclusion != "running" for j in result.jobs.values())
        result.stderr += done.stderr

    def lay(self, tree: Path, sha: str) -> Path:
        """A folder with the commit's .github and actions, all that is read here: jobs check out the rest."""
        tree.mkdir(parents=True)
        git(tree, "init", "-q", "-b", "main")
        names = git(self.origin, "ls-tree", "-r", "--name-only", sha, "packages").split("\n")
        carried = [name for name in names if fnmatch(name, "packages/*/actions/*")]
        archive = ["git", "-C", str(self.origin), "archive", sha, ".github", *carried]
        packed = subprocess.run(archive, check=True, capture_output=True).stdout
        subprocess.run(["tar", "-x", "-C", str(tree)], input=packed, check=True)
        return tree

    def repository(self) -> dict[str, Any]:
        """What every event's payload says of the repository."""
        owner, short = self.name.split("/")
        about = {
            "full_name": self.name,
            "name": short,
            "owner": {"login": owner},
            "default_branch": "main",
        }
        return {"repository": about}

    def environment(self, folder: Path, ref: str, sha: str) -> dict[str, str]:
        """The variables of every step: GitHub's own, ours for the doubles, and the test's."""
        base = {
            "GITHUB_REPOSITORY": self.name,
            "GITHUB_REPOSITORY_OWNER": self.name.split("/", maxsplit=1)[0],
            "GITHUB_REF": ref,
            "SHA_REF": sha,
            "ACTLAB_ORIGIN": str(self.origin),
            "GITHUB_RUN_ID": str(self.runs),
            "ACTLAB_ARTIFACTS": str(folder / "artifacts"),
            "ACTLAB_CACHE": str(self.tmp / "caches"),
            "TERM": "dumb",
            "PAGER": "cat",
            "NO_COLOR": "1",
        }
        return base | ({"GITHUB_API_URL": self.api.url} if self.api else {}) | self.env

    def flags(self, folder: Path, secrets: dict[str, str]) -> list[str]:
        """act's command line but for the event, the variables and the actions."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        flags = ["--json", "-C", str(folder / "tree"), "-e", str(folder / "event.json")]
        flags += ["--no-skip-checkout", "--no-cache-server", "--actor", "octocat"]
        flags += ["--action-cache-path", str(folder / "act"), "--artifact-server-port", str(port)]
        flags += [
            "--artifact-server-path",
            str(folder / "act"),
            "--artifact-server-addr",
            "127.0.0.1",
        ]
        for kind in ("env", "secret", "var", "input"):
            flags += [f"--{kind}-file", "/dev/null"]
        for label in ("ubuntu-latest", "ubuntu-24.04"):
            flags += ["-P", f"{label}=-self-hosted"]
        return flags + pairs("-s", secrets) + pairs("--var", self.variables)

    def mapped(self, files: Any) -> Iterator[str]:
        """act's flags that put a double in the place of every action; a missing one is an error."""
        for uses in sorted(set(workflows.actions(list(files)))):
            path, _, version = uses.partition("@")
            action = "/".join(path.split("/")[:2])
            if ".github/workflows" in path:
                continue
            double = self.doubles.get(action) or DOUBLES / action.replace("/", "__")
            if not (double / path.removeprefix(action).strip("/") / "action.yml").is_file():
                raise LookupError(f"no double for {uses}: write {double}")
            yield from ("--local-repository", f"{action}@{version}={double}")


def pairs(flag: str, values: dict[str, str]) -> list[str]:
    """`flag key=value` for each of them."""
    return [part for key, value in values.items() for part in (flag, f"{key}={value}")]


def parse(stdout: str, jobs: dict[str, Job]) -> None:
    """Read act's JSON lines into jobs."""
    for row in map(json.loads, stdout.splitlines()):
        if "job" not in row:
            continue
        matrix = ", ".join(map(str, (row["matrix"] or {}).values()))
        name = row["job"].strip() + (f" ({matrix})" if matrix else "")
        job = jobs.setdefault(name, Job("running"))
        job.log += row["msg"].rstrip("\n") + "\n"
        job.times.append(datetime.fromisoformat(row["time"]))
        note(job, row, bool(matrix))


def note(job: Job, row: dict[str, Any], matrix: bool) -> None:
    """Take what one line of act's says about a job."""
    command, step = row.get("command"), (row.get("stepID") or [""])[-1]
    if command == "set-output":
        job.outputs.setdefault(step, {})[row["name"]] = row["arg"]
    elif command == "summary":
        job.summary += row["content"]
    elif command in ("error", "warning", "notice"):
        job.annotations.append({"level": command, "message": row["arg"], **(row.get("kvPairs") or {})})
    elif "jobResult" in row:  # act gives every job of a matrix the matrix's result
        job.conclusion = "success" if matrix and not job.broken else row["jobResult"]
    elif "stepResult" in row and row.get("stage") == "Main" and len(row.get("stepID", [])) == 1:
        job.steps[row["step"]] = row["stepResult"]
    job.broken |= row["level"] == "error" and not command

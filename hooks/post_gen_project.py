"""Prunes what was not chosen, brings the library, keeps the answers, makes the first commit; offline, best-effort."""

import json
import os
import shutil
import subprocess
import tempfile
from hashlib import sha256
from pathlib import Path

ANSWERS = json.loads(r"""{{ cookiecutter | jsonify }}""")
QUESTIONS = json.loads(r"""{{ cookiecutter.keys() | list | jsonify }}""")  # in their own order

SHIPS = (
    *("Dockerfile", ".dockerignore", "compose.yaml", "deploy/front", "requirements/compiled.txt"),
    *(f".github/workflows/{name}.yml" for name in ("deploy", "reusable-deploy", "reusable-image")),
)
KEEP = {
    "LICENSE": ANSWERS["license"] != "Proprietary",
    **dict.fromkeys(SHIPS, ANSWERS["deploy"] != "none"),
}
LIBRARY = Path("packages/modelyard")
BROUGHT = ".brought"  # the digest of the library's files, by which an update sees whether somebody changed them
CACHES = ("__pycache__", "*.egg-info", ".*_cache", ".hypothesis", BROUGHT)
MESSAGE = "Start from the template"
COMMIT = f'git add --all && git commit -m "{MESSAGE}"'
WHO = "git config --global user.name 'A Person' && git config --global user.email a@example.org"
BY_HAND = f"git init && git symbolic-ref HEAD refs/heads/main && {COMMIT}"
# Set where a git hook or alias runs us: they would point git at another repository.
FOREIGN = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY")


def git(*args: str, cwd: Path | None = None) -> str | None:
    """What git prints, or None where it failed or is not installed."""
    env = {key: value for key, value in os.environ.items() if key not in FOREIGN}
    command = ["git", *args]
    options = {"cwd": cwd, "env": env, "stdin": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    try:
        return subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, **options).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def prune() -> None:
    """Remove the files of the options that were not chosen."""
    for name in (name for name, kept in KEEP.items() if not kept):
        if Path(name).is_dir():
            shutil.rmtree(name)
        else:
            Path(name).unlink(missing_ok=True)


def bring_library() -> str | None:
    """Put the library where a checkout without symlinks left a text file; clean it and record its digest."""
    source = Path(os.environ.get("PWD", "."), ANSWERS.get("_repo_dir", ""), LIBRARY)
    if not LIBRARY.is_dir():
        if not (source / "src").is_dir():
            return f"{LIBRARY} did not come along: copy that folder from the template's repository"
        LIBRARY.unlink(missing_ok=True)
        shutil.copytree(source, LIBRARY)
    for pattern in CACHES:
        for path in list(LIBRARY.rglob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    (LIBRARY / BROUGHT).write_text(digest(LIBRARY) + "\n", encoding="utf-8")
    return None


def digest(folder: Path) -> str:
    """The SHA-256 of the list that `sha256sum` prints of a folder's files, in order of their names."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    lines = (f"{sha256(files[name].read_bytes()).hexdigest()}  {name}\n" for name in sorted(files))
    return sha256("".join(lines).encode()).hexdigest()


def template() -> tuple[str, str | None]:
    """Where this template lies and its commit, as an update tool needs them."""
    if "_commit" in ANSWERS:
        return ANSWERS["_template"], ANSWERS["_commit"]
    folder = Path(os.environ.get("PWD", "."), ANSWERS["_repo_dir"])
    top = git("rev-parse", "--show-toplevel", cwd=folder) if folder.is_dir() else None
    if top is None or not folder.samefile(top):
        return ANSWERS["_template"], None
    local = Path(os.environ.get("PWD", "."), ANSWERS["_template"]).is_dir()
    origin = None if local else git("remote", "get-url", "origin", cwd=folder)
    return origin or str(folder.resolve()), git("rev-parse", "HEAD", cwd=folder)


def keep_answers() -> str | None:
    """Write what `cruft update` reads, as cruft writes it; else say what is missing."""
    source, commit = template()
    private = ("_output_dir", "_repo_dir", "_checkout", "_template", "_commit")
    answers = {key: ANSWERS[key] for key in QUESTIONS if key not in private}
    answers |= {"_template": source, "_commit": commit}
    state = {
        "template": source,
        "commit": commit,
        "checkout": ANSWERS.get("_checkout"),
        "context": {"cookiecutter": answers},
        "directory": None,
    }
    content = json.dumps(state, ensure_ascii=False, indent=2) + "\n"
    Path(".cruft.json").write_text(content, encoding="utf-8")
    return None if commit else "the template's commit is unknown: name it in .cruft.json to update"


def updating() -> bool:
    """Whether cruft renders only to compare: straight into a temporary folder of its own."""
    parent = Path.cwd().parent
    temporary = parent.parent == Path(tempfile.gettempdir()).resolve()
    return "_output_dir" not in ANSWERS and temporary and parent.name.startswith("tmp")


def first_commit() -> str | None:
    """Make the project a repository with one commit; else say what to run by hand."""
    if git("--version") is None:
        return f"git is not installed; then run: {BY_HAND}"
    top = git("rev-parse", "--show-toplevel")
    own = top is not None and Path.cwd().samefile(top)
    if top and not own and git("check-ignore", "--quiet", ".") is None:
        return f"inside the repository {top}, so no repository of its own; for one: {BY_HAND}"
    if own and git("rev-parse", "--verify", "HEAD") is not None:
        return "already a repository, nothing committed; see: git status && git diff"
    if not own and git("init", "--quiet") is None:
        return f"git init failed; run: {BY_HAND}"
    if not own:
        git("symbolic-ref", "HEAD", "refs/heads/main")  # git before 2.28 has no --initial-branch
    git("config", "--add", "modelyard.template", template()[0])  # `make update` asks for any other address
    if git("add", "--all") is None or git("commit", "--quiet", "-m", MESSAGE) is None:
        return f"git commit failed (has git your name and e-mail?); run: {WHO} && {COMMIT}"
    return None


def main() -> None:
    """Do each step, and say what is left to do by hand."""
    prune()
    left_behind = bring_library()
    if updating():
        return
    for left in (left_behind, keep_answers(), first_commit()):
        if left:
            print(f"note: {left}")
    print(f"{ANSWERS['project_slug']} is ready. Next: cd {Path.cwd()} && make pipeline")


if __name__ == "__main__":
    main()

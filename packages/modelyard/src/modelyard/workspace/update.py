"""Bring a newer template to this project: the library is replaced, the other files are merged in three ways."""

from pathlib import Path

from modelyard.core.console import print_line, print_result
from modelyard.core.errors import UserError
from modelyard.core.process import read_git_bytes, run_git, run_process
from modelyard.core.project import Project
from modelyard.workspace.library import DIGEST_FILE, LIBRARY, is_library_unchanged
from modelyard.workspace.template import (
    CRUFT_FILE,
    RenderedProject,
    TemplateState,
    clone_template,
    confirm_commit,
    list_changelog_entries,
    print_changelog_entries,
    render_template,
)

UPDATE_BRANCH = "template-update"
PATCH_FILE = LIBRARY.with_suffix(".patch")
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"  # git's name for no files at all


class ChangedLibraryError(UserError):
    """The library's folder is not as the template brought it, so that an update would lose the change.

    Parameters
    ----------
    paths
        The files that differ.
    """

    def __init__(self, paths: list[str]) -> None:
        super().__init__(
            f"{LIBRARY} was changed in {len(paths)} files (above); `make update KEEP=1` keeps the change as a patch, "
            "to be applied again after the update"
        )
        self.paths = paths


class UncommittedChangesError(UserError):
    """The work tree has changes that an update would mix with its own."""

    def __init__(self) -> None:
        super().__init__("there are changes that are not committed; commit them, then run this again")


def diff_library(brought: RenderedProject) -> tuple[bytes, list[str]]:
    """Compare the library's folder with the one that the template brought.

    Parameters
    ----------
    brought
        The project as the template made it at the last update.

    Returns
    -------
    tuple[bytes, list[str]]
        The difference as a patch, and the paths of the files that differ; both empty where nothing was changed.
    """
    if not LIBRARY.exists() or is_library_unchanged():
        return b"", []
    trees = [find_library_tree(brought.whole), find_library_tree("HEAD")]
    sides = [*trees, "--", ":(top)", f":(top,exclude){DIGEST_FILE}"]
    names = run_git("diff-tree", "-r", "--name-only", *sides).splitlines()
    folder = run_git("rev-parse", "--show-prefix") + str(LIBRARY)  # `git apply` counts from the repository's top
    prefixes = [f"--src-prefix=a/{folder}/", f"--dst-prefix=b/{folder}/"]
    return read_git_bytes("diff-tree", "-r", "--patch", "--binary", *prefixes, *sides), names


def find_library_tree(tree: str) -> str:
    """Return the git tree of the library's folder in a tree or commit; the empty tree where there is none."""
    try:
        return run_git("rev-parse", "--verify", "--quiet", f"{tree}:./{LIBRARY}")
    except UserError:
        return EMPTY_TREE


def merge_trees(old: str, new: str) -> list[str]:
    """Merge what changed from one tree to another into this folder and the index.

    Parameters
    ----------
    old, new
        Git trees of the project as the template made it then and as it makes it now.

    Returns
    -------
    list[str]
        The files in conflict.

    Raises
    ------
    UserError
        If git refuses to merge; nothing was changed then.
    """
    parent = run_git("commit-tree", old, "-m", "The template as it was")
    change = run_git("commit-tree", new, "-p", parent, "-m", "The template as it is")
    try:
        run_git("cherry-pick", "--no-commit", change)
    except UserError as problem:
        if not run_git("ls-files", "--unmerged"):
            raise UserError(f"{problem}; nothing was changed") from None
    for path in list_removed_here():
        run_git("rm", "--quiet", "--force", "--", path)
    return run_git("diff", "--name-only", "--diff-filter=U", "--relative").splitlines()


def list_removed_here() -> list[str]:
    """Return the files in conflict that the project removed and the template went on changing."""
    stages = dict[str, set[str]]()
    for line in filter(None, run_git("ls-files", "--unmerged", "-z").split("\0")):
        entry, _, path = line.partition("\t")
        stages.setdefault(path, set()).add(entry.split()[2])
    return [path for path, found in stages.items() if found == {"1", "3"}]


def replace_library(rendered: RenderedProject) -> None:
    """Put the library of a rendered project in place of the one that is here, in the folder and in the index."""
    run_git("rm", "-r", "--quiet", "--force", "--ignore-unmatch", "--", str(LIBRARY))
    if find_library_tree(rendered.whole) != EMPTY_TREE:
        run_git("checkout", rendered.whole, "--", str(LIBRARY))


def apply_update(old: RenderedProject, new: RenderedProject, branch: str) -> list[str]:
    """Switch to a branch and bring the newer template there; go back where git refuses.

    Returns
    -------
    list[str]
        The files in conflict.
    """
    run_git("switch", "--quiet", "-C", branch)
    try:
        conflicts = merge_trees(old.own, new.own)
    except UserError:
        run_git("switch", "--quiet", "-")
        raise
    replace_library(new)
    return conflicts


def name_branch() -> str:
    """Return the branch of an update; in a folder of a larger repository, it carries the project's name."""
    if run_git("rev-parse", "--show-prefix"):
        return f"{UPDATE_BRANCH}-{Project.load().name}"
    return UPDATE_BRANCH


def print_conflicts(conflicts: list[str]) -> None:
    """Print the files in conflict and what to do with them."""
    for path in conflicts:
        print_result("conflict", f"{path}: both changed it; where lines met, yours stand above =======")
    print_result("update", "edit these, `git add` them, `make test`, `git commit`; or `git switch -f -` to go back")
    if any(path.startswith("requirements/") for path in conflicts):
        print_line(f"{'':<10}pins: `git checkout --theirs requirements && make lock UPGRADE=` makes them anew")


def keep_patch(patch: bytes) -> None:
    """Write the change of the library to a file, and print how to apply it again."""
    PATCH_FILE.parent.mkdir(exist_ok=True)
    PATCH_FILE.write_bytes(patch)
    print_result("kept", f"your change of {LIBRARY} is in {PATCH_FILE}; to apply it again:")
    print_line(f"{'':<10}git apply --3way {PATCH_FILE} && rm {PATCH_FILE}")


def finish_update(conflicts: list[str], commit: str, test: bool) -> int:
    """Print what is left to do: conflicts to decide; without any, commit the update and run the tests.

    Parameters
    ----------
    conflicts
        The files in conflict.
    commit
        The commit of the template that the project now follows.
    test
        Whether to run the tests.

    Returns
    -------
    int
        The exit code.
    """
    if conflicts:
        print_conflicts(conflicts)
        return 1
    run_git("commit", "--quiet", "--no-verify", "--message", f"Template at {commit[:9]}")
    branch = run_git("branch", "--show-current")
    print_result("update", f"committed on the branch {branch}; `git switch -` goes back")
    return run_process(["make", "--no-print-directory", "test"], shown=True).returncode if test else 0


def main(to: str = "", test: bool = True, keep: bool = False, yes: bool = False, cookiecutter: str = "") -> int:
    """Bring the template's newest commit (or TO) on a branch, print what is new, run the tests (TEST=0 does not).

    KEEP=1 keeps a change of packages/modelyard as a patch; YES=1 accepts an address that is new to this clone, and a
    commit that is not on the template's default branch; COOKIECUTTER is the command that renders.
    """
    if run_git("status", "--porcelain"):
        raise UncommittedChangesError
    state = TemplateState.load()
    state.confirm_address(yes)
    with clone_template(state, to) as template:
        new_commit = run_git("rev-parse", "HEAD", cwd=template)
        if new_commit == state.commit:
            print_result("update", "this project follows the newest template already")
            return 0
        for commit in (state.commit, new_commit):
            confirm_commit(template, commit, yes)
        entries = list_changelog_entries(template, state.commit, new_commit)
        old, new = (
            render_template(template, commit, state.answers, Path(template.parent, commit), cookiecutter)
            for commit in (state.commit, new_commit)
        )
    patch, changed = diff_library(old)
    if changed and not keep:
        print_line(patch.decode(errors="replace"))
        raise ChangedLibraryError(changed)
    conflicts = apply_update(old, new, name_branch())
    state.save(new_commit)
    run_git("add", "--", str(CRUFT_FILE))
    print_changelog_entries(entries)
    if changed:
        keep_patch(patch)
    return finish_update(conflicts, new_commit, test)

"""A project follows the template: `cruft` brings what is new and keeps what its owner changed."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.template.support import Bake, BakedProject, copy_worktree, run

BIN = Path(sys.executable).parent
CRUFT = BIN / "cruft"
MODULE = "packages/modelyard/src/modelyard/core/paths.py"
OWN = {"notes/plan.md": "# Plan\n", ".dvcignore": "# our own\nnotes/\n"}


def head(repository: Path) -> str:
    return run("git", "rev-parse", "HEAD", cwd=repository).strip()


def oldest(template: Path) -> str | None:
    """The first commit that could render a project, if the clone reaches back that far."""
    log = run("git", "rev-list", "--reverse", "HEAD", "--", "cookiecutter.json", cwd=template)
    return next((commit for commit in log.split() if commit != head(template)), None)


def create(template: Path, folder: Path, *options: str) -> BakedProject:
    run(CRUFT, "create", "--no-input", "--default-config", *options, template, cwd=folder)
    return BakedProject(folder / "flight-delays")


def change(project: BakedProject) -> None:
    """What an owner does: a file of their own, and a line in one of the template's."""
    for name, text in OWN.items():
        path = project.path / name
        path.parent.mkdir(exist_ok=True)
        before = path.read_text() if path.exists() else ""
        path.write_text(text + before)
    project.commit("Our own")


def update(project: BakedProject) -> None:
    project.run(CRUFT, "update", "--skip-apply-ask")
    assert not list(project.path.rglob("*.rej"))
    assert project.run("git", "diff", "--name-only", "--diff-filter=U") == ""


@pytest.fixture
def newer(template: Path, tmp_path: Path) -> Path:
    """The template with one more commit: a new file, and a new last line of .dvcignore."""
    clone = tmp_path / "newer" / template.name
    run("git", "clone", "--quiet", template, clone, cwd=template)
    project = next(clone.glob("{{*"))
    (project / "NEW.md").write_text("{{cookiecutter.project_name}}\n")
    (project / ".dvcignore").write_text((project / ".dvcignore").read_text() + "# new\n")
    run("git", "add", "--all", cwd=clone)
    run("git", "commit", "--quiet", "--message", "newer", cwd=clone)
    return clone


def test_create_leaves_a_clean_work_tree(template: Path, tmp_path: Path) -> None:
    project = create(template, tmp_path)
    assert project.run("git", "status", "--porcelain") == ""
    assert json.loads(project.read(".cruft.json"))["commit"] == head(template)


def test_cookiecutter_keeps_the_same_answers_as_cruft(template: Path, fresh: Bake, tmp_path: Path) -> None:
    other = tmp_path / "cruft"
    other.mkdir()
    assert fresh().read(".cruft.json") == create(template, other).read(".cruft.json")


def test_no_template_reads_the_commit_of_another_repository(template: Path, tmp_path: Path) -> None:
    run("git", "init", "--quiet", ".", cwd=tmp_path)
    run("git", "commit", "--quiet", "--allow-empty", "--message", "other", cwd=tmp_path)
    copy_worktree(template, tmp_path / "copy")
    command = (sys.executable, "-m", "cookiecutter", "--no-input", "--default-config", "copy")
    run(*command, cwd=tmp_path)
    assert json.loads((tmp_path / "flight-delays" / ".cruft.json").read_text())["commit"] is None


def test_update_from_the_oldest_commit_gives_the_present(template: Path, tmp_path: Path, bake: Bake) -> None:
    if (old := oldest(template)) is None:
        pytest.skip("this clone has no history")
    project = create(template, tmp_path, "--checkout", old)
    project.commit("Start")
    change(project)
    update(project)
    present = bake()
    assert project.files() - set(OWN) == present.files() - set(OWN)
    names = sorted(present.files())
    different = {name for name in names if project.read_bytes(name) != present.read_bytes(name)}
    assert different <= {".cruft.json", *OWN}
    assert "# our own" in project.read(".dvcignore") and project.has("notes/plan.md")
    assert json.loads(project.read(".cruft.json"))["commit"] == head(template)


def test_update_merges_a_change_on_both_sides(fresh: Bake, newer: Path) -> None:
    project = fresh(project_name="O'Brien & Söhne")
    change(project)
    state = json.loads(project.read(".cruft.json")) | {"template": str(newer)}
    (project.path / ".cruft.json").write_text(json.dumps(state))
    project.commit("The template has moved")
    update(project)
    assert project.read("NEW.md") == "O'Brien & Söhne\n"
    assert project.read(".dvcignore").endswith("# new\n")
    assert project.read(".dvcignore").startswith("# our own\nnotes/\n")


def test_update_with_nothing_new_changes_nothing(fresh: Bake) -> None:
    project = fresh()
    assert "already up to date" in project.run(CRUFT, "update", "--skip-apply-ask")
    assert project.run("git", "status", "--porcelain") == ""


def test_update_does_not_bring_back_what_was_removed(fresh: Bake, newer: Path) -> None:
    project = fresh()
    shutil.rmtree(project.path / "data" / "raw")
    state = json.loads(project.read(".cruft.json")) | {"template": str(newer)}
    (project.path / ".cruft.json").write_text(json.dumps(state))
    project.commit("Our own data lies elsewhere")
    update(project)
    assert project.has("NEW.md") and not project.has("data/raw")


def releases(template: Path) -> list[str]:
    """Every tag, the first commit that could render, and three between it and the present."""
    if (first := oldest(template)) is None:
        pytest.skip("this clone has no history")
    log = [first, *run("git", "rev-list", "--reverse", f"{first}..HEAD", cwd=template).split()]
    tags = run("git", "tag", "--list", cwd=template).split()
    return [*tags, *(log[len(log) * part // 4] for part in range(4))]


def work(project: BakedProject) -> dict[str, str]:
    """What an owner does: parameters, features, a file of their own; what each file must then hold."""
    mine = {
        "params.yaml": ("seed: 0", "seed: 7"),
        "README.md": ("\n", "\nWhat we learned stands in notes.\n"),
        "src/flight_delays/features.py": (
            "    return table",
            "    table['mine'] = 1.0\n    return table",
        ),
    }
    mine = {name: texts for name, texts in mine.items() if project.has(name)}
    for name, (before, after) in mine.items():
        (project.path / name).write_text(project.read(name).replace(before, after, 1))
    (project.path / "notes.md").write_text("mine\n")
    project.commit("Our own")
    return {name: after.strip().splitlines()[0] for name, (_, after) in mine.items()}


@pytest.mark.slow
def test_make_update_brings_every_release_to_the_present(
    template: Path, tmp_path: Path, bake: Bake, environment: Path
) -> None:
    """A three-way merge on a branch, whatever was changed; the verb is the present's."""
    present = bake()
    options = ("--no-test", "--yes", "--cookiecutter", BIN / "cookiecutter")
    command = (environment / "bin/python", "-m", "modelyard", "update", *options)
    for old in releases(template):
        folder = tmp_path / old
        folder.mkdir()
        project = create(template, folder, "--checkout", old)
        mine = work(project)
        answers = json.loads(project.read(".cruft.json")) | {"checkout": None}
        (project.path / ".cruft.json").write_text(json.dumps(answers))
        project.commit("Follow the newest")
        said = project.run(*command, check=False, PYTHONPATH=str(present.path / "packages/modelyard/src"))
        assert project.run("git", "branch", "--show-current").strip() == "template-update", said
        met = re.findall(r"(?m)^conflict  (\S+):", said)  # both sides are there, and the word is the owner's
        assert set(met) <= set(mine), said
        assert all("<<<<<<<" in project.read(name) for name in met)
        same = set(present.run("git", "ls-files").split()) - set(mine) - {".cruft.json"}
        different = {n for n in same if not project.has(n) or project.read_bytes(n) != present.read_bytes(n)}
        assert different == set(), (old, said)
        assert all(text in project.read(name) for name, text in mine.items()), old
        assert project.read("notes.md") == "mine\n"
        assert json.loads(project.read(".cruft.json"))["commit"] == head(template)


def follow(project: BakedProject, template: Path) -> None:
    """Let a project follow another template, and have one test only."""
    state = json.loads(project.read(".cruft.json")) | {"template": str(template)}
    (project.path / ".cruft.json").write_text(json.dumps(state))
    for path in project.path.glob("tests/test_*.py"):
        path.unlink()
    (project.path / "tests").mkdir(exist_ok=True)
    (project.path / "tests/test_only.py").write_text("def test_only() -> None:\n    pass\n")
    project.commit("One test")


@pytest.fixture
def larger(newer: Path) -> Path:
    """The newer template, with an entry in its changelog and another line in a module of the library."""
    changes = newer / "CHANGELOG.md"
    changes.write_text(changes.read_text().replace("### Added\n\n", "### Added\n\n- Flying cars.\n", 1))
    with (newer / MODULE).open("a") as file:
        file.write("NEWER = True\n")
    run("git", "commit", "--quiet", "--all", "--message", "cars", cwd=newer)
    return newer


@pytest.mark.slow
def test_make_update_says_what_is_new_replaces_the_library_and_runs_the_tests(
    fresh: Bake, larger: Path, environment: Path
) -> None:
    project, options = fresh(), (f"VENV={environment}", f"COOKIECUTTER={BIN / 'cookiecutter'}")
    follow(project, larger)
    said = project.make("update", *options, check=False)
    assert "make update YES=1" in said and f"template  {larger} at " in said
    said = project.make("update", "YES=1", *options)
    assert "new       Flying cars." in said and "1 passed" in said
    assert project.read("NEW.md") == "Flight Delays\n"
    assert project.read(MODULE).endswith("NEWER = True\n")
    assert project.run("git", "status", "--porcelain") == ""
    assert "follows the newest template already" in project.make("update", *options)


@pytest.mark.slow
def test_make_update_stops_at_a_changed_library_and_keeps_the_change_when_asked(
    fresh: Bake, larger: Path, environment: Path
) -> None:
    project = fresh()
    options = (f"VENV={environment}", f"COOKIECUTTER={BIN / 'cookiecutter'}", "YES=1", "TEST=0")
    text = project.read(MODULE)
    (project.path / MODULE).write_text(f"MINE = True\n{text}")
    follow(project, larger)
    said = project.make("update", *options, check=False)
    assert "\n+MINE = True\n" in said and "make update KEEP=1" in said
    assert project.run("git", "status", "--porcelain") == ""
    project.make("update", "KEEP=1", *options)
    assert project.read(MODULE) == f"{text}NEWER = True\n"
    project.run("git", "apply", "--3way", "packages/modelyard.patch")
    assert project.read(MODULE) == f"MINE = True\n{text}NEWER = True\n"


def test_recorded_digest_is_that_of_the_library(bake: Bake) -> None:
    project = bake()
    command = "git ls-files . ':!.brought' | LC_ALL=C sort | xargs -d '\\n' sha256sum | sha256sum"
    said = run("sh", "-c", command, cwd=project.path / "packages/modelyard")
    assert said.split()[0] == project.read("packages/modelyard/.brought").strip()

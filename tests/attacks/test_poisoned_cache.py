"""A branch's pipeline replaces the champion's model in DVC's cache by a weak one."""

import pytest

from tests.attacks.support import Attack

pytestmark = pytest.mark.slow


POISON = """\
import os
from pathlib import Path
import yaml

lock = yaml.safe_load(os.popen("git show main:dvc.lock").read())
digest = next(out["md5"] for out in lock["stages"]["train"]["outs"] if out["path"] == "models/model.skops")
cached = Path(".dvc/cache/files/md5", digest[:2], digest[2:])
cached.unlink()
cached.write_bytes(Path("models/model.skops").read_bytes())
"""


def test_a_weak_champion_from_the_cache_is_not_believed(attack: Attack) -> None:
    attack.weaken()
    attack.run_pipeline()
    attack.project.run(attack.environment / "bin/python", "-c", POISON)
    verdict = attack.judge(1)
    assert (verdict["verdict"], verdict["champion"]["source"]) == ("worse", "rebuilt")

import re
from pathlib import Path

import joblib
import pytest

from modelyard.core import parallel
from modelyard.core.errors import OptionError
from modelyard.core.params import ComputeParams, load_params
from modelyard.workspace import compute


def test_local_workers_are_joblibs() -> None:
    with parallel.use_parallel_backend(ComputeParams(workers=3)) as most:
        assert most == joblib.effective_n_jobs(None) == 3


def test_a_cluster_that_does_not_answer_is_reported_and_the_work_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    with parallel.use_parallel_backend(ComputeParams("dask", "tcp://127.0.0.1:9")) as most:
        assert most == 1
    assert "until then this machine does the work" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"backend": "spark"}, "Invalid enum value 'spark'.*; give BACKEND=dask"),
        ({"backend": "dask"}, "give ADDRESS=tcp://"),
        ({"workers": 0}, ">= 1.*; give BACKEND=dask"),
    ],
)
def test_options_that_do_not_work_are_one_sentence(project: Path, arguments: dict[str, object], words: str) -> None:
    before = Path("params.yaml").read_bytes()
    with pytest.raises(OptionError, match=words):
        compute.main(**arguments)  # type: ignore[arg-type]
    assert Path("params.yaml").read_bytes() == before


def test_params_without_the_block_get_it(project: Path) -> None:
    text = Path("params.yaml").read_text(encoding="utf-8")
    Path("params.yaml").write_text(re.sub(r"(?m)^compute:.*\n(?:[ #].*\n)*", "", text), encoding="utf-8")
    compute.main(workers=2)
    assert load_params().compute == ComputeParams(workers=2)


def test_local_workers_are_written_with_their_comments_kept(project: Path) -> None:
    compute.main(workers=2)
    assert load_params().compute == ComputeParams(workers=2)
    assert "# on this machine" in Path("params.yaml").read_text(encoding="utf-8")

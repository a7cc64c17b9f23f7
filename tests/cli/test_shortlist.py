"""`regard shortlist`, and `--shortlist` and `--int8` where answers are made: as a user meets them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from regard import cli
from regard.ops import native

pytestmark = pytest.mark.usefixtures("no_shape_checks_in_module")
compiled = pytest.mark.skipif(native.kernels() is None, reason="no kernels for this machine: no compiler, or no AVX2")


def regard(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        cli.main([str(one) for one in arguments])
    out, err = capsys.readouterr()
    return int(left.value.code or 0), out, err


@pytest.fixture
def run(toy_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(toy_run, tmp_path / "run"))


@compiled
def test_from_a_run_to_faster_answers(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = regard(capsys, "predict", run, "abc", "hgf")
    status, _, err = regard(capsys, "predict", run, "abc", "--shortlist")
    assert (status, err) == (
        2,
        f"regard: {run}: no shortlist.safetensors: make it with `regard shortlist {run}`, once.\n",
    )
    status, out, _ = regard(capsys, "shortlist", run, "--common", 2, "--best", 3)
    assert status == 0 and "2 common pieces, and up to 3 for each of" in out
    assert regard(capsys, "predict", run, "abc", "hgf", "--shortlist", "--int8") == plain
    found = tmp_path / "found.json"
    status, out, _ = regard(capsys, "evaluate", run, "--shortlist", "--int8", "--json", found)
    assert status == 0 and "approximate: int8, shortlist" in out
    assert json.loads(found.read_text())["approximate"] == ["int8", "shortlist"]
    status, _, err = regard(capsys, "predict", run, "abc", "--shortlist", "--prefix", "C")
    assert (status, err) == (2, "regard: prefix: its words may not be on the shortlist; leave out one of the two.\n")


def test_mistakes(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert regard(capsys, "shortlist", run / "none")[::2] == (
        2,
        f"regard: {run / 'none'}: no such run folder; `regard train` makes one below runs/.\n",
    )
    assert regard(capsys, "shortlist", run, "model.embed=3")[::2] == (
        2,
        "regard: model.embed=3: only data.root and data.cache can be changed here.\n",
    )
    status, _, err = regard(capsys, "predict", run, "abc", "--int8", "--precision", "float64")
    assert status == 2 and err.startswith("regard: int8: only for models that decode fast")

"""`regard evaluate` and `regard compare` as a user meets them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from regard import cli
from regard.score import METRICS, paired
from regard.train.runfolder import Run

pytestmark = pytest.mark.usefixtures("no_shape_checks_in_module")


class Done(NamedTuple):
    status: int
    out: str
    err: str


Regard = Callable[..., Done]


@pytest.fixture
def regard(capsys: pytest.CaptureFixture[str]) -> Regard:
    """Runs one command line in this process."""

    def run(*arguments: Any) -> Done:
        with pytest.raises(SystemExit) as left:
            cli.main([str(one) for one in (*arguments, "--device", "cpu", "--threads", "1")])
        out, err = capsys.readouterr()
        return Done(int(left.value.code or 0), out, err)

    return run


@pytest.fixture
def worse(toy_run: Path, tmp_path: Path) -> Path:
    """The toy run with its weights disturbed."""
    run = Run(shutil.copytree(toy_run, tmp_path / "worse"))
    draw = torch.Generator().manual_seed(1)
    run.write_weights({name: w + 0.2 * torch.randn(w.shape, generator=draw) for name, w in run.weights().items()})
    return run.path


def test_evaluate(regard: Regard, toy_run: Path, tmp_path: Path) -> None:
    done = regard("evaluate", toy_run, "-o", tmp_path / "out.txt", "--json", tmp_path / "result.json")
    assert (done.status, done.err) == (0, "")
    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    lines = (tmp_path / "out.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) == result["sentences"]
    rows = [line.split("\t") for line in (toy_run.parent / "test.tsv").read_text(encoding="utf-8").splitlines()]
    truth = dict(rows)
    wrong = sum(output != truth[source] for output, source in zip(lines, dict.fromkeys(truth), strict=True))
    assert result["scores"]["wer"]["value"] == pytest.approx(100 * wrong / len(truth))
    for words in ("WER", "PER", "perplexity", "test.tsv", str(toy_run), "SHA-256", "beam 5", "nrefs:"):
        assert words in done.out


def test_evaluate_with_changes(regard: Regard, toy_run: Path) -> None:
    done = regard("evaluate", toy_run, "--data", "valid", "search.method=greedy", "search.length_penalty=0.5")
    assert done.status == 0
    assert "greedy, length_penalty 0.5" in done.out and "valid.tsv" in done.out
    done = regard("evaluate", toy_run, "train.epochs=3")
    assert done.status == 2 and "train.epochs=3: after training only data.root," in done.err
    done = regard("evaluate", toy_run, toy_run)
    assert done.status == 2 and "several runs are one argument, commas between them" in done.err


def test_evaluate_an_ensemble_on_files(regard: Regard, toy_run: Path, tmp_path: Path) -> None:
    (tmp_path / "source").write_text("abc\nhg\n", encoding="utf-8")
    (tmp_path / "references").write_text("C B A\nX\n", encoding="utf-8")
    files = [
        "--source",
        tmp_path / "source",
        "--references",
        tmp_path / "references",
        "--json",
        tmp_path / "result.json",
    ]
    assert regard("evaluate", f"{toy_run},{toy_run}", *files).status == 0
    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert (result["scores"]["wer"]["value"], result["sentences"], len(result["runs"])) == (50.0, 2, 2)


def test_evaluate_mistakes(regard: Regard, toy_run: Path, tmp_path: Path) -> None:
    for arguments, message in {
        ("--data", "test", "--source", "x", "--references", "x"): "--data test and --source: give one of them.",
        ("--data", "dev"): "there is no split 'dev'",
        ("--references", "x"): "--references: of which texts? Name them with --source.",
        ("data.root=/absent",): "test.tsv: no such file below /absent",
        ("search.beam=0",): "search.beam must be a whole number",
    }.items():
        done = regard("evaluate", toy_run, *arguments)
        assert (done.status, done.out) == (2, "") and message in done.err


def test_bad_lines_of_a_split_are_said(regard: Regard, toy_run: Path, tmp_path: Path) -> None:
    rows = (toy_run.parent / "test.tsv").read_text(encoding="utf-8")
    (tmp_path / "test.tsv").write_text(rows + "no columns\n" + rows, encoding="utf-8")
    root = f"data.root={tmp_path}"
    said = "bad lines, left out: 1; the first: test.tsv line 81: 1 column, expected 2."
    done = regard("evaluate", toy_run, root, "--json", tmp_path / "result.json")
    assert done.status == 0 and said in done.out
    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert result["bad"] == 1 and result["first_bad"].startswith("test.tsv line 81")
    done = regard("compare", toy_run, toy_run, root)
    assert done.status == 0 and said in done.out


def test_compare_runs(regard: Regard, toy_run: Path, worse: Path, tmp_path: Path) -> None:
    done = regard("compare", toy_run, worse, "--json", tmp_path / "result.json")
    assert (done.status, done.err) == (0, "")
    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    wer = next(row for row in result["metrics"] if row["name"] == "wer")
    assert wer["a"] < wer["b"] and wer["delta"] == pytest.approx(wer["a"] - wer["b"])
    assert wer["high"] < 0 and wer["p_value"] < 0.05 and wer["winner"] == "A"
    found = next(row for row in result["metrics"] if row["name"] == "perplexity")
    assert found["a"] < found["b"] and found["delta"] < found["high"] < 0 and found["winner"] == "A"
    assert regard("compare", worse, toy_run, "--json", tmp_path / "again.json").status == 0
    again = json.loads((tmp_path / "again.json").read_text(encoding="utf-8"))
    assert {row["winner"] for row in again["metrics"]} == {"B"}


def test_a_run_is_no_better_than_itself(regard: Regard, toy_run: Path) -> None:
    done = regard("compare", toy_run, toy_run)
    assert done.out.count("not clear") == 3 and "1.000" in done.out


def test_compare_files(regard: Regard, tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    truth = [" ".join(draw.choice(list("abcdefgh"), 8)) for _ in range(60)]
    systems = {"a": [t if i % 3 else t[:-4] for i, t in enumerate(truth)], "b": [t[::-1] for t in truth]}
    for name, texts in {"truth": truth, **systems}.items():
        (tmp_path / name).write_text("".join(text + "\n" for text in texts), encoding="utf-8")
    files = [tmp_path / "a", tmp_path / "b", "--references", tmp_path / "truth"]
    assert regard("compare", *files, "--metrics", "chrf,exact", "--json", tmp_path / "result.json").status == 0
    chrf, exact = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))["metrics"]
    metric = METRICS["chrf"]()
    rows = [metric.statistics(systems[name], [[t] for t in truth]) for name in "ab"]
    expected = paired(metric, *rows)
    assert (chrf["delta"], chrf["low"], chrf["high"]) == (expected.delta, expected.low, expected.high)
    assert exact["a"] == pytest.approx(100 * 40 / 60) and exact["winner"] == "A"


def test_ter_is_lower_cased_in_evaluate_as_in_compare(toy_run: Path) -> None:
    from regard.cli.compare import _metrics
    from regard.tasks import TASKS

    recipe = Run(toy_run).recipe
    for lowercase in (False, True):
        score = recipe.score.model_copy(update={"lowercase": lowercase})
        in_evaluate = TASKS["translate"](recipe.model_copy(update={"score": score})).scorers()
        assert in_evaluate == _metrics("bleu,chrf,ter", None, lowercase)


def test_compare_mistakes(regard: Regard, toy_run: Path, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("A\nB\n", encoding="utf-8")
    (tmp_path / "b").write_text("A\n", encoding="utf-8")
    a, b = tmp_path / "a", tmp_path / "b"
    for arguments, message in {
        (a, a): "files of outputs need --references",
        (a, b, "--references", a): "b: 1 lines, and",
        (a, toy_run): "one is a file and one is not",
        (a, a, "--references", a, "--metrics", "bleau"): "--metrics: there is no 'bleau'; did you mean bleu",
        (a, a, "--references", a, "--tokenize", "14a"): "--tokenize: there is no '14a'",
        (a, a, "--references", a, "--metrics", "chrf", "--tokenize", "none"): "--tokenize: for BLEU",
        (a, a, "--references", a, "search.beam=2"): "search.beam=2: for runs, and these are files",
        (a, a, "--references", a, "--source", a, "--data", "test"): "--data, --source: for runs, and these are files",
        (toy_run, toy_run, "--metrics", "wer"): "--metrics: for files of outputs, and these are runs",
        (toy_run, toy_run, "--tokenize", "13a", "--lowercase"): "--tokenize, --lowercase: for files of outputs",
        (tmp_path / "x", tmp_path / "y"): "x: no such run folder",
    }.items():
        done = regard("compare", *arguments)
        assert (done.status, done.out) == (2, "") and message in done.err, done

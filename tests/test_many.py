"""Families of trainings: what is trained, what is refused, and what a result says; scores are made up here."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
if not (REPOSITORY / "benchmarks").is_dir():  # in an unpacked sdist
    pytest.skip("the benchmarks are not here", allow_module_level=True)
sys.path.insert(0, str(REPOSITORY))

from benchmarks import fingerprint, folds, g2p, inflection, many, results, transfer  # noqa: E402

from regard.errors import RegardError  # noqa: E402
from regard.recipe import Recipe  # noqa: E402
from regard.train.runfolder import Run  # noqa: E402

START = {"type": "start", "seed": 1, "commit": "0123456789ab", "threads": 1, "processes": 1, "parameters": 10}


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The names of runs that a training would have been started for; each ends at once. Results go to `results`."""
    names = []

    def start(recipe: Recipe, run: Path, **_: Any) -> SimpleNamespace:
        names.append(run.name)
        run.mkdir()
        log = [{**START, "seed": recipe.seed}, *({"type": "train", "update": u, "loss": 5 - u / 100} for u in (1, 2))]
        (run / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
        (run / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in log), encoding="utf-8")
        Run(run).write_info(status="finished", seconds=90.0, best_update=2)
        return SimpleNamespace(poll=lambda: 0, returncode=0)

    def score(runs: list[Path], split: str, recipe: Recipe, metric: str = "wer") -> dict[str, float]:
        value = 20.0 + len(names) if split == "valid" else 10.0 * len(runs) + Run(runs[0]).recipe.seed
        return {metric: value, "low": value - 1, "high": value + 1}

    monkeypatch.setattr(many, "start_training", start)
    monkeypatch.setattr(many, "score", score)
    monkeypatch.setattr(many, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(results, "write", partial(results.write, folder=tmp_path / "results"))
    return names


def run_with(monkeypatch: pytest.MonkeyPatch, script: Any, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["script", *map(str, arguments)])
    script.main()


@pytest.mark.slow
def test_seeds_are_trained_once_and_a_result_tells_all(
    trained: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keep = tmp_path / "runs"
    run_with(monkeypatch, g2p, "ady", "ita", "--keep", keep, "--seeds", "soft=1", "--no-write")
    assert trained == ["ady-soft-1", "ita-soft-1"] and not (tmp_path / "results").exists()
    wanted = ["ady", "ita", "--keep", keep, "--seeds", "soft=2,hard=1", "--mix", "soft=2,hard=1", "--test"]
    run_with(monkeypatch, g2p, *wanted)
    assert sorted(trained) == sorted({f"{la}-{r}" for la in ("ady", "ita") for r in ("soft-1", "soft-2", "hard-1")})
    [(_, found)] = results.read_all(tmp_path / "results")
    assert found["means"] == {
        "soft": {"single": 11.5, "ensemble": 21.0},
        "hard": {"single": 11.0},
        "mix": {"ensemble": 31.0},
    }
    one = found["found"]["ady soft"]
    assert one["recipe_name"] == "transduce-sigmorphon2021-ady" and one["recipe"]["seed"] == 1
    assert [run["seed"] for run in one["runs"]] == [1, 2] and one["runs"][0]["first_losses"] == [4.99, 4.98]
    assert "ady soft" not in capsys.readouterr().err


def test_the_fingerprint_knows_the_recipes_of_a_family(
    trained: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_with(monkeypatch, inflection, "spanish", "turkish", "--keep", tmp_path / "runs", "--kinds", "low", "--seeds", 2)
    known = fingerprint.newest_records(tmp_path / "results")
    assert set(known) == {"transduce-conll2018-low"}  # Turkish is the recipe with other files
    assert known["transduce-conll2018-low"]["first_losses"] == [4.99, 4.98] and len(trained) == 4
    assert known["transduce-conll2018-low"]["threads"] == known["transduce-conll2018-low"]["processes"] == 1


def test_a_run_of_another_recipe_is_refused(
    trained: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = ["ady", "--keep", tmp_path / "runs", "--kinds", "hard", "--seeds", 1, "--no-write"]
    run_with(monkeypatch, g2p, *wanted)
    run_with(monkeypatch, g2p, *wanted, "--set", "search.beam=3")  # how a run is scored is no part of its training
    with pytest.raises(RegardError, match=r"ady-hard-1 is a run of another recipe \(train.clip was 1.0, is 3.0\)"):
        run_with(monkeypatch, g2p, *wanted, "--set", "train.clip=3")
    assert trained == ["ady-hard-1"]


@pytest.mark.parametrize("case", transfer.CASES)
def test_transfer_begins_with_the_first_run(
    case: str, trained: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_with(monkeypatch, transfer, case, "--keep", tmp_path / "runs", "--seeds", 2, "--test")
    assert trained == ["first", *(f"from-{way}-{seed}" for way in ("nothing", "the-first-run") for seed in (1, 2))]
    recipe = Run(tmp_path / "runs" / case / "from-the-first-run-2").recipe
    assert recipe.train.init_from == str(tmp_path / "runs" / case / "first") and "decoder.*" in recipe.train.init_parts
    [(_, found)] = results.read_all(tmp_path / "results")
    metric = transfer.CASES[case].metric
    assert [run["test"][metric] for run in found["found"]["from nothing"]["runs"]] == [11.0, 12.0]
    assert metric in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--seeds", "loud=3"], "loud=3: expected KIND=N with a kind of soft, hard"),
        (["--seeds", "soft=1", "--mix", "soft=1,hard=1"], "--mix: hard is not among the kinds asked for"),
    ],
)
def test_what_cannot_be_asked_for(
    more: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as error:
        run_with(monkeypatch, g2p, "ady", "--keep", tmp_path, *more)
    assert said in str(error.value) + capsys.readouterr().err


@pytest.mark.slow
def test_folds_are_disjoint_and_each_is_learned_by_the_others(
    trained: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tested = []
    for k in range(folds.FOLDS):
        data = folds.fold("classify-rt-polarity", k, []).data
        parts = [hundredths(split.percent) for split in (data.train, data.valid, data.test) if split]
        assert sorted(map(len, parts)) == [10, 10, 80] and len(set().union(*parts)) == 100
        tested.append(parts[2])
    assert len(set().union(*tested)) == 100
    run_with(monkeypatch, folds, "classify-rt-polarity", "--keep", tmp_path / "runs", "--test")
    assert len(trained) == folds.FOLDS and "means over 10 folds" in capsys.readouterr().out
    [path] = (tmp_path / "results").iterdir()
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["means"]["test"]["accuracy"] == 11.0  # of one run of seed 1, as made up above
    assert [each["recipe_name"] for each in many.records_of(record)] == ["classify-rt-polarity"]
    with pytest.raises(RegardError, match="its splits name different files"):
        folds.fold("classify-imdb", 0, [])


def hundredths(percent: tuple[int, int] | None) -> set[int]:
    assert percent is not None
    low, high = percent
    return set(range(low, high)) if low < high else {*range(low, 100), *range(high)}

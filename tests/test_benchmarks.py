"""The benchmarks' own logic: records, comparisons, parsing. What they measure is not measured here."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[1]
if not (REPOSITORY / "benchmarks").is_dir():  # in an unpacked sdist
    pytest.skip("the benchmarks are not here", allow_module_level=True)
sys.path.insert(0, str(REPOSITORY))

from benchmarks import (  # noqa: E402
    fingerprint,
    invariance,
    kill,
    memory,
    race,
    record,
    results,
    ten_million,
    train_speed,
    variants,
)

from regard.cells import CELLS  # noqa: E402
from regard.errors import RegardError  # noqa: E402
from regard.recipe import Recipe, load_recipe  # noqa: E402
from regard.train.runfolder import Run  # noqa: E402

RECIPE = "transduce-sigmorphon2021-ady"
START = {
    "type": "start",
    "update": 0,
    "seed": 1,
    "threads": 1,
    "processes": 1,
    "precision": "float32",
    "device": "cpu",
    "parameters": 10,
    "examples": 20,
    "batches_per_epoch": 30,
    "commit": "0123456789ab+",
    "regard": "0.1",
    "python": "3.11.7",
    "versions": {"torch": "2.13.0"},
    "system": "Linux x86_64",
    "processor": "a processor",
    "cores": 2,
}


def make_log(updates: int = 120) -> list[dict[str, Any]]:
    """A log with a validation every 40 updates, a second an update."""
    log: list[dict[str, Any]] = [START]
    for update in range(1, updates + 1):
        if update <= 50 or update % 20 == 0:
            log.append({"type": "train", "update": update, "loss": 5.0 - update / 100, "tokens_per_second": update})
        if update % 40 == 0:
            scores = {"wer": 80.0 - update / 2, "per": 9.0, "best": True, "took_seconds": 1.0}
            log.append({"type": "valid", "update": update, **scores, "seconds": float(update)})
    final = {"wer": 19.5, "per": 4.25, "best_update": updates, "took_seconds": 3.0, "seconds": updates + 3.0}
    return [*log, {"type": "final", "update": updates, **final}]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """The folder of a finished run, as far as a record reads it."""
    run = Run(tmp_path / "run")
    run.path.mkdir()
    (run.path / "recipe.yaml").write_text(load_recipe(RECIPE).to_yaml(), encoding="utf-8")
    (run.path / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in make_log()))
    run.write_info(status="finished", metric="wer", update=120, ended="epochs", seconds=121.5)
    return run


# Records


def test_record_of_a_run_says_what_its_numbers_depend_on(run: Run, tmp_path: Path) -> None:
    path = record.write_record(run, {"test": {"wer": {"value": 20.0}}}, folder=tmp_path / "results")
    found = json.loads(path.read_text(encoding="utf-8"))
    assert path.name == f"{found['date']}-{RECIPE}.json" and found["kind"] == "training"
    assert (found["commit"], found["dirty"], found["seed"]) == ("0123456789ab", True, 1)
    assert found["machine"]["processor"] == "a processor" and found["versions"]["torch"] == "2.13.0"
    assert found["recipe_name"] == RECIPE and found["recipe_hash"] == load_recipe(RECIPE).hash()
    assert Recipe.from_dict(found["recipe"]) == load_recipe(RECIPE)
    assert found["first_losses"] == [5.0 - update / 100 for update in range(1, 51)]
    assert (found["minutes"], found["minutes_with_final_evaluation"]) == (2.02, 2.05)
    assert found["minutes_until"] == {
        **{"metric": "wer", "on": "validation while training"},
        **{"40.0": 1.33, "36.0": 2.0, "33.0": 2.0, "31.0": 2.0},
    }
    assert found["validation"] == {"wer": 19.5, "per": 4.25} and found["test"] == {"test": {"wer": {"value": 20.0}}}
    log = path.with_suffix(".metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(log) == len(make_log())
    again = record.write_record(run, {}, folder=tmp_path / "results")
    assert again.name == f"{found['date']}-{RECIPE}-2.json"
    assert [p for p, _ in results.read_all(tmp_path / "results", "training")] == [path, again]


def test_only_a_finished_run_has_a_result(run: Run) -> None:
    run.write_info(status="interrupted")
    with pytest.raises(RegardError, match=r"run: interrupted, and only a finished run has a result: resume it first"):
        record.make_record(run, {})


def test_record_knows_its_recipe_whatever_the_threads(tmp_path: Path) -> None:
    assert record.recipe_name(load_recipe(RECIPE, ["train.threads=2"])) == RECIPE
    assert record.recipe_name(load_recipe("write-ptb", ["model.cache={}"])) == "write-ptb"  # put on afterwards
    assert record.recipe_name(load_recipe(RECIPE, ["seed=2"])) is None


def test_minutes_until_a_threshold() -> None:
    def valid(bleu: float, seconds: float) -> dict[str, Any]:
        return {"type": "valid", "bleu": bleu, "seconds": seconds}

    log = [{"type": "train", "bleu": 99.0, "seconds": 1.0}, valid(29.0, 60.0), valid(33.0, 120.0), valid(31.0, 180.0)]
    assert record.minutes_until(log, "bleu", 30.0, higher=True) == 2.0
    assert record.minutes_until(log, "bleu", 33.0, higher=True) == 2.0
    assert record.minutes_until(log, "bleu", 36.0, higher=True) is None
    assert record.minutes_until(log, "bleu", 30.0, higher=False) == 1.0


def test_first_losses_have_no_gap() -> None:
    with pytest.raises(RegardError, match=r"updates \[1, 3\], expected 1, 2, 3"):
        record.first_losses([{"type": "train", "update": u, "loss": 1.0} for u in (1, 3)])


def test_log_is_thinned_to_fit_and_keeps_what_matters() -> None:
    log = make_log(4000)
    kept = record.thin(log, room=24_000)
    sizes = [sum(len(record.line(entry)) for entry in each) for each in (log, kept)]
    assert sizes[0] > 24_000 >= sizes[1] > 18_000
    others = [entry for entry in log if entry["type"] != "train" or entry["update"] <= 50]
    assert [entry for entry in kept if entry in others] == others
    assert record.thin(make_log()) == make_log()


def test_a_result_is_json_whatever_its_keys_are(tmp_path: Path) -> None:
    curve = {step: step / 3 for step in range(100, 2000, 100)}
    path = results.write("curve", "speed", {"curve": curve}, folder=tmp_path)
    assert json.loads(path.read_text(encoding="utf-8"))["curve"] == {str(step): value for step, value in curve.items()}


def test_results_hold_no_folder_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REGARD_DATA", str(tmp_path))
    value = {"files": [str(tmp_path / "a" / "b.tsv"), "/home/someone/c.tsv"], "root": str(tmp_path), "n": 1, "x": None}
    assert results.portable(value) == {
        "files": [os.path.join("a", "b.tsv"), "c.tsv"],
        "root": tmp_path.name,
        "n": 1,
        "x": None,
    }


def test_text_of_a_result_reads_back_and_has_no_column_of_numbers() -> None:
    value = {"losses": [i / 7 for i in range(50)], "deep": [{"a": "x" * 60, "b": ["y" * 60, {}]}], "odd": "[ a,  b ]"}
    text = results.as_text(value)
    assert json.loads(text) == value
    assert len(text.splitlines()) < 14


# Fingerprints


def test_comparison_of_losses() -> None:
    recorded = [3.0, 2.0, 1.0]
    assert fingerprint.compare([3.0, 2.00009, 1.0], recorded)[0] == "same"
    word, detail = fingerprint.compare([3.0, 2.00011, 1.5], recorded)
    assert word == "differs" and detail == "at update 2: loss 2.000110, recorded 2.000000; 2 in all"
    assert fingerprint.compare([3.0, float("nan"), 1.0], recorded)[0] == "differs"
    assert fingerprint.compare(recorded[:2], recorded) == ("differs", "2 losses, the record has 3")


def test_fingerprint_says_what_it_did_not_compare(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record.write_record(run, {}, folder=tmp_path / "results")
    known = fingerprint.newest_records(tmp_path / "results")
    assert fingerprint.check("demo-cmudict", known.get("demo-cmudict"), tmp_path).word == "no record"
    monkeypatch.setenv("REGARD_DATA", str(tmp_path))
    nothing = fingerprint.check(RECIPE, known[RECIPE], tmp_path)
    assert nothing.word == "no data" and "ady_train.tsv: no such file" in nothing.detail and not nothing.failed
    known[RECIPE]["recipe"]["train"]["clip"] = 7.0
    other = fingerprint.check(RECIPE, known[RECIPE], tmp_path)
    assert (other.word, other.detail, other.failed) == ("recipe changed", "train.clip was 7.0, is 1.0", True)


def test_fingerprint_compares_what_it_trained(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record.write_record(run, {}, folder=tmp_path / "results")
    known = fingerprint.newest_records(tmp_path / "results")
    losses = list(known[RECIPE]["first_losses"])
    asked = []

    def beginning(recipe: Recipe, _folder: Path) -> list[float]:
        asked.append(recipe.train.threads)
        return losses

    monkeypatch.setattr(fingerprint, "missing_file", lambda _recipe: "")
    monkeypatch.setattr(fingerprint, "beginning", beginning)
    assert [v.word for v in fingerprint.verdicts([RECIPE], tmp_path / "results")] == ["same"]
    losses[49] += 0.01
    [found] = fingerprint.verdicts([RECIPE], tmp_path / "results")
    assert found.word == "differs" and found.failed and "at update 50" in found.detail
    assert asked == [1, 1]


# Memory


def test_anonymous_memory_is_read_from_a_process_status() -> None:
    status = "Name:\tpython\nVmHWM:\t  500 kB\nVmRSS:\t  400 kB\nRssAnon:\t     116 kB\nRssFile:\t    1500 kB\n"
    assert memory.rss_anon(status) == 116 * 1024
    assert memory.rss_anon("Name:\tpython\nState:\tZ (zombie)\n") == 0


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
def test_peak_counts_what_belongs_to_no_file_in_the_whole_tree(tmp_path: Path) -> None:
    large = tmp_path / "large"
    with open(large, "wb") as file:
        file.truncate(200 * 2**20)
    hold = "import time; x = bytearray(b'1') * (60 * 2**20); time.sleep(0.3)"
    mapped = f"import mmap; f = open({str(large)!r}, 'rb'); m = mmap.mmap(f.fileno(), 0, prot=1); sum(m[::4096])"
    child = f"import subprocess, sys; {mapped}; subprocess.run([sys.executable, '-c', {hold!r}], check=True)"
    peak = memory.peak_of(["-c", child], phase=lambda: "all", sample_seconds=0.005)
    assert 60 * 2**20 < peak.anonymous < 120 * 2**20
    assert peak.phases == {"all": peak.anonymous} and 0 < peak.at_seconds <= peak.seconds
    with pytest.raises(RuntimeError, match=r"exit status 3:\nsaid"):
        memory.peak_of(["-c", "print('said'); raise SystemExit(3)"])


def test_generated_text_is_the_same_every_time_and_parallel() -> None:
    [(source, target)] = ten_million.blocks(200, seed=1)
    assert [(source, target)] == list(ten_million.blocks(200, seed=1))
    assert len(source) == len(target) == 200 and len(set(source)) > 195
    assert all(2 <= len(s.split()) == len(t.split()) <= 14 for s, t in zip(source, target, strict=True))
    paired = {
        s: t for a, b in zip(source, target, strict=True) for s, t in zip(a.split(), b.split()[::-1], strict=True)
    }
    assert all(paired[s] == t for s, t in zip(source[0].split(), target[0].split()[::-1], strict=True))
    ten_million.make_recipe(Path("somewhere"), "bpe")  # its keys exist


def test_bytes_a_line() -> None:
    def held(lines: int, size: int) -> dict[str, Any]:
        return {"lines": lines, "peak_bytes": size}

    assert ten_million.verdict(held(100, 5000), held(200, 6600)) == (True, 16.0)
    assert ten_million.verdict(held(100, 5000), held(200, 6700)) == (False, 17.0)


# Kill and resume


def test_moments_of_death_come_from_the_seed() -> None:
    assert kill.moments(10, 110.0, 1) == kill.moments(10, 110.0, 1) != kill.moments(10, 110.0, 2)
    assert all(0 <= moment <= 20.0 for moment in kill.moments(10, 110.0, 1))
    load_recipe("demo-cmudict", kill.OVERRIDES)  # its keys exist


def test_every_difference_between_logs_is_found() -> None:
    whole = [entry for entry in make_log() if entry["type"] != "start"]
    resumed = [{**entry, "seconds": 0.0} for entry in whole]
    resumed.insert(30, {"type": "resume", "update": 30})
    assert kill.log_problems(whole, resumed) == []
    assert kill.log_problems(whole, resumed[:20] + resumed[21:]) == ["train records missing for updates [21]"]
    assert kill.log_problems(whole, [resumed[0], *resumed]) == ["train records twice for updates [1]"]
    extra = {"type": "valid", "update": 41}
    assert kill.log_problems(whole, [*resumed, extra]) == ["valid records that should not be, for updates [41]"]
    [found] = kill.log_problems(whole, [{**resumed[0], "loss": 0.1}, *resumed[1:]])
    assert found.startswith("records differ")


def test_weights_are_compared_bit_for_bit() -> None:
    one = {"a": torch.tensor([1.0, 0.0]), "b": torch.ones(2, 2)}
    assert kill.weight_problems(one, {name: value.clone() for name, value in one.items()}) == []
    zero = {**one, "a": torch.tensor([1.0, -0.0])}  # equal as numbers
    assert kill.weight_problems(one, zero) == ["a differs in 0 of 2 numbers"]
    moved = {**one, "b": torch.ones(2, 2).index_fill(0, torch.tensor([1]), 1.0 + 2**-23)}
    assert kill.weight_problems(one, moved) == ["b differs in 2 of 4 numbers"]
    assert kill.weight_problems(one, {"a": one["a"]}) == ["b is in one of the runs only"]
    assert kill.weight_problems(one, {**one, "b": one["b"].double()}) == ["b has another type or shape"]


# Batch invariance


def made_up_answers(threads: int) -> invariance.Answers:
    best = [(text, (-1.0).hex(), (-3.0 - threads * 2**-40).hex()) for text in ("ein Hund", "eine Katze")]
    batches = [f"{search} / {batch}" for search in ("greedy", "beam 5") for batch in invariance.BATCHES]
    several = [f"{name} / {invariance.N_BEST_BATCH}" for name in invariance.SEARCHES if name.endswith("best")]
    return {name: list(best) for name in (*batches, *several)}


def test_invariance_is_bitwise_within_a_thread_count_and_of_texts_between() -> None:
    answers = {(threads, "float32"): made_up_answers(threads) for threads in (1, 2)}
    rows = invariance.check(answers)
    assert len(rows) == 2 * (2 * 3 + 4) + 2 and all(row["holds"] for row in rows)
    assert [row["bits"] for row in rows if not row["strict"]] == [2, 2]
    text, score, log_prob = answers[1, "float32"]["beam 5 / 7"][1]
    next_float = (float.fromhex(score) + 2**-52).hex()
    answers[1, "float32"]["beam 5 / 7"][1] = (text, next_float, log_prob)
    [wrong] = [row for row in invariance.check(answers) if not row["holds"]]
    assert wrong["what"] == "beam 5, batch 7 against 1" and wrong["bits"] == 1 and wrong["texts"] == 0
    assert wrong["largest_gap"] == 2**-52 and wrong["first"] == [1]
    answers[2, "float32"]["greedy / 64"][0] = ("ein Kind", score, log_prob)
    wrongs = [row["what"] for row in invariance.check(answers) if not row["holds"]]
    assert "greedy, 2 threads against 1" in wrongs and "greedy, batch 64 against 1" in wrongs


# All of them


@pytest.mark.parametrize("script", [record, fingerprint, train_speed, race, ten_million, kill, invariance])
def test_every_script_explains_itself(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["it", "--help"])
    with pytest.raises(SystemExit, match="0"):
        script.main()
    assert f"python -m {script.__name__}" in capsys.readouterr().out


def test_readme_tells_of_every_file_and_results_are_small() -> None:
    readme = (REPOSITORY / "benchmarks" / "README.md").read_text(encoding="utf-8")
    for path in (REPOSITORY / "benchmarks").glob("*.py"):
        assert path.name == "__init__.py" or f"`{path.name}`" in readme, f"README.md does not tell of {path.name}"
    for path in (REPOSITORY / "benchmarks" / "results").glob("*"):
        assert path.stat().st_size < 300_000, f"{path.name} is too large for the repository"


def test_every_cell_is_compared_and_every_variant_is_a_recipe() -> None:
    assert list(variants.VARIANTS["cells"]) == list(CELLS)
    for family in variants.VARIANTS.values():
        recipes = [load_recipe(variants.RECIPE, [*variants.COMMON, *changes]) for changes in family.values()]
        assert len({recipe.hash() for recipe in recipes}) == len(recipes)


def test_the_loop_that_is_timed_takes_a_step(tmp_path: Path) -> None:
    examples = [([5, 6, 7, 3], [8, 9]), ([6, 3], [9, 8, 5])]
    loop = train_speed.OurLoop(examples, vocab=20, hidden=8, threads=torch.get_num_threads(), folder=tmp_path)
    before = [parameter.clone() for parameter in loop.model.parameters()]
    loop.step([0, 1])
    moved = [not torch.equal(*pair) for pair in zip(before, loop.model.parameters(), strict=True)]
    assert all(moved) and 2.0 < loop.loss < 4.0  # log 20 is 3.0

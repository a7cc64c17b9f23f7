"""The generated tasks and the models that learn them (benchmarks/attention_tasks.py), with tiny settings."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[1]
if not (REPOSITORY / "benchmarks").is_dir():  # in an unpacked sdist
    pytest.skip("the benchmarks are not here", allow_module_level=True)
sys.path.insert(0, str(REPOSITORY))

from benchmarks import alone, attention_tasks, learner, synthetic  # noqa: E402

from regard.data.config import SPECIALS  # noqa: E402

COPY, LOOKUP = synthetic.TASKS["copy"], synthetic.TASKS["lookup"]
TINY = ["--updates", "2", "--lengths", "8", "16", "--self-lengths", "16", "--rounds", "2", "--rows", "1"]
TINY += ["--attentions", "dot", "monotonic"]


# Examples


def test_a_copy_is_its_source_and_all_of_it_is_to_be_found() -> None:
    source, target, scored = COPY.example(1, 2, 30)
    assert len(source) == 30 and source.min() >= SPECIALS and source.max() < COPY.vocab
    assert (source == target).all() and scored.all() and len(scored) == 31


@pytest.mark.parametrize("steps", [6, 40, 2000])
def test_a_lookup_asks_for_the_digit_that_stands_behind_a_key(steps: int) -> None:
    source, target, scored = LOOKUP.example(1, 2, steps)
    entries = source.reshape(-1, 4)
    digit_of = {tuple(entry[:3]): entry[3] for entry in entries}
    assert len(digit_of) == len(entries) == max(steps // 4, 1)  # no key twice
    assert (entries[:, 3] >= SPECIALS + 27).all() and (entries[:, :3] < SPECIALS + 27).all()
    asked = target.reshape(-1, 4)
    assert len(asked) == 12 and all(digit_of[tuple(each[:3])] == each[3] for each in asked)
    assert np.flatnonzero(scored).tolist() == list(range(3, 48, 4))  # the digits, not the keys nor the end mark


def test_a_value_to_be_predicted_stood_behind_its_key_before() -> None:
    steps = 128
    symbols = synthetic.Induction.example(1, 2, steps).reshape(-1, 2)
    first, again = symbols[: steps // 4], symbols[steps // 4 :]
    place = {int(key): at for at, (key, _) in enumerate(first)}
    assert len(place) == steps // 4
    for at, (key, value) in enumerate(again):
        assert first[place[int(key)], 1] == value
        assert 2 * (at + steps // 4 - place[int(key)]) >= steps // 4


@pytest.mark.parametrize("make", [COPY.example, LOOKUP.example, lambda *at: (synthetic.Induction.example(*at),)])
def test_an_example_is_a_function_of_seed_index_and_length(make: Any) -> None:
    examples = [make(seed, index, 64)[0].tolist() for seed, index in [(1, 0), (1, 0), (1, 1), (2, 0)]]
    assert examples[0] == examples[1] and examples[0] not in examples[2:] and examples[2] != examples[3]


def test_training_lengths_are_spread_evenly_by_their_logarithm() -> None:
    steps = [synthetic.training_steps(1, update, 10, 40) for update in range(2000)]
    assert min(steps) == 10 and max(steps) == 40
    assert 0.45 < np.mean([each < 20 for each in steps]) < 0.55


# Models


def test_models_differ_from_the_plain_one_in_one_part() -> None:
    groups = learner.models()
    plain = groups["score"]["dot"].model_dump()
    for name, config in {**groups["normalizer"], **groups["scope"], **groups["coverage"]}.items():
        dumped = config.model_dump()
        assert {key for key in dumped if dumped[key] != plain[key]} == {"attention"}, name
        parts = dumped["attention"]
        assert sum(parts[key] != plain["attention"][key] for key in parts) == 1, name


@pytest.mark.parametrize("name", ["dot", "monotonic", "coverage"])
def test_answers_are_those_of_the_teacher_forced_model(name: str) -> None:
    config = {"dot": "score", "monotonic": "normalizer", "coverage": "coverage"}[name]
    model: Any = learner.build(learner.models()[config][{"coverage": "sum"}.get(name, name)], LOOKUP)
    found = learner.answers(model, LOOKUP, range(3), 24)
    batch, scored = synthetic.batch_of(LOOKUP, learner.TEST, range(3), 24)
    with torch.inference_mode():
        source = model.decoder.prepare([model.encode(batch.source, batch.source_lengths)])
        features, _ = model.decoder.teacher_forced(source, batch.target_in)
        right = model.decoder.readout.logits(features).argmax(-1) == batch.target_out
    assert found == [row[asked].tolist() for row, asked in zip(right, scored, strict=True)]
    assert [len(row) for row in found] == [12, 12, 12]


@pytest.mark.slow
def test_a_model_learns_what_it_is_asked() -> None:
    found = learner.Learner(learner.build(learner.models()["score"]["dot"], COPY), 150)
    losses = [learner.update(found, COPY, number, 32, 3 + number % 3) for number in range(150)]
    right = [each for row in learner.answers(found.model, COPY, range(32), 5) for each in row]
    assert losses[0] > 2.2 and losses[-1] < 1.0  # of log 11 = 2.4
    assert np.mean(right) > 0.6 > 3 * COPY.chance


# Measuring


def wait(seconds: float) -> str:
    time.sleep(seconds)
    return "done"


def fill(mib: int) -> int:
    return len(np.ones(mib * 2**17))


def refuse() -> None:
    raise RuntimeError("not this way")


def grow() -> dict[str, float]:
    return alone.spent(lambda: np.ones(64 * 2**17).sum())


@pytest.mark.slow
def test_alone_answers_or_says_why_not() -> None:
    assert alone.alone(wait, 0.0, seconds=60, gib=8) == "done"
    assert alone.alone(wait, 60.0, seconds=0.5, gib=8) == "takes more than 0.5 s"
    assert alone.alone(fill, 3000, seconds=60, gib=2) == "needs more than 2 GiB"
    with pytest.raises(RuntimeError, match="not this way"):
        alone.alone(refuse, seconds=60, gib=8)
    spent = alone.alone(grow, seconds=60, gib=8)
    assert 60 < spent["mib"] < 80 and spent["ms"] > 1


@pytest.mark.slow
def test_the_whole_of_it_and_again_from_what_was_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(attention_tasks, "INDUCTION_LENGTHS", [16, 32])
    monkeypatch.setitem(learner.SPAN, "induction", (16, 32))
    kept, image = tmp_path / "kept.jsonl", tmp_path / "picture.svg"
    places = {"--kept": kept, "--folder": tmp_path, "--image": image}
    given = [each for name, path in places.items() for each in (name, str(path))]
    monkeypatch.setattr(sys, "argv", ["attention_tasks", *TINY, *given])
    attention_tasks.main()
    said = capsys.readouterr().out
    (path,) = tmp_path.glob("*-attention-tasks.json")
    result = json.loads(path.read_text(encoding="utf-8"))
    assert set(result["tasks"]["copy"]) == {"dot", "monotonic", "monotonic, hard"}
    assert set(result["tasks"]["lookup"]["dot"]["tokens"]) == {"8", "16"}
    assert set(result["update"]) == {"dot", "monotonic"}
    assert len(result["update"]["dot"]["16"]["ms_of_rounds"]) == 2
    assert set(result["induction"]["lsh"]["tokens"]) == {"16", "32"}
    assert set(result["self_attention"]) == {"past", "window", "lsh"}
    assert "copy at 16 steps:" in result["summary"] and "share of tokens" in said
    drawn = image.read_text(encoding="utf-8")
    assert all(f"<!-- {text} -->" in drawn for text in ("monotonic", "mode hard", "lookup: tokens right", "lsh", "80%"))
    attention_tasks.main()
    again = capsys.readouterr().out
    assert " s  copy dot" in said and " s  copy dot" not in again  # nothing is done twice

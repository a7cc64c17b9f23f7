"""Series of numbers as sources: read, scaled, stored and padded, and a run that tells them apart."""

import json
import math
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console

import regard
from regard.data.batches import collate, padded
from regard.data.config import DataConfig, SplitConfig, TextConfig
from regard.data.prepare import prepare
from regard.data.series import Series, load_tokenizer, numbers, written
from regard.data.tokenizer import EOS, PAD
from regard.errors import RegardError
from regard.predict.evaluate import evaluate, split_examples
from regard.recipe import Recipe

SERIES = TextConfig(tokenizer="series")


def waves(count: int, seed: int) -> list[tuple[str, str]]:
    """Two channels, of which the first goes up and down as often as the label says."""
    draw, found = random.Random(seed), []
    for _ in range(count):
        label, steps = draw.choice(["slow", "fast"]), draw.randint(12, 20)
        first = [100 + 5 * math.sin((3 if label == "fast" else 1) * step / 3 + 1) for step in range(steps)]
        noise = [draw.gauss(0, 1) for _ in range(steps)]
        text = ":".join(",".join(f"{value:.4f}" for value in channel) for channel in (first, noise))
        found.append((text, label))
    return found


def write(path: Path, rows: list[tuple[str, str]]) -> None:
    head = "# made here\n@problemName waves\n@dimensions 2\n@classLabel true slow fast\n@data\n"
    path.write_text(head + "".join(f"{text}:{label}\n" for text, label in rows))


def config(folder: Path) -> DataConfig:
    splits = {name: SplitConfig(table=f"{name}.ts") for name in ("train", "valid")}
    return DataConfig(
        root=str(folder), cache=str(folder / "c"), source=SERIES, target=TextConfig(tokenizer="label"), **splits
    )


def test_numbers_and_their_scale() -> None:
    assert numbers("1,2,3:0, 0.5 ,1e-1").tolist() == pytest.approx(np.array([[1, 0], [2, 0.5], [3, 0.1]]))
    assert numbers(" ").shape == (0, 0)
    texts = ["1,2,3:5,5,5", "4:5"]
    series = Series.learn(texts, SERIES)
    assert series.channels == 2 and series.mean.tolist() == [2.5, 5.0]
    assert series.deviation.tolist() == pytest.approx([np.std([1, 2, 3, 4]), 1.0])
    together = np.concatenate(series.encode(texts))
    np.testing.assert_allclose(together.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(together.std(0), [1, 0], atol=1e-6)
    assert series.encode([""])[0].shape == (0, 2) and series.pieces(series.encode(texts)[0]) == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1,two:3,4", "not a series of numbers"),
        ("1,2:3", "unlike lengths, 2, 1"),
        ("1,nan:2,3", "missing or infinite"),
        ("1,2", "1 channels, expected 2"),
        ("1 2:3 4", "white space between two"),
    ],
)
def test_what_is_no_series(text: str, said: str) -> None:
    series = Series.learn(["1,2:3,4"], SERIES)
    with pytest.raises(RegardError, match=said):
        series.encode([text])


def test_a_file_holds_all_there_is(tmp_path: Path) -> None:
    series = Series.learn(["1,2,3:5,5.5,5"], SERIES)
    series.save(tmp_path / "s.json")
    again = load_tokenizer(tmp_path / "s.json")
    assert again.to_json() == series.to_json()
    np.testing.assert_array_equal(again.encode(["1,2:3,4"])[0], series.encode(["1,2:3,4"])[0])
    (tmp_path / "s.json").write_text('{"series": 1}')
    with pytest.raises(RegardError, match="restore it or train again"):
        load_tokenizer(tmp_path / "s.json")


def test_sources_side_by_side() -> None:
    ids, lengths = padded([[5, 6], [7]])
    assert ids.tolist() == [[5, 6, EOS], [7, EOS, PAD]] and lengths.tolist() == [3, 2]
    frames, lengths = padded([np.ones((2, 3), np.float32), np.ones((1, 3), np.float32)])
    assert frames.shape == (2, 3, 3) and frames.dtype == torch.float32 and lengths.tolist() == [3, 2]
    assert frames.sum((1, 2)).tolist() == [6.0, 3.0] and not frames[0, 2].any() and not frames[1, 1:].any()


def test_prepared_series_are_the_numbers_of_the_file(tmp_path: Path) -> None:
    rows = waves(30, 1)
    write(tmp_path / "train.ts", rows)
    write(tmp_path / "valid.ts", waves(5, 2))
    prepared = prepare(config(tmp_path))
    series = prepared.tokenizers["source"]
    for i, (text, label) in enumerate(rows):
        source, target = prepared.train.ids(i)
        np.testing.assert_allclose(source * series.deviation + series.mean, numbers(text), rtol=1e-5, atol=1e-4)
        assert prepared.tokenizers["target"].decode(target) == label and prepared.train.source_lengths[i] == len(source)
    batch = collate(prepared.train, [0, 1])
    assert batch.source.shape == (2, int(batch.source_lengths.max()), 2) and batch.source.dtype == torch.float32
    assert prepared.report["splits"]["train"]["tokens"]["source"] == sum(len(numbers(text)) for text, _ in rows)


def test_bad_lines_of_a_file(tmp_path: Path) -> None:
    write(tmp_path / "train.ts", [*waves(200, 1), ("1,?:2,3", "slow")])
    write(tmp_path / "valid.ts", waves(5, 2))
    meta = prepare(config(tmp_path)).train.meta
    assert meta["bad"] == 1 and "line 206: not a series of numbers" in meta["first_bad"][0]
    write(tmp_path / "train.ts", [*waves(200, 1), ("1,2", "slow")])
    [said] = prepare(config(tmp_path)).train.meta["first_bad"]
    assert said.endswith("line 206: a series of 1 channels, and the first has 2")
    (tmp_path / "valid.ts").write_text("1,2:3,4:slow\n")
    with pytest.raises(RegardError, match="no line says @data"):
        prepare(config(tmp_path))


def test_numbers_of_json_lines_and_parquet(tmp_path: Path) -> None:
    rows = waves(30, 1)
    records = [{"x": numbers(text).tolist(), "label": label} for text, label in rows]
    bad = {"x": [[1.0, 2.0], [3.0]], "label": "slow"}
    lines = [json.dumps(record) + "\n" for record in [*records, bad]]
    (tmp_path / "train.jsonl").write_text("".join(lines))
    pq.write_table(pa.Table.from_pylist(records[:5]), tmp_path / "valid.parquet")
    splits = {"train": {"table": "train.jsonl"}, "valid": {"table": "valid.parquet"}}
    columns = {"source_column": "x", "target_column": "label", "max_bad_fraction": 0.1}
    prepared = prepare(DataConfig.model_validate({**config(tmp_path).model_dump(), **splits, **columns}))
    assert len(prepared.train) == 30 and "line 31: not a series of numbers" in prepared.train.meta["first_bad"][0]
    for split in (prepared.train, prepared.valid):
        np.testing.assert_array_equal(split.ids(3)[0], prepared.tokenizers["source"].encode([rows[3][0]])[0])
    for draw in (np.random.default_rng(1).normal(size=(7, 3)).astype(np.float32), np.float32([1e-30, 3e30, 0])):
        np.testing.assert_array_equal(numbers(written(draw)), draw.reshape(len(draw), -1))


@pytest.mark.slow
@pytest.mark.usefixtures("no_shape_checks_in_module")
def test_a_run_tells_series_apart(tmp_path: Path) -> None:
    for name, rows in {"train": waves(120, 1), "valid": waves(30, 2), "test": waves(40, 3)}.items():
        write(tmp_path / f"{name}.ts", rows)
    data = config(tmp_path).model_dump(mode="json") | {"test": {"table": "test.ts"}}
    model = {"embed": 8, "encoder": {"hidden": 8}, "attention": None}
    model |= {"decoder": {"type": "labels", "hidden": 8, "pooling": {"type": "attention", "dim": 8}}}
    train = {"epochs": 15, "batch_tokens": 200, "warmup": 10, "learning_rate": 1e-2, "threads": 1}
    recipe = Recipe.from_dict({"task": "classify", "data": data, "model": model, "train": train})
    run = regard.train(recipe, tmp_path / "run", console=Console(quiet=True))
    predictor = regard.load(run.path)
    assert evaluate(predictor, split_examples(predictor, "test")).scores["accuracy"].value > 90
    texts = [text for text, _ in waves(9, 4)]
    together = predictor.predict([*texts, ""], attention=True)
    assert together[-1][0].text == ""
    for text, [best] in zip(texts, together[:-1], strict=True):
        [[alone]] = predictor.predict([text])
        assert (alone.text, alone.log_prob) == (best.text, best.log_prob)
        assert best.attention is not None and best.attention.shape[1] == len(numbers(text)) + 1
    [[bad], [good]] = predictor.predict(["1,2", texts[0]])
    assert bad.problem is not None and "1 channels, expected 2" in bad.problem and good.text
    told = predictor.score(texts, ["slow"] * len(texts))
    assert all(one.problem is None for one in told)
    assert json.loads((run.path / "tokenizer-source.json").read_text())["series"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": {"spelling": {}}}, "numbers have no words"),
        ({"model": {"word_dropout": 0.1}}, "numbers have no words"),
        ({"data": {"target": {"tokenizer": "series"}}}, "read, not written"),
        ({"data": {"source": {"tokenizer": "series", "turns": 2}}}, "leave out tags, turns"),
    ],
)
def test_what_a_recipe_may_not_say(tmp_path: Path, changes: dict[str, dict[str, object]], said: str) -> None:
    sections: dict[str, dict[str, object]] = {
        "data": config(tmp_path).model_dump(mode="json"),
        "model": {"attention": None, "decoder": {"type": "labels"}},
        "train": {},
    }
    for key, values in changes.items():
        sections[key] = {**sections[key], **values}
    with pytest.raises(RegardError, match=said):
        Recipe.from_dict({"task": "classify", **sections})

"""Recipes: what is read, what is refused and in which words, what a recipe says about itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.errors import RegardError
from regard.recipe import (
    NOT_IN_RESULT,
    Recipe,
    difference,
    find_recipe,
    load_recipe,
    shipped_recipes,
)
from regard.recipe_errors import all_keys
from regard.tasks import TASKS
from regard.yaml_text import MAX_BYTES, read_yaml, write_yaml

GOOD = """\
task: transduce
data:
  train: {table: a.tsv}
  valid: {table: [b.tsv, c.tsv]}
train:
  epochs: 5
"""


def load(tmp_path: Path, text: str, *overrides: str) -> Recipe:
    path = tmp_path / "x.yaml"
    path.write_text(text, encoding="utf-8")
    return load_recipe(path, overrides)


def mistakes(tmp_path: Path, text: str, *overrides: str) -> list[str]:
    """The lines of the error, without the folder."""
    with pytest.raises(RegardError) as caught:
        load(tmp_path, text, *overrides)
    return str(caught.value).replace(f"{tmp_path}/", "").splitlines()


# YAML


def test_yaml_one_point_two() -> None:
    text = "{a: no, b: 3e-3, c: 1:30, d: 2021-01-01, e: 0x10, f: 010, g: 1_000, h: .inf, i: ~, j: TRUE, no: '5'}"
    assert read_yaml(text, "t").value == {
        "a": "no",
        "b": 0.003,
        "c": "1:30",
        "d": "2021-01-01",
        "e": 16,
        "f": 10,
        "g": 1000,
        "h": float("inf"),
        "i": None,
        "j": True,
        "no": "5",
    }


def test_yaml_places() -> None:
    document = read_yaml("a: 1\nb:\n  c: [x, y]\n", "t")
    assert document.keys[("b", "c")] == (3, 3)
    assert document.values[("b", "c")] == (3, 6)
    assert document.values[("b", "c", 1)] == (3, 10)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", r"t line 3, column 1: a was already given on line 1"),
        ("a: [1, 2", r"t line 1, column 9: not valid YAML"),
        ("a: &x 1\nb: *x", r"t line 1, column 4: anchors and aliases"),
        ("a: !!python/object:os.system ls", r"t line 1, column 4: the tag .* is not read"),
        ("[a, b]: 1", r"t line 1, column 1: a key must be one word"),
        ("a: 1\n---\nb: 2", r"t line 2, column 1: not valid YAML, expected a single document"),
        ("a: \x01", r"t: not valid YAML, unacceptable character"),
        ("- " * 2_000, r"t: values are nested hundreds deep"),
        ("#" * (MAX_BYTES + 1), r"t: more than 256 KiB"),
        ("9" * 5000, r"t line 1, column 1: not a whole number"),
    ],
)
def test_yaml_refuses(text: str, message: str) -> None:
    with pytest.raises(RegardError, match=message):
        read_yaml(text, "t")


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=40, deadline=None)
@given(plain)
def test_yaml_round_trip(value: Any) -> None:
    assert read_yaml(write_yaml(value), "t").value == value


# Loading


@pytest.mark.parametrize("path", shipped_recipes(), ids=lambda path: path.stem)
def test_every_shipped_recipe_loads(path: Path) -> None:
    recipe = load_recipe(path.stem)
    assert recipe == load_recipe(path)
    assert recipe.about.title and recipe.about.source and recipe.about.license, "say where the data comes from"
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 40, "defaults should do the work"


def test_one_recipe_per_data_set() -> None:
    assert len(shipped_recipes()) >= 16
    assert len({load_recipe(path).hash() for path in shipped_recipes()}) == len(shipped_recipes())


def test_resolved_text_gives_the_same_recipe(tmp_path: Path) -> None:
    recipe = load(tmp_path, GOOD, "about.title='no: really'", "data.source.remove='[0-9]'", "model.attention=none")
    again = load(tmp_path, recipe.to_yaml())
    assert again == recipe
    assert again.to_yaml() == recipe.to_yaml()
    assert again.hash() == recipe.hash()
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    assert set(all_keys(Recipe)) >= {"train.epochs", "data.train.table", "model.attention.heads"}


def test_overrides(tmp_path: Path) -> None:
    recipe = load(
        tmp_path,
        GOOD,
        "train.epochs=7",
        "train.epochs=8",  # the last one counts
        "train.learning_rate=3e-3",
        "data.train.table=[x.tsv, y.tsv]",
        "data.test={table: z.tsv}",
        "train.updates=null",
        "about.note=no",
        "about.title=a=b",
        "model.attention.score=dot",
        "model.encoder.hidden=128",
    )
    assert recipe.train.epochs == 8
    assert recipe.train.learning_rate == 0.003
    assert recipe.data.train.table == ["x.tsv", "y.tsv"]
    assert recipe.data.test is not None and recipe.data.test.table == "z.tsv"
    assert recipe.about.note == "no" and recipe.about.title == "a=b"
    assert recipe.model.attention is not None and recipe.model.attention.score.type == "dot"


def test_by_name_and_by_path(tmp_path: Path) -> None:
    assert find_recipe("demo-cmudict") == find_recipe("demo-cmudict.yaml")
    with pytest.raises(RegardError, match=r"demo-cmudic: no such recipe; did you mean demo-cmudict"):
        load_recipe("demo-cmudic")
    with pytest.raises(RegardError, match=r"words\.yml: no such file; `regard recipes` lists"):
        load_recipe("words.yml")
    with pytest.raises(RegardError, match=r"qqq: no such recipe; `regard recipes` lists"):
        load_recipe("qqq")
    with pytest.raises(RegardError, match="a folder, expected a recipe"):
        load_recipe(tmp_path)


# Mistakes


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("epochs: 5", "epochs: five\n  epoch: 3\n  learning_rate: no\n  schedule: lin\n  clip: -1.5")
    text += "epochs: 3\nmodel: {dropuot: 3, attention: {head: 2}}\nseed: '1'\nabout: {license: 3}\nsearch: 5\n"
    found = mistakes(tmp_path, text)
    assert found[:4] == [
        'x.yaml line 6, column 11: train.epochs must be a whole number or null, found "five".',
        "x.yaml line 7, column 3: train.epoch is not a key; did you mean train.epochs?",
        'x.yaml line 8, column 18: train.learning_rate must be a number, found "no".',
        'x.yaml line 9, column 13: train.schedule must be one of constant, linear, cosine, inverse_sqrt, found "lin".',
    ]
    assert found[4:8] == [
        "x.yaml line 10, column 9: train.clip must be a number, greater than or equal to 0, found -1.5.",
        "x.yaml line 11, column 1: epochs is not a key; did you mean train.epochs?",
        "x.yaml line 12, column 9: model.dropuot is not a key; did you mean model.dropout or model.word_dropout?",
        "x.yaml line 12, column 33: model.attention.head is not a key; did you mean model.attention.heads?",
    ]
    assert found[8:10] == [
        'x.yaml line 13, column 7: seed must be a whole number, found "1".',
        "x.yaml line 14, column 18: about.license must be text, found 3 (put it in quotes).",
    ]
    assert found[10].startswith("x.yaml line 15, column 9: search must be a mapping (keys: method, ")
    assert len(found) == 11


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epoch=7", "train.epoch=7: train.epoch is not a key; did you mean train.epochs?"),
        (
            "model.attention.score.width=3",
            "model.attention.score.width=3: model.attention.score.width is a key of location: "
            "choose one by model.attention.score.type=location, or leave width out.",
        ),
        (
            "model.encoder={type: birnn, memory: bottom}",
            "model.encoder={type: birnn, memory: bottom}: model.encoder.memory is a key of hierarchical, and "
            "model.encoder is birnn: leave it out, as the override model.encoder=birnn does.",
        ),
        ("train.epochs=x", 'train.epochs=x: train.epochs must be a whole number or null, found "x".'),
        ("train.warmup=5.0", "train.warmup=5.0: train.warmup must be a whole number, found 5.0."),
        ("train.clip=.inf", "train.clip=.inf: train.clip must be a number, found Infinity."),
        ("seed.x=1", 'seed.x=1: seed must be a whole number, found {"x": 1}.'),
        ("train.epochs", "train.epochs: an override is key=value, such as train.epochs=5."),
        ("=5", "=5: an override is key=value, such as train.epochs=5."),
        ("seed=[1", "seed=[1: '[1' is not one YAML value; put quotes around it."),
        (
            "data.valid.percent=[1]",
            "data.valid.percent=[1]: data.valid.percent must be a list of 2 (a whole number, a whole number) "
            "or null, found [1].",
        ),
        ("data.train.table=[1]", "data.train.table=[1]: data.train.table.0 must be text, found 1 (put it in quotes)."),
        ("task=translat", "task=translat: task: there is no task 'translat'; did you mean translate?"),
        (
            "model.tie=all",
            "x.yaml: model.tie=all shares one embedding table, so it needs data.shared_vocabulary=true.",
        ),
        (
            "train.metric=bleu",
            "x.yaml: train.metric: task transduce does not report 'bleu'; there are wer, per, perplexity, accuracy.",
        ),
        ("about.title.x=1", 'about.title.x=1: about.title must be text, found {"x": 1}.'),
    ],
)
def test_override_mistakes(tmp_path: Path, override: str, message: str) -> None:
    assert mistakes(tmp_path, GOOD, override) == [message]


def test_a_coverage_penalty_needs_attention(tmp_path: Path) -> None:
    (found,) = mistakes(tmp_path, GOOD, "model.attention=none", "search.coverage_penalty=0.2")
    assert found == (
        "x.yaml: search.coverage_penalty 0.2 is about attention, and model.attention is none: set it to 0."
    )
    load(tmp_path, GOOD, "model.attention=none", "search.coverage_penalty=0")


def test_part_chosen_by_name(tmp_path: Path) -> None:
    (found,) = mistakes(tmp_path, GOOD + "model:\n  attention:\n    scope: windo\n")
    assert found == "x.yaml line 9, column 12: model.attention.scope: there is no 'windo'; did you mean window?"
    (found,) = mistakes(tmp_path, GOOD + "model:\n  attention:\n    scope: {type: window, widht: 3}\n")
    assert found == (
        "x.yaml line 9, column 27: model.attention.scope.widht is not a key; did you mean model.attention.scope.width?"
    )


def test_an_override_of_a_parts_setting_keeps_the_part(tmp_path: Path) -> None:
    written = GOOD + "model: {decoder: marginal, attention: {scope: {type: blocks, size: 4}}}\n"
    (tmp_path / "x.yaml").write_text(written, encoding="utf-8")
    changes = ["model.decoder.hidden=8", "model.attention.scope.before=2", "model.attention.scope=whole"]
    recipe = load_recipe(tmp_path / "x.yaml", changes)
    assert (recipe.model.decoder.type, recipe.model.decoder.hidden) == ("marginal", 8)
    assert recipe.model.attention.scope.type == "whole"
    assert load_recipe(tmp_path / "x.yaml", [changes[2], "model.encoder.hidden=8"]).model.encoder.type == "birnn"


def test_a_sampled_softmax_has_nothing_to_save_with_marginal(tmp_path: Path) -> None:
    (found,) = mistakes(tmp_path, GOOD + "model: {decoder: marginal}\n", "train.sampled_softmax=500")
    assert "train.sampled_softmax 500 saves nothing with model.decoder marginal" in found


def test_self_attention_is_refused_where_it_stands(tmp_path: Path) -> None:
    encoder = "model: {encoder: {type: self_attentive, attention: {dim: 8, heads: 3}}}\n"
    (found,) = mistakes(tmp_path, GOOD + encoder)
    assert "model.encoder.attention: dim 8 cannot be split over 3 heads" in found


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_cells_heads_are_refused_where_they_stand(part: str, tmp_path: Path) -> None:
    (found,) = mistakes(tmp_path, GOOD + f"model: {{{part}: {{cell: {{type: attentive, dim: 8, heads: 3}}}}}}\n")
    assert f"model.{part}.cell: dim 8 cannot be split over 3 heads: choose a multiple of the number of heads" in found


def test_a_parts_own_words(tmp_path: Path) -> None:
    (found,) = mistakes(tmp_path, GOOD + "  updates: null\n", "train.epochs=null")
    assert found.startswith("x.yaml line 5, column 1: train: set train.epochs or train.updates")
    (found,) = mistakes(tmp_path, GOOD + "model: {attention: {heads: 3}}\n")
    assert "cannot be split over 3 heads" in found and found.startswith("x.yaml line 7, column 1: model: ")


def test_missing_and_empty(tmp_path: Path) -> None:
    assert mistakes(tmp_path, "")[0].startswith("x.yaml: a recipe is keys and values")
    assert mistakes(tmp_path, "- a")[0].startswith("x.yaml: a recipe is keys and values")
    found = mistakes(tmp_path, "data:\n  train: {table: a}\n")
    assert found[0] == "x.yaml: task is missing; it must be text."
    assert found[1].startswith("x.yaml line 1, column 1: data.valid is missing; it must be a mapping (keys: table,")


def test_files_that_are_no_recipes(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"task: \xff\n")
    with pytest.raises(RegardError, match="byte 6 is not UTF-8"):
        load_recipe(path)
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(RegardError, match="larger than 256 KiB"):
        load_recipe(path)
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())  # a byte order mark is no mistake
    assert load_recipe(path).task == "transduce"


def test_values_that_no_yaml_holds() -> None:
    with pytest.raises(RegardError, match="only what YAML can say"):
        Recipe.from_dict({"task": object()})


# Identity


def test_difference_and_hash(tmp_path: Path) -> None:
    before = load(tmp_path, GOOD)
    now = load(tmp_path, GOOD, "train.epochs=7", "data.train.percent=[0,10]", "model.attention=none")
    changes = difference(before, now)
    assert changes[0] == "data.train.percent was null, is [0, 10]"
    assert "train.epochs was 5, is 7" in changes
    assert any(line.startswith("model.attention.") for line in changes)
    assert before.hash() != now.hash()
    assert len(before.hash()) == 64


def test_what_the_result_does_not_depend_on(tmp_path: Path) -> None:
    before = load(tmp_path, GOOD)
    now = load(
        tmp_path,
        GOOD,
        "about.title=x",
        "data.root=/elsewhere",
        "data.cache=/elsewhere",
        "train.minutes=3",
        "train.keep=2",
        "train.save_every=9",
        "train.log_every=9",
    )
    assert now != before
    assert difference(before, now) == []
    assert now.hash() == before.hash()
    assert set(NOT_IN_RESULT) <= set(all_keys(Recipe)), "each names a key that exists"


def test_the_order_of_rates_is_part_of_the_result() -> None:
    one, other = (
        load_recipe("demo-cmudict", [f"train.rates=[{rates}]"])
        for rates in ("[encoder.*, 0.1], ['*', 0.5]", "['*', 0.5], [encoder.*, 0.1]")
    )
    assert one.hash() != other.hash() and "train.rates was" in difference(one, other)[0]


def test_a_run_that_chose_by_per_still_does() -> None:
    recipe = load_recipe("transduce-ar2en", ["train.metric=per"])
    assert list(TASKS["transduce"](recipe).metrics)[:2] == ["wer", "per"]
    assert list(TASKS["transduce"](load_recipe("transduce-ar2en")).metrics)[:2] == ["wer", "cer"]

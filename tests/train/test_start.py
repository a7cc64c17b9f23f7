"""Fine-tuning takes over what two runs share, row by row where the vocabulary differs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from regard.data.config import TextConfig
from regard.data.tokenizer import RESERVED, Tokenizer
from regard.errors import RegardError
from regard.model import Seq2Seq
from regard.model_config import ModelConfig
from regard.train.runfolder import Run
from regard.train.start import _copy_rows, start_from
from regard.train.weights import load_into, model_tensors


def words(text: str) -> Tokenizer:
    return Tokenizer.train([text], TextConfig(tokenizer="word", vocab=400))


def model(source: Tokenizer, target: Tokenizer, **keys: object) -> Seq2Seq:
    return Seq2Seq(ModelConfig.model_validate({"embed": 8, **keys}), source_vocab=source.size, target_vocab=target.size)


@pytest.fixture
def old(tmp_path: Path) -> tuple[Run, Seq2Seq, Tokenizer]:
    tokenizer = words("ein hund rennt")
    built = model(tokenizer, tokenizer)
    return run_of(built, tokenizer, tmp_path / "old"), built, tokenizer


def run_of(built: Seq2Seq, tokenizer: Tokenizer, path: Path) -> Run:
    run = Run(path)
    run.path.mkdir()
    run.write_info(status="finished")
    run.write_weights(model_tensors(built))
    for side in ("source", "target"):
        tokenizer.save(run.path / f"tokenizer-{side}.json")
    return run


@pytest.mark.parametrize("text", ["der hund rennt", "hund rennt und rennt weit"])
def test_shared_pieces_move_to_their_new_rows(old: tuple[Run, Seq2Seq, Tokenizer], text: str) -> None:
    run, before, had = old
    now = words(text)
    tuned = model(now, now)
    fresh = {name: value.clone() for name, value in model_tensors(tuned).items()}
    report = start_from(run, tuned, {"source": now, "target": now})
    assert report["new"] == [] and report["unused"] == [] and "decoder.combine.weight" in report["copied"]
    assert report["rows"]["source_embedding.weight"] == f"{len(RESERVED) + 3} of {now.size}"  # and the space
    for name in ("source_embedding.weight", "decoder.embedding.weight", "decoder.readout.bias"):
        table, origin = model_tensors(tuned)[name], model_tensors(before)[name]
        for word in text.split():
            (row,) = now.encode([word])[0]
            same = origin[had.encode([word])[0][0]] if word in ("hund", "rennt") else fresh[name][row]
            assert torch.equal(table[row], same), word
        assert torch.equal(table[: len(RESERVED)], origin[: len(RESERVED)])
    assert torch.equal(tuned.decoder.combine.weight, before.decoder.combine.weight)


def test_parts_of_other_sizes_stay_new(old: tuple[Run, Seq2Seq, Tokenizer]) -> None:
    run, _, had = old
    wider = model(had, had, attention={"dim": 64})
    report = start_from(run, wider, {"source": had, "target": had})
    assert report["new"] and all("attention" in name for name in report["new"])


def test_only_the_parts_that_are_named(old: tuple[Run, Seq2Seq, Tokenizer]) -> None:
    run, before, had = old
    tuned, fresh = model(had, had), model(had, had)
    fresh.load_state_dict(tuned.state_dict())
    report = start_from(run, tuned, {"source": had, "target": had}, ["encoder.*", "decoder.embedding.*"])
    assert all(name.startswith("encoder.") for name in report["copied"]) and list(report["rows"]) == [
        "decoder.embedding.weight"
    ]
    for name, now in model_tensors(tuned).items():
        taken = name.startswith(("encoder.", "decoder.embedding."))
        assert torch.equal(now, model_tensors(before if taken else fresh)[name]), name
    with pytest.raises(
        RegardError, match=r"train.init_parts: no parameter matches 'coder.\*'; parts are decoder, encoder"
    ):
        start_from(run, tuned, {"source": had, "target": had}, ["coder.*"])


def test_tables_alone(old: tuple[Run, Seq2Seq, Tokenizer]) -> None:
    run, before, had = old
    tuned = model(had, had)
    assert start_from(run, tuned, {"source": had, "target": had}, ["source_embedding.*"])["copied"] == []
    assert torch.equal(tuned.source_embedding.weight, before.source_embedding.weight)


def test_a_language_model_is_the_start_of_a_decoder(tmp_path: Path) -> None:
    """Its one table is the target's."""
    had, now = words("ein hund rennt"), words("a dog runs hund")
    plain = {"attention": "none", "decoder": {"type": "recurrent", "input_feeding": False}}
    writer = model(had, had, encoder={"type": "none"}, **plain)
    run = run_of(writer, had, tmp_path / "writer")
    translator = model(now, had, decoder=plain["decoder"])
    report = start_from(run, translator, {"source": now, "target": had}, ["decoder.*"])
    assert torch.equal(translator.decoder.embedding.weight, writer.decoder.embedding.weight)
    assert "decoder.cells.0.rnn.weight_ih_l0" in report["copied"] and "source_embedding.weight" in report["new"]
    assert "decoder.combine.weight" in report["new"]  # it has a context to read


def test_a_language_model_is_the_start_of_an_encoder(tmp_path: Path) -> None:
    """Its decoder's cell reads forwards, as one direction of the encoder does; its table is the source's."""
    had, now = words("ein hund rennt"), words("hund rennt weit")
    plain = {"attention": "none", "decoder": {"type": "recurrent", "input_feeding": False}}
    writer = model(had, had, encoder={"type": "none"}, **plain)
    run = run_of(writer, had, tmp_path / "writer")
    reader = model(now, had)
    tokenizers, parts = {"source": now, "target": had}, ["encoder.layers.0.0.*", "source_embedding.*"]
    report = start_from(run, reader, tokenizers, parts, [("encoder.layers.0.0.", "decoder.cells.0.")])
    cell, origin = (
        dict(reader.encoder.layers[0][0].named_parameters()),
        dict(writer.decoder.cells[0].named_parameters()),
    )
    assert cell.keys() == origin.keys() and all(torch.equal(cell[name], origin[name]) for name in cell)
    assert report["rows"] == {"source_embedding.weight": f"{len(RESERVED) + 3} of {now.size}"}
    (here,), (there,) = now.encode(["hund"])[0], had.encode(["hund"])[0]
    assert torch.equal(reader.source_embedding.weight[here], writer.decoder.embedding.weight[there])
    assert "decoder.cells.0.rnn.weight_ih_l0" not in report["unused"]
    with pytest.raises(RegardError, match=r"train\.init_names: no parameter begins with 'coder\.'; some that do are"):
        start_from(run, reader, tokenizers, [], [("coder.", "decoder.")])


def test_nothing_in_common_is_refused(old: tuple[Run, Seq2Seq, Tokenizer]) -> None:
    run, _, had = old
    other = model(
        had,
        had,
        embed=4,
        encoder={"type": "birnn", "hidden": 5},
        decoder={"type": "recurrent", "hidden": 7},
        attention="none",
    )
    with pytest.raises(RegardError, match=r"train.init_from: .*old shares no tensor's name and shape"):
        start_from(run, other, {"source": had, "target": had})


def test_tied_tables_are_stored_once_and_load(old: tuple[Run, Seq2Seq, Tokenizer]) -> None:
    tokenizer = old[2]
    tied, again = (model(tokenizer, tokenizer, tie="all") for _ in range(2))
    tables = [n for n, t in model_tensors(tied).items() if t.shape == (tokenizer.size, 8)]
    assert tables == ["source_embedding.weight"]
    load_into(again, model_tensors(tied), "here")
    assert torch.equal(again.decoder.readout.table.weight, tied.source_embedding.weight)


def test_weights_of_another_model_are_refused(old: tuple[Run, Seq2Seq, Tokenizer]) -> None:
    run, _, had = old
    with pytest.raises(RegardError, match=r"has shape \[264, 8\], the model needs \[264, 4\]"):
        load_into(model(had, had, embed=4), run.weights(), run.path)
    with pytest.raises(RegardError, match=r"0 missing, 4 unknown \(such as decoder.attention"):
        load_into(model(had, had, attention="none", decoder={"type": "recurrent"}), run.weights(), run.path)


def test_characters_of_spellings_are_copied_by_what_they_are(tmp_path):
    """The numbers of characters are a vocabulary's own."""
    had, now = (Tokenizer.train([text], TextConfig(tokenizer="word", vocab=300)) for text in ("abc cab", "cd bcd"))
    torch.manual_seed(0)
    table = torch.randn(len(had.characters()) + 1, 4)
    mine = torch.zeros(len(now.characters()) + 1, 4)
    count = _copy_rows(mine, table, now.characters(), had.characters())
    both = set(had.characters()) & set(now.characters())
    assert count == len(both) and {"b", "c", " "} <= both and "d" not in both
    for character in both:
        assert torch.equal(mine[now.characters()[character]], table[had.characters()[character]])
    assert not mine[now.characters()["d"]].any()

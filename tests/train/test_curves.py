"""Learning curves from whole, partial and odd logs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from regard.errors import RegardError
from regard.train import curves
from regard.train.curves import learning_curves


@pytest.fixture
def drawn(monkeypatch) -> list:
    """The figures that are saved, for looking at what is in them."""
    figures: list = []
    real = curves.save

    def save(figure, path):
        figures.append(figure)
        return real(figure, path)

    monkeypatch.setattr(curves, "save", save)
    return figures


def log(path: Path, *records: dict, tail: str = "") -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records) + tail, encoding="utf-8")
    return path


def lines(axes) -> dict[str, list[tuple[float, float]]]:
    return {
        line.get_label(): list(zip(*line.get_data(), strict=True))
        for line in axes.lines
        if not line.get_label().startswith("_")
    }


def test_panels_and_best_points(tmp_path: Path, drawn: list):
    records = [{"type": "start", "versions": {"torch": "2"}}]
    for update in (1, 2, 3):
        records.append({"type": "train", "update": update, "loss": 4.0 - update, "learning_rate": update / 1000})
        records.append({"type": "valid", "update": update, "perplexity": 8.0 - update, "bleu": [5, 9, 7][update - 1]})
    path = learning_curves(log(tmp_path / "m.jsonl", *records), tmp_path / "c.png", "en→de")
    assert path.stat().st_size > 5000
    loss, validation, rate = drawn[0].axes
    assert lines(loss)["training"] == [(1, 3.0), (2, 2.0), (3, 1.0)]
    assert lines(validation)["BLEU (higher is better)"] == [(1, 5), (2, 9), (3, 7)]
    assert [text.get_text() for text in validation.texts] == ["9"] and validation.texts[0].xy == (2, 9)
    assert loss.texts[0].xy[0] == 3  # the lowest perplexity
    assert lines(rate)["learning rate"][-1] == (3, 0.003)


def test_directions_nested_metrics_and_the_last_of_two_records(tmp_path: Path, drawn: list):
    metrics = log(
        tmp_path / "m.jsonl",
        {"type": "valid", "update": 5, "metrics": {"wer": 40.0, "mine": 1.0, "other": 3}, "seconds": 2.0},
        {"type": "valid", "update": 9, "metrics": {"wer": 30.0, "mine": 2.0}},
        {"type": "valid", "update": 5, "metrics": {"wer": 20.0}},  # resumed from before 9
    )
    learning_curves(metrics, tmp_path / "c.png", "t", better={"mine": False})
    _, validation = drawn[0].axes
    assert lines(validation) == {
        "WER (lower is better)": [(5, 20.0), (9, 30.0)],
        "mine (lower is better)": [(5, 1.0), (9, 2.0)],
    }
    assert [text.xy for text in validation.texts] == [(5, 20.0), (5, 1.0)]


def test_partial_logs(tmp_path: Path, drawn: list):
    for name, records, tail in [
        ("empty", [], ""),
        ("half a line", [], '{"type": "tra'),
        ("only training", [{"type": "train", "update": 1, "loss": 2.0}], '{"type": "valid", "upd'),
        ("only validation", [{"type": "valid", "update": 1, "perplexity": 3.0}], ""),
        ("not finite", [{"type": "train", "update": 1, "loss": None}, {"type": "valid", "bleu": 3.0}], ""),
        ("kind", [{"kind": "valid", "update": 1, "exact": 50.0}], ""),
    ]:
        assert learning_curves(log(tmp_path / "m.jsonl", *records, tail=tail), tmp_path / "c.png", name).is_file()
    panels = [len(figure.axes) for figure in drawn]
    assert panels == [1, 1, 1, 1, 1, 2]
    assert [figure.axes[0].texts[0].get_text() for figure in (drawn[0], drawn[4])] == ["nothing recorded yet"] * 2


def test_same_log_same_bytes(tmp_path: Path):
    metrics = log(tmp_path / "m.jsonl", *({"type": "train", "update": u, "loss": 1 / u} for u in range(1, 99)))
    first = learning_curves(metrics, tmp_path / "1.png", "Обучение $x$").read_bytes()
    assert learning_curves(metrics, tmp_path / "2.png", "Обучение $x$").read_bytes() == first


def test_no_log(tmp_path: Path):
    with pytest.raises(RegardError, match="no such file; learning curves"):
        learning_curves(tmp_path / "m.jsonl", tmp_path / "c.png", "t")

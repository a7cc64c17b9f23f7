"""Ours made like a peer: the same kind of attention and layers, and sizes such that both have as many parameters.

A worker's `shape` says what its model is (see DEFAULTS); from it comes our configuration, whose embedding and hidden
sizes are then searched until all parameters, and those that multiply, differ least from the peer's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from regard.data.config import SPECIALS
from regard.model import Seq2Seq, parameter_count
from regard.model_config import ModelConfig

DEFAULTS: dict[str, Any] = {
    "cell": "lstm",
    "attention": "additive",
    "attend": "after",
    "input_feeding": True,
    "bidirectional": True,
    "tied_output": False,
}
"""What a shape need not say; besides it has embed, encoder_hidden (of each direction), decoder_hidden, layers."""
TOLERANCE = 0.03
GRAIN = 16
"""Sizes are multiples of this, so that ours is no slower for odd rows; of 1 where embeddings are smaller than FINE."""
FINE = 128
DROPOUT = 0.2


def config(shape: Mapping[str, Any], embed: int, hidden: int) -> ModelConfig:
    """Our model like the peer's, with other sizes; the encoder keeps its proportion to the decoder."""
    its = {**DEFAULTS, **shape}
    encoder = max(1, round(hidden * its["encoder_hidden"] / its["decoder_hidden"]))
    return ModelConfig.model_validate(
        {
            "embed": embed,
            "tie": "output" if its["tied_output"] else "none",
            "dropout": DROPOUT,
            "output_dropout": DROPOUT,
            "encoder": {
                "type": "birnn",
                "cell": its["cell"],
                "hidden": encoder,
                "layers": its["layers"],
                "bidirectional": its["bidirectional"],
            },
            "decoder": {
                "type": "recurrent",
                "cell": its["cell"],
                "hidden": hidden,
                "layers": its["layers"],
                "attend": its["attend"],
                "input_feeding": its["input_feeding"],
            },
            "attention": {"score": its["attention"], "dim": hidden},
        }
    )


def count(model: ModelConfig, pieces: Mapping[str, int]) -> tuple[int, int]:
    """All parameters, and those that multiply (without embedding tables that are only looked up)."""
    vocab = {side: number + SPECIALS for side, number in pieces.items()}
    with torch.device("meta"):
        built = Seq2Seq(model, source_vocab=vocab["src"], target_vocab=vocab["tgt"])
    return parameter_count(built), parameter_count(built) - tables(model, vocab)


def tables(model: ModelConfig, vocab: Mapping[str, int]) -> int:
    """Parameters that are looked up and never multiplied with: a tied target table is the output layer."""
    return model.embed * (vocab["src"] + (vocab["tgt"] if model.tie == "none" else 0))


def resized(shape: Mapping[str, Any], parameters: int, useful: int, pieces: Mapping[str, int]) -> ModelConfig:
    """Our model with as many parameters as the peer, within TOLERANCE, and among those the one whose multiplying
    parameters, and then whose embedding size, are nearest the peer's."""
    best: tuple[float, ModelConfig] | None = None
    grain = GRAIN if shape["embed"] >= FINE else 1
    low, high = max(grain, shape["embed"] // 2 // grain * grain), 2 * shape["embed"]
    for embed in range(low, high + 1, grain):
        hidden = _fitting(shape, embed, parameters, pieces, grain)
        for each in {max(grain, hidden + step) for step in (-grain, 0, grain)}:
            model = config(shape, embed, each)
            found = count(model, pieces)
            if abs(found[0] / parameters - 1) > TOLERANCE:
                continue
            off = abs(math.log(found[1] / useful)) + 0.1 * abs(math.log(embed / shape["embed"]))
            off += 0.5 * abs(math.log(found[0] / parameters))
            if best is None or off < best[0]:
                best = off, model
    if best is None:
        raise ValueError(f"no size of ours has {parameters:,} parameters within {TOLERANCE:.0%}: {dict(shape)}")
    return best[1]


def _fitting(shape: Mapping[str, Any], embed: int, parameters: int, pieces: Mapping[str, int], grain: int) -> int:
    """The largest hidden size, a multiple of `grain`, with at most so many parameters."""
    low, high = 1, 4 * shape["decoder_hidden"] // grain + 1
    while low < high:
        middle = (low + high + 1) // 2
        if count(config(shape, embed, middle * grain), pieces)[0] <= parameters:
            low = middle
        else:
            high = middle - 1
    return low * grain

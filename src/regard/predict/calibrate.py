"""A run's temperature: probabilities of labels that are what they say, learned from its validation data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from regard.data.batches import BatchPlan, collate
from regard.data.config import MOST_TOKENS
from regard.data.prepare import prepare_split
from regard.data.store import Pairs
from regard.data.tokenizer import PAD
from regard.decode.labels import LabelDecoder
from regard.errors import RegardError
from regard.predict.member import Member, load_member
from regard.score.calibration import best_temperature, calibration_error
from regard.tasks.text import short_enough
from regard.train.files import json_bytes, write_bytes
from regard.train.runfolder import CALIBRATION


@dataclass(frozen=True)
class Calibration:
    """What a temperature does, measured where it was learned."""

    temperature: float
    nll: tuple[float, float]
    """−log p of an example, in nats, without the temperature and with it"""
    error: tuple[float, float]
    """expected calibration error in percent, the same; of sets of labels, over all decisions"""
    examples: int
    weights_sha256: str
    """of which weights"""


def calibrate(path: str | Path, *, overrides: Sequence[str] = ()) -> Calibration:
    """Learn the temperature of a run from its validation data, and keep it in its folder, where `load` finds it.

    logits / T: Guo et al. 2017 (arXiv:1706.04599), section 4.2. No decision changes, only how sure it is said to be.

    overrides   `key=value`, for where the data is now: data.root, data.cache
    """
    for override in overrides:
        if not override.startswith(("data.root", "data.cache")):
            raise RegardError(f"{override}: only data.root and data.cache can be changed here.")
    member = load_member(path, overrides=overrides, calibrated=False)
    if not isinstance(member.model.decoder, LabelDecoder):
        raise RegardError(f"{member.run.path}: calibration is for labels, and task {member.recipe.task} has none.")
    decoder, data = member.model.decoder, member.recipe.data
    pairs = prepare_split(data.valid, data, member.tokenizers, about=member.recipe.about)
    logits, targets = _logits(member, decoder, pairs)

    def nll(temperature: float) -> float:
        return float(decoder.nll_of(logits / temperature, targets)) / len(targets)

    temperature = best_temperature(nll)
    errors = [_error(decoder, logits / each, targets) for each in (1.0, temperature)]
    digest = str(member.run.info["weights_sha256"][0])
    found = Calibration(temperature, (nll(1.0), nll(temperature)), (errors[0], errors[1]), len(targets), digest)
    write_bytes(member.run.path / CALIBRATION, json_bytes(asdict(found)))
    return found


@torch.no_grad()
def _logits(member: Member, decoder: LabelDecoder, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Of each example (examples, labels), in float64, and its targets (examples, longest)."""
    kept = short_enough(pairs, MOST_TOKENS, "data.valid")
    plan = BatchPlan(
        pairs.source_lengths[kept], pairs.target_lengths[kept], tokens=member.recipe.train.batch_tokens, seed=0
    )
    longest = int(pairs.target_lengths[kept].max()) + 1
    logits, targets = [], []
    for indices in plan.epoch(0):
        batch = collate(pairs, kept[indices]).to(member.device)
        source = decoder.prepare([member.model.encode(batch.source, batch.source_lengths)])
        logits.append(decoder.logits(source).double())
        missing = longest - batch.target_out.shape[1]
        targets.append(torch.nn.functional.pad(batch.target_out, (0, missing), value=PAD))
    return torch.cat(logits), torch.cat(targets)


def _error(decoder: LabelDecoder, logits: Tensor, targets: Tensor) -> float:
    confidence, right = decoder.decided(logits, targets)
    return calibration_error(confidence.cpu().numpy(), right.cpu().numpy().astype(np.bool_))

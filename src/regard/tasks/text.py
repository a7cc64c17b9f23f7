"""What text-to-text tasks share: everything but the metrics and what an example is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, cast

import numpy as np
import numpy.typing as npt
import torch

from regard.data.augment import augmented
from regard.data.batches import Batch, BatchPlan, Examples, Indices, collate
from regard.data.config import MOST_TOKENS
from regard.data.prepare import Pairs, Prepared, prepare
from regard.data.tokenizer import NOTHING, PAD, Tokenizer, unnamed
from regard.decode.config import SearchConfig
from regard.decode.engine import decode_sentences
from regard.errors import RegardError
from regard.model import LossSums, Seq2Seq, seeded
from regard.objectives import OBJECTIVES, Judge
from regard.objectives.scheduled import with_own_tokens
from regard.ops.noise import Noise
from regard.recipe import Recipe
from regard.score import TEXT_METRICS
from regard.score.agreement import order
from regard.score.metric import Metric
from regard.score.perplexity import Told, perplexity


class TextTask:
    """Text in, text out; a subclass says how outputs are scored."""

    summary: ClassVar[str]
    default_metric: ClassVar[str]
    continues: ClassVar[bool] = False
    """whether texts to be answered are beginnings, which outputs go on from, rather than sources"""

    decides: ClassVar[bool] = False
    """whether outputs are labels"""

    points: ClassVar[bool] = False
    """whether outputs are parts of their sources"""

    per_token: ClassVar[bool] = True
    """whether perplexity is per token of the output, its end counted; else per output"""

    converses: ClassVar[bool] = False
    """whether texts to be answered are the turns of a conversation, with tabs between"""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self._judge: Judge | None = None

    def scorers(self) -> list[Metric]:
        raise NotImplementedError

    @property
    def metrics(self) -> dict[str, bool]:
        scores = {scorer.name: scorer.higher_is_better for scorer in self.scorers()}
        return {**scores, "perplexity": False, "accuracy": True}

    def prepare(self, tokenizers: Mapping[str, Tokenizer] | None = None) -> Prepared:
        self.check_scorers()
        prepared = prepare(self.recipe.data, tokenizers=tokenizers, about=self.recipe.about)
        short_enough(prepared.valid, MOST_TOKENS, "data.valid")  # refused now rather than at the first validation
        return prepared

    def check_scorers(self) -> None:
        """Refuse a metric that lacks its package, and a search for another's agreement, before any work is done."""
        for scorer in self.scorers():
            scorer.corpus(["a"], [["a"]])
        self.compared_by(self.recipe.search)
        self._judged_by()

    def _judged_by(self) -> Metric | None:
        """The metric of `train.objective`, where it has one."""
        objective = self.recipe.train.objective
        if not OBJECTIVES[objective.type].judges:
            return None
        if objective.metric is None and self.default_metric not in TEXT_METRICS:
            raise RegardError(
                f"train.objective.metric: no output has a {self.default_metric}; name a metric of texts, such as chrf."
            )
        return self._comparing(objective.metric or self.default_metric, "train.objective.metric")

    def compared_by(self, search: SearchConfig) -> Metric | None:
        """The metric of `search.mbr`."""
        return None if search.mbr is None else self._comparing(search.mbr, "search.mbr")

    def _comparing(self, name: str, key: str) -> Metric:
        """The metric of texts that this key names, with the recipe's options where it is one of the recipe's."""
        known: dict[str, Metric] = {name: kind() for name, kind in TEXT_METRICS.items() if not kind.of_outputs_alone}
        known |= {scorer.name: scorer for scorer in self.scorers() if scorer.name in known}
        if name not in known:
            raise RegardError(f"{key}: no metric {name!r} compares texts; there are {', '.join(known)}.")
        return known[name]

    def build(self, tokenizers: Mapping[str, Tokenizer]) -> Seq2Seq:
        source, model = tokenizers["source"], self.recipe.model
        spellings = None if model.spelling is None else torch.from_numpy(source.spellings())
        sizes = {"source_vocab": source.size, "target_vocab": tokenizers["target"].size}
        return seeded(self.recipe.seed, Seq2Seq, model, **sizes, spellings=spellings, channels=source.channels)

    def training(self, prepared: Prepared, seed: int) -> Examples:
        metric, tokenizers = self._judged_by(), prepared.tokenizers
        if metric is not None:
            right = self._right_answers(prepared.train)
            self._judge = Judge(metric, lambda tokens: self.finish(tokens, tokenizers), right, self.recipe.search)
        return augmented(prepared.train, tokenizers, self.recipe.train, seed)

    def _right_answers(self, pairs: Pairs) -> Callable[[int], list[str]]:
        """What is right for the source of an example, of all examples with that source."""
        known: dict[str, list[str]] = {}
        for source, texts in zip(*self.examples(pairs), strict=True):
            known.setdefault(source, []).extend(texts)
        return lambda i: known[pairs.source_text(i)]

    def loss(self, model: Seq2Seq, batch: Batch, noise: Noise | None, done: float = 1.0) -> LossSums:
        train = self.recipe.train
        if noise is not None and train.scheduled_sampling and done:
            batch = with_own_tokens(model, batch, train.scheduled_sampling * done, noise)

        def likelihood() -> LossSums:
            return model.loss(
                batch,
                smoothing=train.label_smoothing,
                noise=noise,
                sampled=train.sampled_softmax,
                agreement=train.r_drop,
            )

        if noise is None:
            return likelihood()
        objective = OBJECTIVES[train.objective.type](train.objective)
        return objective(model, batch, noise, likelihood, self._judge)

    def examples(self, pairs: Pairs) -> tuple[list[str], list[list[str]]]:
        """One example a line, with all of its references."""
        return [pairs.source_text(i) for i in range(len(pairs))], [pairs.target_texts(i) for i in range(len(pairs))]

    def finish(
        self, tokens: Sequence[int], tokenizers: Mapping[str, Tokenizer], unnamed: Mapping[int, str] = NOTHING
    ) -> str:
        return tokenizers["target"].decode(tokens, unnamed)

    def scored(self, pairs: Pairs, longest: int, name: str) -> Indices:
        """The pairs that perplexity and accuracy are of."""
        return short_enough(pairs, longest, name)

    def told(self, model: Seq2Seq, pairs: Pairs, kept: Indices) -> Told:
        """What the model gives these pairs' targets, as they are known beforehand."""
        accuracy = teacher_forced_scores(model, pairs, self.recipe.train.batch_tokens, kept)["accuracy"]
        return Told(told_pairs(model, pairs, self.recipe.train.batch_tokens, kept), accuracy)

    def open_ended(self, search: SearchConfig) -> SearchConfig:
        """The search, with what it has to be where outputs have lengths that say nothing of the source's."""
        return search

    def validate(self, model: Seq2Seq, prepared: Prepared, *, full: bool) -> dict[str, float]:
        """Perplexity and token accuracy over all pairs; text metrics of greedy outputs on the first
        `train.validate_sentences` examples, or, in full, of the recipe's own search on all.

        A source of more than MOST_TOKENS has an empty output, which counts; pairs with such a side are left out of
        perplexity and accuracy. The data report says how many they are.
        """
        config = self.recipe.train
        sources, references = self.examples(prepared.valid)
        search = self.open_ended(self.recipe.search.model_copy(update={"n_best": 1}))
        if not full:
            sources, references = sources[: config.validate_sentences], references[: config.validate_sentences]
            search = greedy(search)
        read = prepared.tokenizers["source"].encode(sources)
        answered = [i for i, ids in enumerate(read) if len(ids) <= MOST_TOKENS]
        outputs = decode_sentences(
            *model.for_search(),
            [read[i] for i in answered],
            search.compared(),
            device=next(model.parameters()).device,
        )
        texts, metric = [""] * len(sources), self.compared_by(search)
        for i, several in zip(answered, outputs, strict=True):
            known = unnamed(prepared.tokenizers, sources[i])
            found = [self.finish(one.tokens, prepared.tokenizers, known) for one in several]
            texts[i] = found[order(found, [one.log_prob for one in several], search, metric)[0]]
        scores = {scorer.name: scorer.corpus(texts, references) for scorer in self.scorers()}
        kept = self.scored(prepared.valid, MOST_TOKENS, "data.valid")
        return {**scores, **self.told_scores(model, prepared.valid, kept, full=full)}

    def told_scores(self, model: Seq2Seq, pairs: Pairs, kept: Indices, *, full: bool) -> dict[str, float]:
        """Scores of given targets, for a validation; in full as `regard evaluate` will measure them."""
        if not full:
            return teacher_forced_scores(model, pairs, self.recipe.train.batch_tokens, kept)
        told = self.told(model, pairs, kept)
        return {"perplexity": told.perplexity, "accuracy": cast(float, told.accuracy)}


def greedy(search: SearchConfig) -> SearchConfig:
    """The same limits on outputs, one hypothesis: what validation during training can afford."""
    return search.model_copy(update={"method": "greedy", "n_best": 1, "coverage_penalty": 0.0, "mbr": None})


def short_enough(pairs: Pairs, longest: int, name: str) -> Indices:
    """The pairs without a side of more than `longest` tokens, in order; an error where there is none."""
    kept = np.flatnonzero((pairs.source_lengths <= longest) & (pairs.target_lengths <= longest))
    if not len(kept):
        raise RegardError(
            f"{name}: each of its {len(pairs):,} pairs has a side of more than {longest:,} tokens, so none can be "
            "scored: is it one sentence a line?"
        )
    return kept


@torch.no_grad()
def teacher_forced_scores(model: Seq2Seq, pairs: Pairs, batch_tokens: int, kept: Indices) -> dict[str, float]:
    """Perplexity per target token (end marks counted), and the share of tokens that rank first, over `kept` pairs."""
    plan = BatchPlan(pairs.source_lengths[kept], pairs.target_lengths[kept], tokens=batch_tokens, seed=0)
    device = next(model.parameters()).device
    sums = np.zeros(3)
    for indices in plan.epoch(0):
        batch = collate(pairs, kept[indices]).to(device)
        part = model.loss(batch)
        sums += [float(part.nll), part.tokens, int(part.correct)]
    nll, tokens, correct = sums.tolist()
    return {"perplexity": perplexity(nll, int(tokens)), "accuracy": 100.0 * correct / tokens}


@torch.no_grad()
def told_pairs(model: Seq2Seq, pairs: Pairs, batch_tokens: int, kept: Indices) -> npt.NDArray[np.float64]:
    """(kept, 2): for each of these pairs −log p of its target, in nats, and its tokens, the end mark counted."""
    plan = BatchPlan(pairs.source_lengths[kept], pairs.target_lengths[kept], tokens=batch_tokens, seed=0)
    device, decoder = next(model.parameters()).device, model.teller
    encode, _ = model.for_search()
    found = np.zeros((len(kept), 2))
    for indices in plan.epoch(0):
        batch = collate(pairs, kept[indices]).to(device)
        source = decoder.prepare(encode(batch.source, batch.source_lengths))
        log_probs, _ = decoder.forced(source, batch.target_in, batch.target_out)
        real = batch.target_out != PAD
        nll = -log_probs.double().masked_fill(~real, 0.0).sum(1)
        found[indices] = torch.stack([nll, real.sum(1).double()], 1).cpu().numpy()
    return found

"""What parts of a recipe ask of one another, each rule a function: the first that is broken says so, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from regard.data.bpe_dropout import can_be_cut_anew
from regard.decode import DECODERS, READOUTS
from regard.encode import OPTIONAL_ENCODERS
from regard.objectives import OBJECTIVES
from regard.recipe_errors import nearest

if TYPE_CHECKING:  # they know this
    from regard.decode.config import SearchConfig
    from regard.recipe import Recipe
    from regard.tasks.text import TextTask


def check_rules(recipe: Recipe, task: type[TextTask]) -> None:
    """Raises ValueError with one sentence. task   the recipe's, of which this needs what it says of itself"""
    for rule in RULES:
        rule(recipe, task)


def _parts_agree(recipe: Recipe, task: type[TextTask]) -> None:
    if recipe.model.tie == "all" and not recipe.data.shared_vocabulary:
        raise ValueError("model.tie=all shares one embedding table, so it needs data.shared_vocabulary=true")
    if recipe.train.hallucinated and not recipe.data.shared_vocabulary:
        raise ValueError(
            "train.hallucinated looks for what source and target have in common, so it needs "
            "data.shared_vocabulary=true"
        )
    if recipe.train.hallucinated and recipe.data.source.known_forms:
        raise ValueError(
            "train.hallucinated invents stems, of which no form is known: set data.source.known_forms to 0"
        )
    if recipe.train.sampled_softmax and not getattr(DECODERS[recipe.model.decoder.type], "estimates", True):
        raise ValueError(
            f"train.sampled_softmax {recipe.train.sampled_softmax:,} saves nothing with model.decoder "
            f"{recipe.model.decoder.type}, whose vocabulary is small: set it to 0"
        )
    readout: Any = READOUTS[recipe.model.readout.type]
    if recipe.train.sampled_softmax and not readout.estimates:
        raise ValueError(
            f"train.sampled_softmax {recipe.train.sampled_softmax:,} is not for model.readout "
            f"{recipe.model.readout.type}: set it to 0"
        )
    if readout.copies and not recipe.data.shared_vocabulary:
        raise ValueError(
            f"model.readout {recipe.model.readout.type} writes what it reads, so it needs data.shared_vocabulary=true"
        )
    if recipe.data.source.unknown == "hash" and not readout.copies:
        raise ValueError(
            "data.source.unknown hash leaves words that only model.readout copy can write: choose it, or spell"
        )
    if recipe.model.attention is None and recipe.search.coverage_penalty:
        raise ValueError(
            f"search.coverage_penalty {recipe.search.coverage_penalty:g} is about attention, and model.attention is "
            "none: set it to 0"
        )


def unknown_conflict(recipe: Recipe, search: SearchConfig) -> str | None:
    """Why no word of the source can stand for an unknown one, if a search asks for it."""
    if search.unknown == "never":
        return None
    name, source = f"search.unknown {search.unknown}", recipe.data.source
    if recipe.data.target.unknown != "one":
        return f"{name} is for data.target.unknown one, found {recipe.data.target.unknown}: set it to never"
    if recipe.model.attention is None:
        return f"{name} asks attention, and model.attention is none: set it to never"
    if source.parted or source.numeric:
        return f"{name} is for sources that are one text: set it to never"
    return None


def _unknown_words(recipe: Recipe, task: type[TextTask]) -> None:
    if recipe.data.target.unknown == "one" and READOUTS[recipe.model.readout.type].copies:
        raise ValueError(
            f"model.readout {recipe.model.readout.type} can write what the source has: set data.target.unknown to hash"
        )
    if conflict := unknown_conflict(recipe, recipe.search):
        raise ValueError(conflict)


def _two_readings(recipe: Recipe, task: type[TextTask]) -> None:
    if not recipe.train.r_drop:
        return
    model = recipe.model
    kinds: dict[str, Any] = {"decoder": DECODERS[model.decoder.type], "readout": READOUTS[model.readout.type]}
    for key, kind in kinds.items():
        if not kind.agrees:
            raise ValueError(f"train.r_drop is not for model.{key} {getattr(model, key).type}: set it to 0")
    if not (model.dropout or (model.output_dropout and kinds["decoder"].drops_output)):
        raise ValueError(
            "train.r_drop compares two readings that differ by dropout, and there is none of their own (dropped "
            "words and weights are the batch's): set model.dropout, or train.r_drop to 0"
        )
    if model.attention is not None and model.attention.normalizer.type == "hard":
        raise ValueError("train.r_drop has no gradient for where attention of normalizer hard looks: set it to 0")


def _own_outputs(recipe: Recipe, task: type[TextTask]) -> None:
    train, model, judges = recipe.train, recipe.model, OBJECTIVES[recipe.train.objective.type].judges
    kind, back = f"train.objective {train.objective.type}", "set it to likelihood"
    if train.scheduled_sampling:
        kind, back = "train.scheduled_sampling", "set it to 0"
    elif not judges:
        return
    if not DECODERS[model.decoder.type].free_running:  # type: ignore[attr-defined]
        raise ValueError(f"{kind} is not for model.decoder {model.decoder.type}: {back}")
    if READOUTS[model.readout.type].copies:
        raise ValueError(f"{kind} is not for model.readout {model.readout.type}: {back}")
    if task.continues or recipe.data.source.numeric:
        raise ValueError(f"{kind} is for pairs of texts: {back}")
    if judges:
        _whole_outputs(recipe)


def _whole_outputs(recipe: Recipe) -> None:
    train, attention = recipe.train, recipe.model.attention
    kind = f"train.objective {train.objective.type}"
    if attention is not None and "hard" in (attention.normalizer.type, getattr(attention.normalizer, "mode", None)):
        raise ValueError(f"{kind} has no gradient for where attention looks that picks one step: set it to likelihood")
    if train.joined or train.hallucinated:
        raise ValueError(f"{kind} goes with neither train.joined nor hallucinated: set both to 0")
    if not train.objective.likelihood and (train.r_drop or train.scheduled_sampling or train.sampled_softmax):
        raise ValueError(
            "train.r_drop, scheduled_sampling and sampled_softmax are about the likelihood, whose share, "
            "train.objective.likelihood, is 0: set them to 0, or give it one"
        )


def _pieces_anew(recipe: Recipe, task: type[TextTask]) -> None:
    if not recipe.train.bpe_dropout:
        return
    data = recipe.data
    if task.continues or task.points:
        raise ValueError(f"train.bpe_dropout is for pairs of texts, and task {recipe.task} has none: set it to 0")
    sides = {"source": data.source, "target": data.target}
    by_bpe = {name: side for name, side in sides.items() if side.tokenizer == "bpe"}
    if not by_bpe:
        raise ValueError(
            f"train.bpe_dropout is for tokenizer bpe, found {data.source.tokenizer} and {data.target.tokenizer}: "
            "set it to 0"
        )
    for name, side in by_bpe.items():
        if not can_be_cut_anew(side):
            raise ValueError(
                f"train.bpe_dropout is for whole texts: leave out turns, sentences, question and truncate of "
                f"data.{name}, and set its unknown to spell; or set train.bpe_dropout to 0"
            )
    if recipe.train.joined or recipe.train.hallucinated:
        raise ValueError("train.bpe_dropout goes with neither train.joined nor hallucinated: set it or both to 0")


def _labels(recipe: Recipe, task: type[TextTask]) -> None:
    decides, decoder, kind = task.decides, recipe.model.decoder, recipe.data.target.tokenizer
    if not decides:
        if decoder.type == "labels" or recipe.data.target.labelled:
            raise ValueError(f"model.decoder labels and data.target.tokenizer {kind} are for task classify")
        if recipe.train.class_weights != "none":
            raise ValueError("train.class_weights are for task classify: set it to none")
        return
    if decoder.type != "labels" or not recipe.data.target.labelled:
        raise ValueError(
            f"task {recipe.task} decides on labels: set model.decoder to labels (found {decoder.type}) and "
            f"data.target.tokenizer to label, or labels where there may be several (found {kind})"
        )
    if decoder.several != (kind == "labels"):
        raise ValueError(
            f"model.decoder.several is {str(decoder.several).lower()} and data.target.tokenizer {kind}: label goes "
            "with false, one for each text, and labels with true, any number"
        )
    if recipe.train.joined or recipe.train.hallucinated:
        raise ValueError("train.joined and hallucinated put outputs together, and labels are none: set both to 0")


def _spans(recipe: Recipe, task: type[TextTask]) -> None:
    points, decoder, spans = task.points, recipe.model.decoder.type, recipe.data.target.pointing
    if not points:
        if decoder == "span" or spans:
            raise ValueError("model.decoder span and data.target.tokenizer span are for task answer")
        return
    if decoder != "span" or not spans:
        raise ValueError(
            f"task {recipe.task} points into a passage: set model.encoder to flow, model.attention to none, "
            f"model.decoder to span (found {decoder}), data.source.question to true and data.target.tokenizer to "
            f"span (found {recipe.data.target.tokenizer})"
        )
    if recipe.train.joined or recipe.train.hallucinated:
        raise ValueError("train.joined and hallucinated put outputs together, and spans are none: set both to 0")
    if recipe.train.pretrained.target:
        raise ValueError("train.pretrained.target: spans have no vectors; set it to null")


def _series(recipe: Recipe, task: type[TextTask]) -> None:
    if not recipe.data.source.numeric:
        return
    if recipe.model.spelling or recipe.train.pretrained.source or recipe.model.word_dropout:
        raise ValueError(
            "data.source.tokenizer series: numbers have no words; leave out model.spelling, model.word_dropout and "
            "train.pretrained.source"
        )
    if recipe.train.joined or recipe.train.hallucinated:
        raise ValueError("train.joined and hallucinated put texts together, and series are none: set both to 0")


def _turns(recipe: Recipe, task: type[TextTask]) -> None:
    if recipe.data.source.turns is None:
        if task.converses:
            raise ValueError(
                f"task {recipe.task} reads turns: set data.source.turns, how many before a reply, such as 4"
            )
        if OPTIONAL_ENCODERS[recipe.model.encoder.type].by_turns and recipe.data.source.sentences is None:
            raise ValueError(
                f"model.encoder {recipe.model.encoder.type} reads part by part: set data.source.sentences to the "
                "language of documents; or data.source.turns, how many of a conversation's, and separate them "
                "with tabs (or name data.dialogue)"
            )


def _source_or_none(recipe: Recipe, task: type[TextTask]) -> None:
    splits = [split for split in (recipe.data.train, recipe.data.valid, recipe.data.test) if split is not None]
    plain = [split.text is not None for split in splits]
    if not task.continues:
        if any(plain):
            raise ValueError(f"data: text is for task write; task {recipe.task} needs sources and targets")
        if recipe.model.encoder.type == "none":
            raise ValueError("model.encoder none reads nothing: it is for task write")
        return
    if not all(plain):
        raise ValueError(f"task {recipe.task} learns from plain text: name it as text in data.train, valid and test")
    if recipe.model.encoder.type != "none" or getattr(recipe.model.decoder, "input_feeding", False):
        raise ValueError(
            f"task {recipe.task} has no source: set model.encoder and model.attention to none, and "
            "model.decoder.input_feeding to false"
        )
    if recipe.train.joined or recipe.train.hallucinated:
        raise ValueError(
            f"train.joined and hallucinated make pairs, and task {recipe.task} learns from none: set both to 0"
        )


def _metric_exists(recipe: Recipe, task: type[TextTask]) -> None:
    metric = recipe.train.metric
    if metric is not None and metric not in (known := task(recipe).metrics):
        raise ValueError(f"train.metric: task {recipe.task} does not report {metric!r}{nearest(metric, list(known))}")


RULES = (
    _parts_agree,
    _unknown_words,
    _two_readings,
    _own_outputs,
    _pieces_anew,
    _labels,
    _spans,
    _series,
    _turns,
    _source_or_none,
    _metric_exists,
)

"""How outputs are scored: every key below `score:` in a recipe."""

from __future__ import annotations

from typing import Literal

from regard.config import Config


class ScoreConfig(Config):
    """Options of the metrics, so that validation, evaluation and papers speak of one number."""

    tokenize: Literal["13a", "none", "intl", "char", "zh", "ja-mecab", "ko-mecab"] = "13a"
    """sacreBLEU's tokenizer for BLEU; 13a is its default. `none` for text that is tokenised already."""
    stem: bool = False
    """Compare stems of English words in ROUGE (Porter's stemmer); off, as in the rouge-score package."""
    characters: bool = False
    """Compare characters rather than words in F1 of answers, for languages without spaces."""
    positive: str | None = None
    """The label of which F1 is said beside that of all, where one is what is looked for."""
    lowercase: bool = False
    """Compare lower-cased texts in BLEU and chrF; off: case is part of the output. TER always does, as tercom."""

"""How outputs are searched: every key below `search:` in a recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from regard.config import Config


class SearchConfig(Config):
    """Greedy, beam search or sampling, with the limits that hold for all three.

    Lengths count target tokens without the end of sentence; they depend on the sentence alone, never on the
    batch it is decoded in.
    """

    method: Literal["greedy", "beam", "sample"] = "beam"
    """greedy: the best token each time; beam: the best `beam` beginnings; sample: tokens drawn at random."""
    beam: int = Field(5, ge=1)
    """Beginnings kept alive per sentence, and outputs collected before one is chosen. Past 5 to 10, translation
    gains nothing (Koehn & Knowles 2017, section 3.6)."""
    n_best: int = Field(1, ge=1)
    """Outputs returned per sentence, best first; at most `beam`. For sampling: independent samples, in the order
    drawn. It changes nothing in the search, so the first is the same for every n_best."""
    stop: Literal["beam", "bound"] = "beam"
    """beam: a sentence is done when `beam` outputs are complete (the convention); bound: when no living
    beginning can still beat the worst of those, which is exact and slower."""

    groups: int = Field(1, ge=1)
    """Groups that share the beam evenly, each of which avoids what those before it have just chosen (diverse beam
    search); 1: none. As many as `beam` make n-best lists that differ most (Vijayakumar et al. 2018)."""
    diversity: float = Field(0.5, ge=0)
    """With groups, what each such choice costs a token, in nats; 0.2 to 0.8 there."""

    length_penalty: float = Field(1.0, ge=0, le=10)
    """α in log p / length^α, the end of sentence included. 1, the mean per token, is the convention; 0 ranks by
    probability and prefers short outputs."""
    coverage_penalty: float = Field(0.0, ge=0)
    """β of Wu et al. 2016, eq. 14: punishes source steps that attention left out. 0, off: attentive recurrent
    models seldom need it once lengths are normalized; try 0.2 where outputs drop words."""

    mbr: str | None = None
    """A metric of texts, such as chrf: the output is the one that is most like the others found, by this metric
    (minimum Bayes risk; see `by_agreement`), rather than the likeliest."""
    candidates: int = Field(16, ge=2)
    """With mbr, how many outputs are found and compared: a beam as wide, or so many samples."""

    min_length: int = Field(0, ge=0)
    """No end of sentence before so many tokens; 0: none, an empty output may be right."""
    max_length: int = Field(500, ge=1)
    """Hard cap on tokens: bounds the time and memory that one runaway output costs."""
    max_length_ratio: float = Field(2.0, ge=0)
    """Tokens allowed per source step: above the target/source ratio of nearly every real pair."""
    max_length_extra: int = Field(10, ge=0)
    """Tokens allowed on top, so that short sources are not cut: max = ratio · source steps + extra."""
    unknown: Literal["never", "attended"] = "never"
    """Whether an output may have a word that the vocabulary lacks, where `data.target.unknown` is one. never: no such
    word is chosen; attended: the word of the source at which attention looks most stands for it, as for names and
    numbers (Luong et al. 2015, "Addressing the rare word problem", section 3.3, with attention for the positions)."""
    no_repeat_ngram: int = Field(0, ge=0)
    """No sequence of so many tokens occurs twice in an output; 0: off, since real text repeats itself."""

    temperature: float = Field(1.0, gt=0)
    """Sampling only: scores are divided by it; 1 draws from the model as trained, less is more careful."""
    top_k: int = Field(0, ge=0)
    """Sampling only: draw among the k likeliest tokens; 0: all."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Sampling only: draw among the fewest tokens that hold this share of the probability (Holtzman et al.
    2020); 1: all."""
    seed: int = Field(1, ge=0, lt=2**63)
    """Sampling only: with the sentence's number and the sample's, it fixes every draw."""

    @model_validator(mode="after")
    def _agree(self) -> SearchConfig:
        if self.method == "beam" and self.n_best > self.beam:
            raise ValueError(f"n_best is {self.n_best}, more than beam, {self.beam}; raise beam to {self.n_best}")
        if self.method == "greedy" and self.n_best > 1:
            raise ValueError(f"n_best is {self.n_best}, but greedy search finds one output; set method: beam")
        if self.method == "greedy" and self.mbr is not None:
            raise ValueError(f"mbr {self.mbr} chooses among several outputs, and greedy finds one; set method: sample")
        if self.groups > 1 and (self.method != "beam" or self.beam % self.groups):
            raise ValueError(
                f"groups is {self.groups}, and they share a beam evenly: set method to beam, and beam to a multiple of "
                f"{self.groups}"
            )
        if self.min_length > self.max_length:
            raise ValueError(f"min_length is {self.min_length}, more than max_length, {self.max_length}")
        return self

    def compared(self) -> SearchConfig:
        """The search that finds what `mbr` chooses from; without it this one."""
        if self.mbr is None:
            return self
        found = max(self.candidates, self.n_best)
        beam = -(-max(self.beam, found) // self.groups) * self.groups
        return self.model_copy(update={"n_best": found, "beam": beam})

    @property
    def width(self) -> int:
        """Hypotheses that live side by side for one sentence (of one sample, or group)."""
        return self.beam // self.grouped if self.method == "beam" else 1

    @property
    def grouped(self) -> int:
        """How many groups share the beam."""
        return self.groups if self.method == "beam" else 1

    @property
    def samples(self) -> int:
        """How many times a sentence is decoded: once, or once per sample, or per group of a beam."""
        return self.n_best if self.method == "sample" else self.grouped

"""How a model is trained: every key below `train:` in a recipe."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from regard.config import Config, choice
from regard.objectives import OBJECTIVES


class PretrainedConfig(Config):
    """Files of word vectors in word2vec's text format (a `count dim` line, then `word x x x …` lines)."""

    source: str | None = None
    """File of vectors for source pieces; null: learn them from nothing, as the paper's baselines do."""
    target: str | None = None
    """File of vectors for target pieces; null as above."""


class TrainConfig(Config):
    """Optimisation, model selection, and the machine."""

    # How long
    epochs: int | None = Field(12, ge=1)
    """Passes over the training pairs; 12 over Multi30k's 29,000 take about an hour on one core."""
    updates: int | None = Field(None, ge=1)
    """Optimizer updates; null: no such limit. With both, the run ends at whichever comes first."""
    minutes: float | None = Field(None, gt=0)
    """Time limit of wall-clock over all resumes; null: none. It ends the run cleanly and changes no update
    before that: the learning rate follows epochs and updates, never the clock."""

    # Batches
    batch_tokens: int = Field(1600, ge=1)
    """Target tokens in a batch, padding included: about 100 sentences of Multi30k, enough rows for a CPU's
    matrix products to run near their best rate; more would only mean fewer updates."""
    accumulate: int = Field(1, ge=1)
    """Batches whose gradients are added before an update; 1: more only where memory is too small."""

    hallucinated: float = Field(0.0, ge=0)
    """Train on so many times as many examples more that have another stem: half the letters that source and target
    have in common are drawn anew. For inflection from few hundred forms, where 10,000 in all is usual; it needs
    data.shared_vocabulary; 0: what the data has."""
    bpe_dropout: float = Field(0.0, ge=0, lt=1)
    """Of the merges of BPE, the share that is left out at random, anew in every epoch, on each side that is cut by BPE
    (Provilkov et al. 2020): more ways to write a word than few sentences show. 0.1 makes a quarter more tokens, which
    come on top of batch_tokens, and sentences of one length get several, so that half as much again and more is
    computed. 0: every word is always in the same pieces."""
    joined: float = Field(0.0, ge=0, le=10)
    """Train on so many times as many examples more, each of two pairs, one after the other with a space between; 1 for
    a few hundred or thousand words or sentences; 0: what the data has."""

    window: int = Field(128, ge=1)
    """Of task write: tokens of the text that are learned at once, and as far as gradients reach."""
    window_context: int = Field(0, ge=0)
    """Tokens that are read before a window, and not learned from again; they come on top of batch_tokens. 0: a window
    begins from nothing."""

    # Optimizer
    learning_rate: float = Field(2e-3, gt=0)
    """Peak of AdamW's learning rate: twice AdamW's own default, which warm-up and clipping allow to small LSTMs."""
    betas: tuple[float, float] = (0.9, 0.98)
    """AdamW's decay rates; 0.98 (Vaswani et al. 2017, 5.3) forgets the first, large gradients sooner."""
    weight_decay: float = Field(0.01, ge=0)
    """Decoupled decay of matrices (not of biases and other vectors); AdamW's own default."""
    clip: float = Field(1.0, ge=0)
    """Largest norm of the gradient (per target token); recurrent gradients can explode (Pascanu et al. 2013);
    0 turns clipping off."""

    # Schedule
    schedule: Literal["constant", "linear", "cosine", "inverse_sqrt"] = "linear"
    """Shape after warm-up; a line down to almost nothing suits runs of a length known beforehand."""
    warmup: int = Field(300, ge=0)
    """Updates over which the rate rises from 0: several times the 1/(1 − 0.98) = 50 that AdamW's second
    moments average over."""
    final_fraction: float = Field(0.02, ge=0, le=1)
    """Floor of the schedule as a share of the peak: the last updates still move."""

    # Regularisation and averaging
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    """Probability spread over the vocabulary in the training loss; 0.1 as in Szegedy et al. 2016, section 7."""
    r_drop: float = Field(0.0, ge=0)
    """R-Drop (Liang et al. 2021): each batch is read twice, with other dropout, and to the sum of both losses so many
    times the mean divergence of the two outputs is added (the paper's α), the whole halved; 5 for translation in the
    paper. An update takes twice the time and memory. 0: once."""
    scheduled_sampling: float = Field(0.0, ge=0, le=1)
    """Scheduled sampling (Bengio et al. 2015): the share of its own tokens, drawn from the model, that the decoder is
    told in place of the right ones when epochs or updates are over; it grows evenly from 0. 0: the right ones."""
    objective: choice(OBJECTIVES) = "likelihood"  # type: ignore[valid-type]
    """What is minimised; another than the likelihood looks at whole outputs and a metric of them, takes several times
    as long, and is for the end: begin with `train.init_from`, a run that was trained by likelihood."""
    class_weights: Literal["none", "balanced"] = "none"
    """Of task classify, what each label counts in the loss: as often as it is there, or, `balanced`, all the same,
    which finds more of a rare one and is less sure of it."""
    sampled_softmax: int = Field(0, ge=0)
    """Words that the training loss is computed over: the batch's own and at least as many others, at random, which
    stand for the rest (after Jean et al. 2015, section 3.2); 0: all. An approximation that saves time; the log's
    training loss and accuracy are of it, validation is exact."""
    ema: float = Field(0.0, ge=0, lt=1)
    """Decay of the exponential moving average that is validated and kept, as min(ema, (1+t)/(10+t)); 0 = off."""
    average_last: int = Field(1, ge=1)
    """Validate and keep the mean of the weights at the last so many validations; 1 = only the current ones."""

    # Choosing the model
    validate_every: int = Field(0, ge=0)
    """Updates between validations; 0: at the end of each epoch."""
    validate_sentences: int = Field(500, ge=1)
    """Sentences decoded greedily at a validation (perplexity is over all): half of Multi30k's 1,014, seconds."""
    metric: str | None = None
    """Metric that chooses the best model and stops early; null: the task's own (BLEU for translation)."""
    patience: int = Field(0, ge=0)
    """Validations without a better value before the run stops; 0: never, the schedule should run its length."""

    # Starting point
    init_from: str | None = None
    """Run folder whose weights are the start (fine-tuning); null: random weights."""
    init_parts: list[str] = Field([])
    """Patterns of the parameter names that are taken from there, such as `encoder.*`; default: all that fit."""
    init_names: list[tuple[str, str]] = Field([])
    """Where parts have other names there: how names begin here, and how they do in that run. Such as
    [[encoder.layers.0.0., decoder.cells.0.]], for an encoder that begins as a language model."""
    frozen: list[str] = Field([])
    """Patterns of parameter names that stay as they are, such as `encoder.*`; default: everything learns."""
    rates: list[tuple[str, Annotated[float, Field(gt=0)]]] = Field([])
    """Patterns of parameter names, each with their learning rate as a share of the others': [[encoder.*, 0.1]] keeps
    what was learned elsewhere close to what it was. The first pattern that matches counts."""
    pretrained: PretrainedConfig = PretrainedConfig()
    """Word vectors to start the embeddings from."""

    # The machine
    threads: int | None = Field(None, ge=1)
    """Threads of each process; null: OMP_NUM_THREADS, else the physical cores shared by the processes."""
    processes: int = Field(1, ge=1)
    """Processes that share each update's batches on this machine; 1 needs no communication."""
    precision: Literal["float32", "float64"] = "float32"
    """Arithmetic and weights; float64 to tell a rounding from a mistake, at half the speed."""
    device: str = "auto"
    """`auto` (a GPU if torch sees one), `cpu`, `cuda` or `cuda:1`."""
    deterministic: bool = False
    """Let torch refuse non-deterministic kernels: needed for exact resume on a GPU, where it costs speed;
    a CPU needs it not."""

    # The record
    save_every: int = Field(500, ge=0)
    """Updates between checkpoints, besides those at validations; 500 is some minutes of work; 0: only those."""
    keep: int = Field(1, ge=1)
    """Checkpoints kept for resuming; 1: the newest complete one (the best weights are kept besides)."""
    log_every: int = Field(20, ge=1)
    """Updates between lines of metrics.jsonl, after the first 50 updates, each of which has its line."""

    @property
    def approximations(self) -> list[str]:
        """What is not computed exactly, in words, for whatever shows a result."""
        return [f"trained with a softmax over {self.sampled_softmax:,} sampled words"] if self.sampled_softmax else []

    @model_validator(mode="after")
    def _parts_of_a_run(self) -> TrainConfig:
        if self.init_parts and self.init_from is None:
            raise ValueError("init_parts: parts of which run? Name it as init_from")
        if self.init_names and self.init_from is None:
            raise ValueError("init_names: names of which run? Name it as init_from")
        return self

    @field_validator("betas")
    @classmethod
    def _betas(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in value):
            raise ValueError(f"both must be at least 0 and below 1, found {list(value)}")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> TrainConfig:
        if self.epochs is None and self.updates is None:
            raise ValueError("set train.epochs or train.updates: train.minutes alone gives the schedule no length")
        if self.ema and self.average_last > 1:
            raise ValueError("train.ema and train.average_last both average the weights: set one of them")
        return self

"""Hard attention: one step of the source, sampled in training, the likeliest otherwise."""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from regard import config
from regard.attend.normalizers import Normalizer, one_hot, only_valid
from regard.attend.question import Answer, Question


class HardSample(Normalizer):
    """All weight on one step: sampled from the softmax of the scores in training, the likeliest one otherwise.

        s ~ softmax(score),  weights = one-hot(s)

    Xu et al. 2015, "Show, attend and tell", section 4.1. The score learns by REINFORCE (their equation 13):

        gradient = λ_r (R − b) ∂ log p(s) + λ_e ∂ H[p]

    R is the log-likelihood of all that s can change: the rest of the output, or its own token alone where nothing of
    attention is fed back. The baseline b is a linear map
    of the query (Mnih & Gregor 2014, section 2.3) that learns the mean of R for each token to come; the paper's is a
    moving average over batches, which is one number for all sentences.
    """

    class Config(config.Config):
        """One step, sampled; learns by REINFORCE."""

        type: Literal["hard"] = "hard"
        reward: float = Field(1.0, gt=0)
        """λ_r; 1, the gradient of the lower bound on the log-likelihood (Xu et al. 2015, equation 10)."""
        entropy: float = Field(0.01, ge=0)
        """λ_e, in nats per nat of entropy: keeps sampling from settling early; small, so that it may settle."""

    stateless = False
    samples = True

    def __init__(self, config: Config, *, query_dim: int) -> None:
        super().__init__()
        self.reward, self.entropy = config.reward, config.entropy
        self.baseline = nn.Linear(query_dim, 1)

    def expect(self, nats: float) -> None:
        """Where the baseline starts: from 0 its first gradients would be larger than all others."""
        nn.init.constant_(self.baseline.bias, nats)

    def forward(
        self,
        scores: Float[Tensor, "batch queries steps"],
        valid: Bool[Tensor, "batch #queries steps"] | None,
        question: Question,
    ) -> Answer:
        scores = only_valid(scores, valid)
        if question.noise is None:
            return Answer(one_hot(scores.argmax(-1), scores.shape[-1], like=scores))
        picked = (scores + question.noise.gumbel("pick", like=scores)).argmax(-1)
        log_probs = scores.log_softmax(-1)
        at_picked = log_probs.gather(-1, picked[..., None])[..., 0]
        inner = torch.where(log_probs.isneginf(), 0.0, log_probs)  # 0 log 0 = 0
        entropy = -(log_probs.exp() * inner).sum(-1)
        return Answer(
            one_hot(picked, scores.shape[-1], like=scores),
            aux={
                "log_prob": self.reward * at_picked,
                "baseline": self.baseline(question.query.detach())[..., 0],
                "penalty": -self.entropy * entropy,
            },
        )


class HardGumbel(Normalizer):
    """All weight on one step, sampled in training; gradients as if the weights had been a softmax.

        w = softmax((score + g) / τ), g ~ Gumbel(0, 1);  weights = one-hot(argmax w), ∂ weights := ∂ w

    Jang, Gu & Poole 2017, "Categorical reparameterization with Gumbel-softmax", section 2.2, the straight-through
    estimator. Biased, unlike `hard`, and of far less variance. Outside training the likeliest step.
    """

    class Config(config.Config):
        """One step, sampled; gradients pass straight through."""

        type: Literal["hard_gumbel"] = "hard_gumbel"
        temperature: float = Field(1.0, gt=0)
        """τ of the softmax whose gradients are used; 1, between the 0.5 and 5 that Jang et al. find to work."""

    stateless = False

    def __init__(self, config: Config, *, query_dim: int) -> None:
        super().__init__()
        self.temperature = config.temperature

    def forward(
        self,
        scores: Float[Tensor, "batch queries steps"],
        valid: Bool[Tensor, "batch #queries steps"] | None,
        question: Question,
    ) -> Answer:
        scores = only_valid(scores, valid)
        if question.noise is not None:
            scores = scores + question.noise.gumbel("pick", like=scores)
        picked = one_hot(scores.argmax(-1), scores.shape[-1], like=scores)
        soft = (scores / self.temperature).softmax(-1)
        return Answer(picked + (soft - soft.detach()))

"""What training minimises. One file each, one line here."""

from regard.objectives.judge import Judge
from regard.objectives.likelihood import Likelihood
from regard.objectives.minimum_risk import MinimumRisk
from regard.objectives.objective import Objective
from regard.objectives.self_critical import SelfCritical

OBJECTIVES: dict[str, type[Objective]] = {
    "likelihood": Likelihood,
    "minimum_risk": MinimumRisk,
    "self_critical": SelfCritical,
}
"""What `train.objective` in a recipe may name."""

__all__ = ["OBJECTIVES", "Judge", "Likelihood", "MinimumRisk", "Objective", "SelfCritical"]

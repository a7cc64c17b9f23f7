"""One picture for each attention: a recipe is trained with it, and drawn while it answers one text.

    python examples/attention_gallery.py words.yaml windmill gallery local_p monotonic train.epochs=5

Without names all of them; `key=value` changes the recipe for all. A run that is in the folder already is not trained
again.
"""

import sys
from pathlib import Path

import torch
from torch import Tensor

import regard
from regard.attend import COVERAGES, NORMALIZERS, SCOPES, SCORES
from regard.errors import RegardError
from regard.explain import attention_picture
from regard.predict import Predictor
from regard.recipe import load_recipe

OF_THE_DECODER = {"score": SCORES, "scope": SCOPES, "normalizer": NORMALIZERS, "coverage": COVERAGES}
ATTENTIONS = {name: [f"model.attention.{key}={name}"] for key, parts in OF_THE_DECODER.items() for name in parts}
ATTENTIONS["marginal"] = ["model.decoder.type=marginal", "model.decoder.order=1", "model.decoder.monotonic=true"]
SELF = {f"self_{scope}": f"model.encoder.attention.scope={scope}" for scope in ("whole", "past", "window", "lsh")}
ATTENTIONS |= {name: ["model.encoder.type=self_attentive", change] for name, change in SELF.items()}


@torch.inference_mode()
def self_weights(predictor: Predictor, text: str) -> Tensor:
    """Each step's weights over the others in the encoder's last layer, the mean over heads."""
    model = predictor.members[0].model
    ids = torch.tensor([[*predictor.tokenizers["source"].encode([text])[0], 3]])  # and the end mark
    memory = model.encoder.recurrence(model.source_embedding(ids), torch.tensor([ids.shape[1]]))
    for layer in model.encoder.attentions:
        memory, weights = layer(memory)
    return weights[0].mean(0)


def draw(recipe: str, text: str, folder: Path, name: str, changes: list[str]) -> None:
    try:
        changed = load_recipe(recipe, [*changes, *ATTENTIONS[name]])
    except RegardError as error:  # not for this recipe: sizes that do not fit, a scope of self-attention
        return print(f"{name}: left out: {error}")
    predictor = regard.load(regard.train(changed, folder / "runs" / name).path)
    [[best]] = predictor.predict([text], attention=True)
    weights, target = best.attention, best.tokens + ["</s>"] * best.finished
    if name in SELF:
        weights, target = self_weights(predictor, text), best.source_tokens
    print("drawn:", attention_picture(weights, best.source_tokens, target, folder / f"{name}.png", title=name))


if __name__ == "__main__":
    recipe, text, folder, *others = sys.argv[1:]
    changes, names = [one for one in others if "=" in one], [one for one in others if "=" not in one]
    for name in names or ATTENTIONS:
        draw(recipe, text, Path(folder), name, changes)

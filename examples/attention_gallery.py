"""One picture for each attention: a recipe is trained with it, and drawn while it answers one text.

    python examples/attention_gallery.py words.yaml windmill gallery local_p monotonic sum

Without names at the end all of them. A run that is in the folder already is not trained again.
"""

import sys
from pathlib import Path

import regard
from regard.attend import COVERAGES, NORMALIZERS, SCOPES, SCORES
from regard.errors import RegardError
from regard.explain import attention_picture
from regard.recipe import load_recipe


def settings() -> dict[str, str]:
    """What to change in a recipe for each attention, one part at a time."""
    parts = {"score": SCORES, "scope": SCOPES, "normalizer": NORMALIZERS, "coverage": COVERAGES}
    found = {name: f"model.attention.{key}={name}" for key, choices in parts.items() for name in choices}
    return {**found, "marginal": "model.decoder=marginal", "self_attentive": "model.encoder=self_attentive"}


def draw(recipe: str, text: str, folder: Path, name: str) -> None:
    try:
        changed = load_recipe(recipe, [settings()[name]])
    except RegardError as error:  # not for this recipe: sizes that do not fit, a scope of self-attention
        print(f"{name}: left out: {error}")
        return
    run = folder / "runs" / name
    regard.train(changed, run)
    [[best]] = regard.load(run).predict([text], attention=True)
    assert best.attention is not None and best.source_tokens is not None, "the text is empty"
    target = best.tokens + ["</s>"] * best.finished
    print("drawn:", attention_picture(best.attention, best.source_tokens, target, folder / f"{name}.png", title=name))


def main(recipe: str, text: str, folder: str, *names: str) -> None:
    for name in names or settings():
        draw(recipe, text, Path(folder), name)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Where did the model look? The weights as numbers and as a picture (.png, .svg or .pdf).

    python examples/attention_map.py runs/words windmill map.svg
"""

import sys

import regard
from regard.explain import attention_picture


def main(run: str, text: str, picture: str) -> None:
    [[best]] = regard.load(run).predict([text], attention=True)
    assert best.attention is not None and best.source_tokens is not None, "the text is empty"
    target = best.tokens + ["</s>"] * best.finished  # the end has weights as well
    for token, weights in zip(target, best.attention, strict=True):
        place = int(weights.argmax())
        print(f"{token:>6} looked most at {best.source_tokens[place]} ({float(weights[place]):.0%})")
    print("drawn:", attention_picture(best.attention, best.source_tokens, target, picture, title=text))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Answer the lines of a file: line N out answers line N in, with a note of every line that was refused.

    python examples/translate_lines.py runs/words words.txt answers.txt
"""

import sys
from pathlib import Path

import regard

LINES = 2000  # read ahead, so that memory does not grow with the file; it changes no answer


def main(run: str, source: str, target: str) -> None:
    predictor = regard.load(run)
    lines = Path(source).read_text(encoding="utf-8").splitlines()
    with open(target, "w", encoding="utf-8") as file:
        for first in range(0, len(lines), LINES):
            outputs = predictor.predict(lines[first : first + LINES], first=first)
            for number, [best, *_] in enumerate(outputs, start=first + 1):
                if best.problem:
                    print(f"{source} line {number}: {best.problem}", file=sys.stderr)
                file.write(best.text + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""BLEU, chrF and TER against sacreBLEU's own corpus functions."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import numpy as np
import pytest
import sacrebleu
from sacrebleu.metrics import BLEU, CHRF, TER

from regard.errors import RegardError
from regard.score import METRICS

WORDS = ["the", "a", "cat", "dog", "Cat", "sat", "lay", "on", "under", "mat", ",", ".", "quickly", "house", "Haus"]


def corpus(sentences: int, most: int, seed: int = 0, same: bool = False) -> tuple[list[str], list[list[str]]]:
    """Random sentences, some empty, with 1 to `most` references each (`same`: always `most`)."""
    rng = random.Random(seed)

    def sentence() -> str:
        return " ".join(rng.choices(WORDS, k=rng.randint(0, 12)))

    hypotheses = [sentence() for _ in range(sentences)]
    return hypotheses, [[sentence() for _ in range(most if same else rng.randint(1, most))] for _ in range(sentences)]


def columns(references: list[list[str]]) -> list[list[str | None]]:
    most = max(map(len, references))
    return [[several[j] if j < len(several) else None for several in references] for j in range(most)]


CASES = [
    ("bleu", {}, BLEU()),
    ("bleu", {"tokenize": "none", "lowercase": True}, BLEU(tokenize="none", lowercase=True, force=True)),
    ("bleu", {"tokenize": "char"}, BLEU(tokenize="char")),
    ("bleu", {"tokenize": "intl"}, BLEU(tokenize="intl")),
    ("chrf", {}, CHRF()),
    ("chrf", {"word_order": 2, "lowercase": True}, CHRF(word_order=2, lowercase=True)),
    ("ter", {}, TER()),
    ("ter", {"lowercase": False}, TER(case_sensitive=True)),
]


@pytest.mark.parametrize(("name", "options", "theirs"), CASES)
@pytest.mark.parametrize(("most", "same"), [(1, True), (2, True), (3, False)])
def test_the_value_is_exactly_corpus_score(name, options, theirs, most, same):
    hypotheses, references = corpus(60, most, same=same)
    ours = METRICS[name](**options)
    rows = ours.statistics(hypotheses, references)
    expected = theirs.corpus_score(hypotheses, columns(references)).score
    assert rows.shape[0] == 60 and rows.dtype == np.float64
    assert ours.from_statistics(rows.sum(axis=0)) == ours.corpus(hypotheses, references) == expected
    assert ours.signature(references) == str(theirs.get_signature())


def test_the_functions_that_papers_call_give_the_same():
    hypotheses, references = corpus(40, 2, seed=3, same=True)
    streams = columns(references)
    assert METRICS["bleu"]().corpus(hypotheses, references) == sacrebleu.corpus_bleu(hypotheses, streams).score
    assert METRICS["chrf"]().corpus(hypotheses, references) == sacrebleu.corpus_chrf(hypotheses, streams).score
    assert METRICS["ter"]().corpus(hypotheses, references) == sacrebleu.corpus_ter(hypotheses, streams).score


def test_bleu_by_hand():
    # hypothesis a b c d e, reference a b c d f: precisions 4/5, 3/4, 2/3, 1/2; no brevity penalty;
    # (4/5 · 3/4 · 2/3 · 1/2) ** (1/4) = 0.2 ** 0.25
    value = METRICS["bleu"](tokenize="none").corpus(["a b c d e"], [["a b c d f"]])
    assert value == pytest.approx(100 * 0.2**0.25)


def test_real_sentences_copied_from_the_source_score_low_and_from_the_reference_100(data_root: Path):
    folder = data_root / "multi30k" / "tok"
    names = [next(folder.glob(f"test_2016_flickr.lc.norm.tok.{side}*")) for side in ("en", "de")]
    source, target = (gzip.decompress(name.read_bytes()).decode().splitlines()[:100] for name in names)
    bleu = METRICS["bleu"](tokenize="none", lowercase=True)
    references = [[line] for line in target]
    assert bleu.corpus(target, references) == pytest.approx(100)
    assert bleu.corpus(source, references) < 10
    assert "tok:none" in bleu.signature(references) and "case:lc" in bleu.signature(references)


def test_a_tokenizer_without_its_package_says_what_to_install(monkeypatch):
    def broken(**_: object) -> None:
        raise RuntimeError("no MeCab")

    monkeypatch.setattr("regard.score.translation.BLEU", broken)
    with pytest.raises(RegardError, match=r"tokenizer ja-mecab needs .*pip install 'sacrebleu\[ja\]'"):
        METRICS["bleu"](tokenize="ja-mecab").corpus(["a"], [["a"]])

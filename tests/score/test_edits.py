"""Error rates by hand and against the textbook recursion."""

from __future__ import annotations

from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st

from regard.score import METRICS


def distance(a: tuple[str, ...], b: tuple[str, ...]) -> int:
    """Edit distance as it is defined: insert, delete or replace the last one."""

    @cache
    def between(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return i + j
        return min(between(i - 1, j) + 1, between(i, j - 1) + 1, between(i - 1, j - 1) + (a[i - 1] != b[j - 1]))

    return between(len(a), len(b))


phones = st.lists(st.sampled_from(["AA", "B", "A", "AB"]), max_size=5).map(" ".join)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(phones, st.lists(phones, min_size=1, max_size=3)), min_size=1, max_size=4))
def test_rates_equal_their_definitions(sentences):
    hypotheses, references = [h for h, _ in sentences], [r for _, r in sentences]
    for name, cut in (("per", lambda text: tuple(text.split())), ("cer", tuple)):
        edits = places = 0
        for hypothesis, several in sentences:
            best = min(distance(cut(hypothesis), cut(one)) for one in several)
            edits += best
            places += min(len(cut(one)) for one in several if distance(cut(hypothesis), cut(one)) == best)
        expected = 100 * edits / places if places else 100.0 * bool(edits)
        assert METRICS[name]().corpus(hypotheses, references) == expected
    wrong = sum(hypothesis not in several for hypothesis, several in sentences)
    assert METRICS["wer"]().corpus(hypotheses, references) == 100 * wrong / len(sentences)
    right = len(sentences) - wrong
    assert METRICS["exact"]().corpus(hypotheses, references) == 100 * right / len(sentences)


def test_by_hand():
    # d ao g z: one edit from both references (insert z; with aa it is two): nearest is d ao g, 1 edit of 3.
    # k ae t is right: 0 of 3. Together 1 of 6 phones, 1 of 2 words.
    hypotheses, references = ["k ae t", "d ao g z"], [["k ae t"], ["d aa g", "d ao g"]]
    assert METRICS["per"]().corpus(hypotheses, references) == 100 / 6
    assert METRICS["wer"]().corpus(hypotheses, references) == 50
    assert METRICS["exact"]().corpus(hypotheses, references) == 50


def test_equally_near_references_count_by_the_shortest():
    # "a b": one edit from "a" and from "a b c"; one place, not three, is the rate that flatters less
    assert METRICS["per"]().corpus(["a b"], [["a b c", "a"]]) == METRICS["per"]().corpus(["a b"], [["a", "a b c"]])
    assert METRICS["per"]().corpus(["a b"], [["a b c", "a"]]) == 100


def test_white_space_is_one_space_and_characters_are_code_points():
    assert METRICS["wer"]().corpus([" k  ae\tt "], [["k ae t"]]) == 0
    assert METRICS["cer"]().corpus(["キャット 猫"], [["キヤット  犬"]]) == 100 * 2 / 6


def test_case_of_characters():
    # of the four characters the three letters are wrong, the space is right
    assert METRICS["cer"]().corpus(["AB C"], [["ab c"]]) == 75
    assert METRICS["cer"](lowercase=True).corpus(["AB C"], [["ab c"]]) == 0


def test_empty_references():
    for name in ("per", "cer"):
        assert METRICS[name]().corpus([""], [[""]]) == 0
        assert METRICS[name]().corpus(["a"], [[""]]) == 100
        assert METRICS[name]().corpus(["a", "b c"], [[""], ["b c"]]) > 0

"""From a decoder to its best outputs: one loop for greedy search, beam search and sampling.

Each step the decoder scores every next token of every living beginning; then four roles, a file each, decide:

    filters   what may not come                 -inf into the log-probabilities
    propose   which tokens may come             greedy, beam or sample
    rank      what a finished output is worth   length normalization, coverage
    finish    what to keep, when to rest        a pool of `beam` outputs per sentence

Nothing is computed across sentences, and ties go to the lower index, so outputs do not depend on the batch.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from regard.data.tokenizer import BOS, EOS, UNK
from regard.decode.config import SearchConfig
from regard.decode.constraints import AllocatedBeam, Constraints, MustAppear, had
from regard.decode.filters import apply_filters, build_filters, needs_history
from regard.decode.finish import Pool, is_done
from regard.decode.lanes import Lanes, SoFar, open_lanes, row_multiple
from regard.decode.outputs import Hypothesis, merged, read_outputs
from regard.decode.propose import Beam, Candidates, DiverseBeam, Greedy, Proposer, Sample
from regard.decode.protocol import Decoder, StepOutput
from regard.decode.rank import Rank
from regard.decode.scores import by_token, log_probs
from regard.decode.sets import likeliest_sets
from regard.decode.state import State, select
from regard.decode.trellis import Trellis
from regard.errors import RegardError

SEARCHES: dict[str, type[Greedy] | type[Beam] | type[Sample]] = {
    "greedy": Greedy,
    "beam": Beam,
    "sample": Sample,
}


@torch.inference_mode()
def search(
    decoder: Decoder,
    source: Any,
    config: SearchConfig,
    *,
    prefix: Sequence[Sequence[int]] | None = None,
    constraints: Constraints | None = None,
    ids: Sequence[int] | None = None,
    keep_weights: bool = False,
) -> list[list[Hypothesis]]:
    """The `n_best` outputs of every sentence, best first (fewer where there are not so many).

        source = model.decoder.prepare([model.encode(batch, lengths)])
        best = [outputs[0] for outputs in search(model.decoder, source, SearchConfig(beam=5))]

    prefix        for each sentence, ids its output must begin with; they count in scores like any others
    constraints   for each sentence, phrases its output must have in it, by beam search
    ids           for sampling, each sentence's number in the data; default 0, 1, 2, …
    keep_weights  also return attention weights, which cost memory: steps × rows × source steps
    """
    if source.rows == 0:
        return []
    odds = decoder.log_odds(source) if hasattr(decoder, "log_odds") else None
    if odds is not None and config.method != "sample":
        if prefix is not None or constraints is not None:
            raise RegardError("prefix, constraints: a set of labels is no text; leave them out.")
        return likeliest_sets(odds, source.valid, source.weights if keep_weights else None, config.n_best)
    if constraints is not None and (config.method != "beam" or config.groups > 1):
        raise RegardError("constraints: words that must appear are for beam search without groups; set method to beam.")
    required = None if constraints is None else constraints.required(source.rows)
    lanes, row = open_lanes(source, config, prefix, ids, row_multiple(decoder), required)
    sentences, src_valid = source.rows, source.valid
    start = source if len(row) == sentences else source.select(row)
    run = _Run(decoder, start, config, lanes, keep_weights, None if constraints is None else constraints.breaks)
    while run.lanes.live.any():
        run.advance()
    kept = config.beam if config.grouped > 1 else config.n_best
    found = read_outputs(run.results.entries, run.trellis, sentences, kept, src_valid)
    return merged(found, config.n_best) if config.grouped > 1 else found


@torch.inference_mode()
def as_chosen(
    decoder: Decoder, source: Any, config: SearchConfig, *, prefix: Sequence[int] = (), number: int = 0
) -> Iterator[int]:
    """The tokens of `search` for one sentence, each as soon as it is chosen, without those of the prefix and the end.

    Greedy search or one sample: a beam has chosen nothing before its end. `number` is the sentence's, for sampling.
    """
    if config.width > 1 or config.samples > 1:
        raise RegardError("token by token: for greedy search or a single sample; set search.method to sample.")
    lanes, row = open_lanes(source, config, [prefix], [number], row_multiple(decoder))
    run, sentences, src_valid = _Run(decoder, source.select(row), config, lanes, False), source.rows, source.valid
    told = len(prefix)
    while run.lanes.live.any():
        run.advance()
        if run.lanes.live.any() and run.step > told:
            told += 1
            yield int(run.trellis.tokens[-1][0])
    [[found]] = read_outputs(run.results.entries, run.trellis, sentences, 1, src_valid)
    yield from found.tokens[told:]  # the last one, where a limit has cut it off


class _Run:
    """One search under way. Rows are lanes × beam, a lane's hypotheses together.

    breaks   as in `Constraints`
    """

    def __init__(
        self,
        decoder: Decoder,
        source: Any,
        config: SearchConfig,
        lanes: Lanes,
        keep_weights: bool,
        breaks: Tensor | None = None,
    ) -> None:
        self.decoder, self.source, self.config, self.lanes = decoder, source, config, lanes
        self.beam, self.keep_weights, self.step = config.width, keep_weights, 0
        device = source.valid.device
        self.filters = build_filters(config)
        self.propose: Proposer = SEARCHES[config.method](config)
        if config.grouped > 1:
            self.propose = DiverseBeam(config)
        self.breaks, constrained = breaks, lanes.required.numel() > 0
        if constrained:
            self.propose = AllocatedBeam(config, breaks)
            self.filters.append(MustAppear(breaks))
        self.rank = Rank(config, int(lanes.limit.max()) + 1, device)
        self.pool = Pool(len(lanes), self.beam, device)
        self.results = Pool(int(lanes.output.max()) + 1, self.beam, device)
        self.trellis = Trellis()
        self.has_ends = False
        """whether any output may have ended"""
        self.least_limit = int(lanes.limit.min())
        self.first = torch.arange(len(lanes), device=device).unsqueeze(1) * self.beam
        """the row of each lane's first hypothesis"""
        self.state = decoder.start(source, self.beam)
        rows = len(lanes) * self.beam
        self.tokens = torch.full((rows,), BOS, device=device)
        # The beam begins as one hypothesis: the others would only repeat it.
        self.totals = torch.full((len(lanes), self.beam), -torch.inf, dtype=torch.float64, device=device)
        self.totals[:, 0] = 0.0
        self.track: State = {}  # what else follows the beam, a row per hypothesis
        if constrained or needs_history(self.filters):
            self.track["history"] = torch.empty(rows, 0, dtype=torch.int64, device=device)
        # What follows is about tokens, not columns; and sampling sums over a row in one order.
        self.points = config.unknown == "attended"
        self.needs_tokens = "history" in self.track or lanes.prefix.numel() > 0 or config.method == "sample"
        self.needs_tokens = self.needs_tokens or self.points
        if config.coverage_penalty:
            self.track["coverage"] = torch.zeros(rows, source.src_len, dtype=torch.float64, device=device)

    def advance(self) -> None:
        """Choose one more token for every hypothesis."""
        output, self.state = self.decoder.step(self.tokens, self.state, self.source)
        shape = len(self.lanes), self.beam, -1
        scores, words = log_probs(output), output.words
        if words is not None and self.needs_tokens:
            scores, words = by_token(scores, output), None
        scores = scores.view(shape)
        coverage = self._look(output)
        if self.step == 0:
            _check_known("prefix", self.lanes.prefix, scores.shape[2])
            _check_known("constraints", self.lanes.required, scores.shape[2])
        history = self.track["history"].view(shape) if "history" in self.track else None
        so_far = SoFar(self.step, self.lanes, history)
        apply_filters(self.filters, scores, so_far)
        candidates = self.propose(scores, self.totals, so_far)
        if words is not None:
            candidates.token = words.gather(1, candidates.token)
        going = Candidates(*(values[:, : self.beam] for values in vars(candidates).values()))
        ended = None
        if bool((candidates.token == EOS).any()):  # most steps have no end among their candidates, and are done here
            self.has_ends = True
            ended, going = self._finish(going, coverage), _go_on(candidates, self.beam)
        left = self._close(going.total, ended)
        if coverage is not None:
            self.track["coverage"] = coverage
        written = going.token
        if self.points:
            attended = scores.shape[2] + self._attended(output)
            written = torch.where(written == UNK, attended.gather(1, going.parent), written)
        self._move(going, written, left)
        self.step += 1

    def _look(self, output: StepOutput) -> Float[Tensor, "rows src_len"] | None:
        """Note where attention went; returns the coverage with this step, if it counts."""
        if self.keep_weights and output.weights is not None:
            self.trellis.weights.append(output.weights)
        if not self.config.coverage_penalty:
            return None
        if output.weights is None:
            raise RegardError("search.coverage_penalty needs attention, and this model has none; set it to 0")
        return self.track["coverage"] + output.weights

    def _attended(self, output: StepOutput) -> Int[Tensor, "lanes beam"]:
        """The step of the source that each hypothesis looks at most, of those before its end mark."""
        if output.weights is None:
            raise RegardError("search.unknown attended needs attention, and this model shows none; set it to never")
        valid = self.source.valid
        inside = valid & (valid.cumsum(1) < valid.sum(1, keepdim=True))
        weights = output.weights.view(len(self.lanes), self.beam, -1)
        return weights.masked_fill(~inside.unsqueeze(1), -1.0).argmax(2)

    def _finish(self, best: Candidates, coverage: Tensor | None) -> Bool[Tensor, "lanes beam"]:
        """Collect the ends of sentence among the best `beam` candidates; returns which hypotheses those end.

        Only among those, so that a beam of one is greedy search, and an unlikely end does not fill the pool.
        """
        ends = (best.token == EOS) & (best.total > -torch.inf) & self.lanes.live.unsqueeze(1)
        if ends.any():
            score = self.rank.score(best.total, self.step + 1, self._by_lane(coverage, best.parent), self.source.valid)
            self.pool.add(self._outputs(score.where(ends, -torch.inf), best, finished=True))
        return torch.zeros_like(ends, dtype=torch.int8).scatter_add(1, best.parent, ends.to(torch.int8)) > 0

    def _close(self, going: Float[Tensor, "lanes beam"], ended: Bool[Tensor, "lanes beam"] | None) -> bool:
        """End the lanes that are done, and say whether there are any. `going`: the totals of what could go on;
        `ended`: which hypotheses have just ended, None where none has."""
        lanes, best = self.lanes, going.amax(1)
        dead = best == -torch.inf
        if not self.has_ends and self.step < self.least_limit and not dead.any():
            return False  # no pool can be full, and no sentence is at its limit
        cut = lanes.live & ((self.step >= lanes.limit) | dead)
        if cut.any():  # what has not ended goes to the pool as it stood before this step
            parent = torch.arange(self.beam, device=going.device).expand_as(going)
            stood = Candidates(parent, parent, torch.zeros_like(going), self.totals)
            coverage = self._by_lane(self.track.get("coverage"), parent)
            score = self.rank.score(self.totals, self.step, coverage, self.source.valid)
            left = (self.totals > -torch.inf) & cut.unsqueeze(1)
            left = left if ended is None else left & ~ended
            left = self._with_all(left)
            self.pool.fill(self._outputs(score.where(left, -torch.inf), stood, finished=False))
        rest = is_done(self.config.stop, self.pool.worst, self.rank.bound(best, lanes.limit))
        done = lanes.live & (cut | rest)
        if done.any():
            rows = done.nonzero().squeeze(1)
            self.results.store(lanes.output[rows], self.pool, rows)
            lanes.live = lanes.live & ~done
            return True
        return False

    def _with_all(self, left: Bool[Tensor, "lanes beam"]) -> Bool[Tensor, "lanes beam"]:
        """Of a lane's hypotheses that were cut off those with all that must appear; others where it has no output."""
        if not self.lanes.required.numel():
            return left
        have = had(self.track["history"].view(*left.shape, -1), self.lanes.required, self.breaks)
        whole = left & (have.settled | have.last).all(2)
        some = whole.any(1) | (self.pool.entries["score"][:, 0] > -torch.inf)
        return torch.where(some.unsqueeze(1), whole, left)

    def _move(self, going: Candidates, written: Int[Tensor, "lanes beam"], left: bool) -> None:
        """Set every row up for the next step; where lanes are done (`left`), they leave if that makes the batch
        smaller. written   what stands in outputs: `going.token`, which is read next, or what it points at"""
        crowd = self.lanes.crowd(row_multiple(self.decoder)) if left else None
        parents = self._rows(going.parent)
        token, log_prob, self.totals = going.token, going.log_prob, going.total
        if crowd is not None:
            live = int(self.lanes.live.sum())
            self.lanes, self.source = self.lanes.select(crowd), self.source.select(crowd)
            self.lanes.live[live:] = False  # repeated only to fill up
            self.pool.select(crowd)
            self.first = self.first[: len(crowd)]
            parents, token, written, log_prob, self.totals = (
                values[crowd] for values in (parents, token, written, log_prob, self.totals)
            )
        self.tokens, parents = token.flatten(), parents.flatten()
        self.trellis.append(written.flatten(), log_prob.flatten(), parents)
        if self.beam > 1 or crowd is not None:
            self.state, self.track = select(self.state, parents), select(self.track, parents)
        if "history" in self.track:
            self.track["history"] = torch.cat([self.track["history"], self.tokens.unsqueeze(1)], dim=1)

    def _rows(self, parent: Int[Tensor, "lanes candidates"]) -> Int[Tensor, "lanes candidates"]:
        """Places in the beam as rows of the decoder."""
        return parent + self.first

    def _by_lane(self, coverage: Tensor | None, parent: Int[Tensor, "lanes candidates"]) -> Tensor | None:
        """Each candidate's coverage (lanes, candidates, src_len), which is its parent's."""
        return None if coverage is None else coverage[self._rows(parent)]

    def _outputs(self, score: Float[Tensor, "lanes beam"], ends: Candidates, *, finished: bool) -> State:
        """Pool entries for candidates that end in this step."""
        return {
            "score": score,
            "log_prob": ends.total,
            "last": ends.log_prob,
            "step": torch.full_like(ends.parent, self.step),
            "row": self._rows(ends.parent),
            "finished": torch.full_like(ends.parent, finished),
        }


def _go_on(candidates: Candidates, beam: int) -> Candidates:
    """The best `beam` candidates that are no end of sentence; a total of -inf where there are fewer."""
    end = candidates.token == EOS
    order = end.to(torch.int8).sort(dim=1, stable=True).indices[:, :beam]
    going = Candidates(*(values.gather(1, order) for values in vars(candidates).values()))
    going.total.masked_fill_(end.gather(1, order), -torch.inf)
    return going


def _check_known(name: str, tokens: Int[Tensor, "..."], vocab: int) -> None:
    if tokens.numel() and int(tokens.max()) >= vocab:
        raise RegardError(f"{name}: token {int(tokens.max())} is not among the model's {vocab}; check its tokenizer")

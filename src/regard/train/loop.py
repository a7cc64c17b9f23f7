"""The training loop: updates, validations, checkpoints, and where it stands.

Everything random is a function of the seed and the position: the batch plan of (seed, epoch), dropout of (seed,
update, place in the update). So a checkpoint holds no generator, and a resumed run is the run never stopped, bit
for bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from regard.data.batches import Batch, BatchPlan, Examples, Indices
from regard.errors import RegardError
from regard.ops.noise import Noise
from regard.train.average import Average
from regard.train.checkpoint import load_checkpoint, save_checkpoint
from regard.train.config import TrainConfig
from regard.train.display import Display
from regard.train.optimise import Optimiser
from regard.train.ranks import Ranks
from regard.train.report import Reporter, not_finite
from regard.train.runfolder import Run
from regard.train.schedule import rate_factor, share_done
from regard.train.signals import Interrupted, StopRequest
from regard.train.state import State, Sums
from regard.train.weights import load_into, model_tensors


class LossSums(Protocol):
    """Sums over a batch's target tokens, in nats; `loss` is smoothed and differentiable. What outputs cost besides."""

    @property
    def loss(self) -> Tensor: ...
    @property
    def nll(self) -> Tensor: ...
    @property
    def correct(self) -> Tensor | None: ...
    @property
    def cost(self) -> float: ...
    @property
    def judged(self) -> int: ...


class Learnable(Protocol):
    """What the loop needs of a task."""

    @property
    def metrics(self) -> Mapping[str, bool]: ...
    @property
    def default_metric(self) -> str: ...
    def training(self, prepared: Any, seed: int) -> Examples: ...
    def loss(self, model: Any, batch: Batch, noise: Noise | None, done: float = 1.0) -> LossSums: ...
    def validate(self, model: Any, prepared: Any, *, full: bool) -> dict[str, float]: ...


class Trainer:
    """Trains `model` on `prepared`, writing to `run`. `run_to_end` is the whole; the rest are its steps in order."""

    def __init__(
        self,
        task: Learnable,
        prepared: Any,
        model: nn.Module,
        config: TrainConfig,
        *,
        seed: int,
        run: Run,
        device: torch.device,
        display: Display,
        stop: StopRequest,
        ranks: Ranks,
        began: float,
    ) -> None:
        self.task, self.prepared, self.model, self.config, self.seed = task, prepared, model, config, seed
        self.run, self.device, self.stop, self.ranks = run, device, stop, ranks
        self.metric = config.metric or task.default_metric
        if self.metric not in task.metrics:
            raise RegardError(f"train.metric: this task reports {', '.join(task.metrics)}, found {self.metric!r}.")
        self.examples = task.training(prepared, seed)
        self.group_size = config.accumulate * ranks.size
        self.plan = BatchPlan(
            self.examples.source_lengths,
            self.examples.target_lengths,
            tokens=config.batch_tokens,
            seed=seed,
            ranks=self.group_size,
        )
        self.batches = self.plan.count()
        self.optimiser = Optimiser(model, config)
        self.average = Average(self.optimiser.named, ema=config.ema, last=config.average_last)
        self.best_weights: dict[str, Tensor] = {}
        self.state = State()
        self.report = Reporter(config, display, self.batches, began)

    # The whole

    def run_to_end(self) -> dict[str, float]:
        """Train until a limit ends it, then evaluate the best weights in full; returns the final scores."""
        if not self.state.ended:
            self.stop.after_update()
            for group in self._groups():
                self._update(group)
                if self._after_update():
                    break
        return self._finish()

    def resume(self, checkpoint: Path) -> int | None:
        """Go to the newest checkpoint; returns the length of its log, or None where there is no checkpoint."""
        found = load_checkpoint(checkpoint)
        if found is None:
            return None
        tensors, values = found
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "adamw": {}, "average": {}, "best": {}}
        for name, value in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = value
        load_into(self.model, parts["model"], checkpoint)
        self.optimiser.load(parts["adamw"])
        self.average.load(parts["average"])
        self.best_weights = parts["best"]
        self.state = State.from_json(values["state"])
        self.report.began -= self.state.seconds
        limit = self.config.minutes
        if self.state.ended == "minutes" and (limit is None or self.state.seconds < 60 * limit):
            self.state.ended, self.state.unjudged = "", False  # the recipe gives it more time now
        return int(values["log_bytes"])

    # One update

    def _groups(self) -> Iterator[list[Indices]]:
        """The batches of each update, from the position on, without end."""
        while True:
            batches = self.plan.epoch(self.state.epoch, start=self.state.batch)
            while group := list(islice(batches, self.group_size)):
                yield group

    def _update(self, group: Sequence[Indices]) -> None:
        """One step of the optimiser over a group of batches; this process does every `ranks.size`-th of them."""
        examples = self.examples.in_epoch(self.state.epoch)
        sums, done = Sums.of(examples, group), self._done()
        # Per batch its loss, then nll, correct tokens, costs and how many: one small tensor, read back once.
        figures = torch.zeros(len(group) + 4, dtype=torch.float64, device=self.device)
        for place in range(self.ranks.rank, len(group), self.ranks.size):
            batch = examples.batch(group[place]).to(self.device)
            noise = Noise(self.seed, self.state.update, place)
            found = self.task.loss(self.model, batch, noise, done)
            (found.loss / sums.tokens).backward()
            figures[place] = found.loss.detach()
            figures[-4] += found.nll
            if found.correct is not None:
                figures[-3] += found.correct
            figures[-2] += found.cost
            figures[-1] += found.judged
        self.ranks.sum_gradients(self.optimiser.parameters)
        self.ranks.sum(figures)
        norm = self.optimiser.norm()
        *losses, nll, correct, cost, judged, length = [*figures.tolist(), norm.item()]
        if not all(map(math.isfinite, (*losses, length))):
            raise not_finite(self.examples, group, losses, length, self.state, self.run.path)
        self.optimiser.step(self._rate(), norm)
        self.average.after_update(self.state.update)
        sums.loss, sums.nll, sums.correct = math.fsum(losses), nll, correct
        sums.cost, sums.judged = cost, int(judged)
        self._move(group, sums, length)

    def _rate(self) -> float:
        """The learning rate of the coming update."""
        return self.config.learning_rate * rate_factor(self.config, self.state.update, self._done())

    def _done(self) -> float:
        """The share of training that lies behind the coming update."""
        epochs_done = self.state.epoch + self.state.batch / self.batches
        return share_done(self.config, self.state.update, epochs_done)

    def _move(self, group: Sequence[Indices], sums: Sums, norm: float) -> None:
        """Go to the next position, and report."""
        state, rate, epoch = self.state, self._rate(), self.state.epoch
        state.update += 1
        state.batch += len(group)
        if state.batch >= self.batches:
            state.epoch, state.batch = state.epoch + 1, 0
        self.report.updated(state, sums, epoch=epoch, rate=rate, norm=norm)

    # Between updates

    def _after_update(self) -> bool:
        """Validate and save where due; True when training is over."""
        state, config = self.state, self.config
        state.seconds = self.report.seconds
        late = config.minutes is not None and state.seconds >= 60 * config.minutes
        asked, late = self.ranks.decide(self.stop.number is not None, late)
        state.ended = self._reason(late)
        every = config.validate_every
        due = state.update % every == 0 if every else state.batch == 0
        state.unjudged = state.ended == "minutes" and not due
        if due or (state.ended and not state.unjudged):
            self._validate()
        if due or state.ended or asked or (config.save_every and state.update % config.save_every == 0):
            self._save()
        if asked and self.stop.number is not None:
            raise Interrupted(self.stop.number, f"saved at update {state.update}", saved=state.update)
        return bool(state.ended) or asked

    def _reason(self, late: bool) -> str:
        """Why training is over now; empty if it goes on."""
        state, config = self.state, self.config
        if config.epochs is not None and state.epoch >= config.epochs:
            return "epochs"
        if config.updates is not None and state.update >= config.updates:
            return "updates"
        return "minutes" if late else ""

    def _validate(self) -> None:
        """Score the weights, and decide whether patience has run out."""
        if self.ranks.main:
            self._judge()
        tired = bool(self.config.patience) and self.state.waiting >= self.config.patience
        (tired,) = self.ranks.decide(tired)
        if tired and self.state.ended in ("", "minutes"):  # with more minutes it would end all the same
            self.state.ended = "patience"

    def _judge(self) -> None:
        """Score the (averaged) weights, and remember them when they are the best so far."""
        state, began = self.state, time.monotonic()
        self.average.at_validation()
        with self.average.in_place():
            found = self._scores(full=False)
            value = found[self.metric]
            better = not state.best or self._better(value, state.best[self.metric])
            if better:
                weights = model_tensors(self.model).items()
                self.best_weights = {name: tensor.detach().to("cpu", copy=True) for name, tensor in weights}
        state.waiting = 0 if better else state.waiting + 1
        if better:
            state.best, state.best_update = found, state.update
        self.report.validated(state, found, self.metric, best=better, took=time.monotonic() - began)

    def _scores(self, *, full: bool) -> dict[str, float]:
        """The task's scores of the weights that the model holds now."""
        self.model.eval()
        with torch.no_grad():
            found = self.task.validate(self.model, self.prepared, full=full)
        self.model.train()
        if self.metric not in found:
            raise RegardError(f"train.metric: the validation reports {', '.join(found)}, and not {self.metric}.")
        return {name: float(value) for name, value in found.items()}

    def _better(self, value: float, best: float) -> bool:
        """Whether a value of the choosing metric beats another; not-a-number never does."""
        if math.isnan(value) or math.isnan(best):
            return math.isnan(best) and not math.isnan(value)
        return value > best if self.task.metrics[self.metric] else value < best

    def _save(self) -> None:
        """Write a checkpoint, then the best weights where a reader finds them."""
        if not self.ranks.main or self.report.log is None:
            return
        tensors = {
            **{f"model.{name}": value for name, value in model_tensors(self.model).items()},
            **{f"adamw.{name}": value for name, value in self.optimiser.tensors().items()},
            **{f"average.{name}": value for name, value in self.average.tensors().items()},
            **{f"best.{name}": value for name, value in self.best_weights.items()},
        }
        state = {"state": self.state.to_json(), "log_bytes": self.report.log.sync()}
        save_checkpoint(self.run.path / "checkpoint", self.state.update, tensors, state, keep=self.config.keep)
        self.publish()

    def publish(self) -> None:
        """Let run.json and weights.safetensors say what the checkpoint does."""
        state, known = self.state, self.run.info
        if self.best_weights and known.get("best_update") != state.best_update:
            self.run.write_weights(
                self.best_weights, best=state.best, best_update=state.best_update, metric=self.metric
            )
        self.run.write_info(status="training", update=state.update, ended=state.ended)

    # The end

    def _finish(self) -> dict[str, float]:
        """Evaluate the best weights in full, with the recipe's search."""
        if not self.ranks.main:
            return {}
        self.stop.at_once()
        if self.state.unjudged:
            self._judge()
            self.publish()
        began = time.monotonic()
        self.report.evaluating(self.state)
        load_into(self.model, self.best_weights, self.run.path)
        found = self._scores(full=True)
        self.report.evaluated(self.state, found, took=time.monotonic() - began)
        return found

"""Regard against its peers, each with its own training loop and search: `python -m benchmarks.race`.

For each peer ours is made as large as the peer, with the same attention; the two then take steps in turn, a process
each, one thread each, so that whatever else the machine does hits both. What each peer is and how it is driven:
benchmarks/peers/README.md. A peer that cannot be installed or run has a line that says why.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import results
from benchmarks.peers import data, tally
from benchmarks.peers.client import Client, PeerFailed
from benchmarks.peers.install import PLACE, InstallFailed, ensure
from benchmarks.peers.protocol import SIZES
from benchmarks.peers.resize import resized
from benchmarks.peers.roster import PEERS
from regard.errors import RegardError

WARM_UP = 3
"""Steps of each that are not counted: allocator, moments of Adam, and the largest batch, for the memory's peak."""
ROUNDS = 3
"""Times that each decodes the test sentences at batch 64."""
SEARCHES = {"beam 5, batch 64": (5, 64), "greedy, batch 64": (1, 64), "beam 5, batch 1": (5, 1)}
SAMPLED = 1500
"""Words of the softmax when ours is approximate; a batch of 64 sentences has some 450 of its own."""
SENTENCES = {64: 256, 1: 32}
"""The first so many sentences of the test set, by batch size."""


@dataclass(frozen=True)
class Field:
    """What all duels share: the data, and how long they go on."""

    folder: Path
    pieces: dict[str, int]
    lengths: tuple[list[int], list[int]]
    size: str
    steps: int
    decode: bool
    place: Path
    sampled: int = 0
    """words of our approximate softmax; with it int8 and a shortlist too; 0: exact"""

    @classmethod
    def prepare(cls, folder: Path, given: argparse.Namespace) -> Field:
        pieces = data.export(folder, given.root)
        source, target = (
            [len(line.split()) for line in (folder / f"train.{side}").read_text().splitlines()]
            for side in ("src", "tgt")
        )
        decode = not given.no_decode
        sampled = SAMPLED if given.approximate else 0
        return cls(folder, pieces, (source, target), given.size, given.steps, decode, given.place, sampled)

    def batches(self, kind: str) -> list[list[int]]:
        """The batches of one racer: those of the warm-up, then some evenly from an epoch's."""
        every = data.BATCHES[kind](*self.lengths, SIZES[self.size].batch)
        warm_up = [*data.spread(every, WARM_UP - 1), data.largest(every, self.lengths)]
        return warm_up + data.spread(every, self.steps)

    def command(self, python: Path | str, script: str, options: dict[str, str]) -> list[str]:
        found = [str(python), "-m", f"benchmarks.peers.{script}", "--data", str(self.folder), "--size", self.size]
        for key, value in options.items():
            found += ["--option", f"{key}={value}"]
        return found


def duel(name: str, field: Field) -> dict[str, Any]:
    """One peer and ours of its size."""
    peer = PEERS[name]
    try:
        python = ensure(peer.environment, peer.needs, field.place)
        command = field.command(python, peer.script, peer.options)
        with Client(name, command, patience_seconds=peer.patience_seconds) as theirs:
            facts = theirs.facts
            useful = facts["parameters"] - facts["tables"]
            config = resized(facts["shape"], facts["parameters"], useful, field.pieces)
            options = {"config": json.dumps(config.model_dump(mode="json")), "sampled": str(field.sampled)}
            path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}  # the very Regard that runs here
            with Client("regard", field.command(sys.executable, "ours", options), environment=path) as ours:
                return {"name": name, **contest(ours, theirs, field)}
    except (InstallFailed, PeerFailed, ValueError) as error:
        return {"name": name, "failed": str(error)}


def contest(ours: Client, theirs: Client, field: Field) -> dict[str, Any]:
    """Train in turn, then decode in turn."""
    sides = {"regard": ours, "peer": theirs}
    batches = {who: field.batches(worker.facts["shape"]["batches"]) for who, worker in sides.items()}
    trained = train(sides, batches)
    found: dict[str, Any] = {}
    for who, worker in sides.items():
        memory = worker.ask(do="memory")["peak_mib"]
        padding = {
            side: round(data.padding(batches[who][WARM_UP:], lengths), 3)
            for side, lengths in zip(("source", "target"), field.lengths, strict=True)
        }
        found[who] = {**tally.training(worker.facts, trained[who]), "padding": padding, "peak_mib": memory}
    found["ratio"] = tally.ratio(trained["regard"], trained["peer"], "tokens")
    if field.decode:
        found["decoding"] = {search: decode(sides, *asked) for search, asked in SEARCHES.items()}
    return found


def train(sides: dict[str, Client], batches: dict[str, list[list[int]]]) -> dict[str, list[dict[str, Any]]]:
    """What each answered to each counted step; who goes first changes from step to step."""
    answers: dict[str, list[dict[str, Any]]] = {who: [] for who in sides}
    for i in range(len(batches["regard"])):
        for who in turns(i):
            answer = sides[who].ask(do="train", rows=batches[who][i])
            if i >= WARM_UP:
                answers[who].append(answer)
    return answers


def decode(sides: dict[str, Client], beam: int, batch: int) -> dict[str, Any]:
    """The same sentences, in turn; at batch 1 sentence by sentence, otherwise all of them a few times."""
    rows = list(range(SENTENCES[batch]))
    asked = [[row] for row in rows] if batch == 1 else [rows] * ROUNDS
    answers: dict[str, list[dict[str, Any]]] = {who: [] for who in sides}
    try:
        for who in sides:
            sides[who].ask(do="decode", rows=rows[:batch], beam=beam, batch=batch)  # not counted
        for i, some in enumerate(asked):
            for who in turns(i):
                answers[who].append(sides[who].ask(do="decode", rows=some, beam=beam, batch=batch))
    except PeerFailed as error:
        return {"failed": str(error)}
    ratio = tally.ratio(answers["regard"], answers["peer"], "sentences")
    return {**{who: tally.decoding(found) for who, found in answers.items()}, "ratio": ratio}


def turns(i: int) -> Sequence[str]:
    return ("regard", "peer") if i % 2 else ("peer", "regard")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.race", description=__doc__.partition("\n")[0])
    parser.add_argument("peers", nargs="*", metavar="PEER", help=f"who races; default: all, {', '.join(PEERS)}")
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--steps", type=int, default=20, help="counted training steps of each (default 20)")
    parser.add_argument("--place", type=Path, default=PLACE, help=f"folder of the environments (default {PLACE})")
    parser.add_argument("--root", help="folder that holds multi30k/ (default: REGARD_DATA)")
    parser.add_argument("--install", action="store_true", help="make the environments and stop")
    parser.add_argument("--approximate", action="store_true", help="ours: sampled softmax, int8 and a shortlist")
    parser.add_argument("--no-decode", action="store_true", help="training only")
    parser.add_argument("--no-write", action="store_true", help="print only")
    given = parser.parse_args()
    names = given.peers or list(PEERS)
    if unknown := [name for name in names if name not in PEERS]:
        parser.error(f"no peer {', '.join(unknown)}; there are {', '.join(PEERS)}")
    if given.install:
        return install(names, given.place)
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory() as folder:
        try:
            field = Field.prepare(Path(folder), given)
        except RegardError as error:
            print(f"skipped: {error}")
            return 0
        duels = []
        for name in names:
            console.print(f"{name} …")
            duels.append(duel(name, field))
            Console().print(tally.table(duels[-1:], given.size))
    Console().print(tally.table(duels, given.size))
    if not given.no_write:
        ours = {"sampled_softmax": SAMPLED, "int8": True, "shortlist": True} if given.approximate else "exact"
        values = {"size": given.size, "threads": 1, "steps": given.steps, "ours": ours, "duels": duels}
        values = {"summary": tally.summary(duels), "data": "Multi30k tok/ de→en, BPE 8000 for each", **values}
        name = f"race-{given.size}" + ("-approximate" if given.approximate else "")
        print(results.write(name, "speed", values))
    return int(any("failed" in each for each in duels))


def install(names: Sequence[str], place: Path) -> int:
    """Make the environments; says which could not be made."""
    failed = 0
    for name in names:
        try:
            print(f"{name}: {ensure(PEERS[name].environment, PEERS[name].needs, place)}")
        except InstallFailed as error:
            failed += 1
            print(error)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())

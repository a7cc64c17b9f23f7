"""The race against the peers, without any peer: its protocol, its sizes, its sums, and what it says of failures."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

REPOSITORY = Path(__file__).resolve().parents[1]
if not (REPOSITORY / "benchmarks").is_dir():  # in an unpacked sdist
    pytest.skip("the benchmarks are not here", allow_module_level=True)
sys.path.insert(0, str(REPOSITORY))

from benchmarks import race  # noqa: E402
from benchmarks.peers import data, install, tally  # noqa: E402
from benchmarks.peers.client import Client, PeerFailed  # noqa: E402
from benchmarks.peers.protocol import Task, answer, chunks  # noqa: E402
from benchmarks.peers.resize import TOLERANCE, count, resized  # noqa: E402
from benchmarks.peers.roster import PEERS  # noqa: E402

FAKE = """
import sys
from benchmarks.peers.protocol import serve

class Fake:
    def __init__(self, task):
        print("loading")
        self.sources = task.ids("train.src")
        if "fail" in task.options:
            raise ImportError(task.options["fail"] + "\\nand more")
    def facts(self):
        return {"version": "1", "parameters": 10, "tables": 4, "shape": {"batches": "sorted"}}
    def train(self, rows):
        print("a library's own words")
        if rows == [99]:
            sys.exit("out of luck")
        return sum(len(self.sources[row]) + 1 for row in rows)
    def decode(self, rows, beam, batch):
        if beam > 1:
            raise NotImplementedError("no beam search")
        return 20

serve(Fake)
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Client]]:
    """Starts fake workers on three sentences."""
    for name in ("train.src", "train.tgt", "test.src"):
        (tmp_path / name).write_text("1 2\n3\n4 5 6\n", encoding="ascii")
    started: list[Client] = []

    def start_one(*options: str, code: str = FAKE, **settings: Any) -> Client:
        command = [sys.executable, "-c", code, "--data", str(tmp_path), "--size", "small"]
        started.append(Client("fake", [*command, *(f"--option={option}" for option in options)], **settings))
        return started[-1]

    yield start_one
    for client in started:
        client.close()


# Workers


def test_a_worker_answers_whatever_its_library_prints(start: Callable[..., Client]) -> None:
    worker = start()
    assert worker.facts == {"version": "1", "parameters": 10, "tables": 4, "shape": {"batches": "sorted"}}
    found = worker.ask(do="train", rows=[0, 2])
    assert found["tokens"] == 7 and found["seconds"] > 0
    assert worker.ask(do="decode", rows=[0, 1], beam=1, batch=2) == {
        **{"sentences": 2, "steps": 20},
        "seconds": pytest.approx(0.0, abs=1.0),
    }
    with pytest.raises(PeerFailed, match=r"^fake failed \(decode\): no beam search$"):
        worker.ask(do="decode", rows=[0], beam=5, batch=1)
    assert worker.ask(do="memory")["peak_mib"] > 0  # it goes on after an error


def test_each_way_to_fail_is_one_sentence(start: Callable[..., Client]) -> None:
    with pytest.raises(PeerFailed, match=r"^fake failed \(start\): ImportError: No module named x$"):
        start("fail=No module named x")
    with pytest.raises(PeerFailed, match=r"^fake ended with status 3 \(start\): last words$"):
        start(code="import sys; print('last words', file=sys.stderr); sys.exit(3)")
    with pytest.raises(PeerFailed, match=r"^fake did not answer within 0.2 seconds \(start\).$"):
        start(code="import time; time.sleep(60)", patience_seconds=0.2)
    with pytest.raises(PeerFailed, match=r"^fake answered 'hello', no JSON \(start\).$"):
        start(code="print('hello')")
    with pytest.raises(PeerFailed, match=r"^fake could not be started: .*nowhere"):
        Client("fake", ["/nowhere/python"])
    with pytest.raises(PeerFailed, match=r"^fake ended with status 1 \(train\): out of luck$"):
        start().ask(do="train", rows=[99])


def test_a_request_that_no_worker_knows() -> None:
    with pytest.raises(ValueError, match="'sing' is not one of train, decode, memory"):
        answer(None, {"do": "sing"})  # type: ignore[arg-type]


def test_rows_in_chunks() -> None:
    assert list(chunks([3, 1, 2], 2)) == [[3, 1], [2]]
    assert list(chunks([3, 1, 2], 2, sort=lambda row: row)) == [[1, 2], [3]]


@pytest.mark.parametrize("script", sorted({peer.script for peer in PEERS.values()}))
def test_a_peers_script_needs_nothing_of_ours(script: str) -> None:
    text = (REPOSITORY / "benchmarks" / "peers" / f"{script}.py").read_text(encoding="utf-8")
    imported = {
        name
        for node in ast.walk(ast.parse(text))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert {name for name in imported if name.split(".")[0] in ("benchmarks", "regard")} == {
        "benchmarks.peers.protocol"
    }


def test_the_folder_says_who_is_there() -> None:
    readme = (REPOSITORY / "benchmarks" / "peers" / "README.md").read_text(encoding="utf-8")
    for path in (REPOSITORY / "benchmarks" / "peers").glob("*.py"):
        assert path.name == "__init__.py" or f"`{path.name}`" in readme, f"README.md does not tell of {path.name}"
    assert all(f"| {name} |" in readme for name in PEERS)


# Data


def test_sorted_batches_pad_less_and_a_sample_has_all_lengths() -> None:
    source, target = [1 + i % 40 for i in range(4000)], [1 + i * 7 % 30 for i in range(4000)]
    by_length, as_drawn = (kind(source, target, 64) for kind in (data.sorted_batches, data.random_batches))
    assert all(len(batch) == 64 for batch in by_length + as_drawn)
    assert data.padding(by_length, source) < 0.02 < 0.4 < data.padding(as_drawn, source)
    some = data.spread(by_length, 10)
    lengths = sorted(source[batch[0]] for batch in some)
    assert some == data.spread(by_length, 10) and [b - a for a, b in pairwise(lengths)] == [4] * 9
    assert data.padding([[0, 1]], [1, 3]) == pytest.approx(2 / 8)
    assert data.largest([[0, 1], [2, 3]], ([1, 1, 2, 1], [9, 1, 1, 7])) == [0, 1]
    with pytest.raises(ValueError, match="100 batches asked for, there are 62"):
        data.spread(by_length, 100)


def test_a_task_reads_ids(tmp_path: Path) -> None:
    data.write(tmp_path / "train.src", [[4, 5], [], [6]])
    (tmp_path / "pieces.json").write_text('{"src": 3}')
    task = Task(tmp_path, size=None)  # type: ignore[arg-type]
    assert task.ids("train.src") == [[0, 1], [], [2]] and task.pieces("src") == 3


# Sizes


LSTM = {"embed": 256, "encoder_hidden": 512, "decoder_hidden": 512, "layers": 1}
BEFORE = {"attend": "before", "input_feeding": False}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "parameters", "tables"),
    [
        ({**LSTM, "encoder_hidden": 256, "attention": "general"}, 12_100_000, 4_098_000),
        ({**LSTM, "attention": "general"}, 16_300_000, 4_098_000),
        ({**LSTM, **BEFORE}, 15_100_000, 4_098_000),
        ({**LSTM, **BEFORE, "cell": "gru", "bidirectional": False}, 11_400_000, 4_098_000),
        (
            {"embed": 512, "encoder_hidden": 512, "decoder_hidden": 1024, "layers": 2, "attention": "additive"},
            50_700_000,
            8_196_000,
        ),
    ],
)
def test_ours_has_as_many_parameters(shape: dict[str, Any], parameters: int, tables: int) -> None:
    pieces = {"src": 7996, "tgt": 7996}
    found = resized(shape, parameters, parameters - tables, pieces)
    ours, useful = count(found, pieces)
    assert abs(ours / parameters - 1) <= TOLERANCE
    assert abs(useful / (parameters - tables) - 1) <= 0.1
    assert found.attention is not None and found.attention.score.type == shape.get("attention", "additive")
    assert found.encoder.hidden * 2 == found.decoder.hidden * (2 * shape["encoder_hidden"]) // shape["decoder_hidden"]


def test_no_size_fits() -> None:
    with pytest.raises(ValueError, match="no size of ours has 1,000 parameters within 3%"):
        resized(LSTM, 1000, 900, {"src": 7996, "tgt": 7996})


# Sums


def test_rates_and_ratios() -> None:
    ours = [{"seconds": 1.0, "tokens": 100}, {"seconds": 2.0, "tokens": 300}]
    theirs = [{"seconds": 2.0, "tokens": 100}, {"seconds": 4.0, "tokens": 150}]
    facts = {"version": "1", "parameters": 1_000_000, "tables": 400_000, "shape": {}}
    line = tally.training(facts, ours)
    assert line["tokens_per_second"] == 133.3 and line["tokens_per_second_quartiles"] == [112.5, 125.0, 137.5]
    assert line["useful_gflops"] == round(6 * 600_000 * 400 / 3 / 1e9, 1) and line["tokens"] == 400
    # 400/3 against 250/6 in all; 100 against 50 and 150 against 37.5 turn by turn
    assert tally.ratio(ours, theirs, "tokens") == {"overall": 3.2, "quartiles": [2.5, 3.0, 3.5]}
    one_by_one = [{"seconds": s, "sentences": 1, "steps": 20} for s in (0.1, 0.2, 0.3)]
    found = tally.decoding(one_by_one)
    assert found["latency_ms"] == 200.0 and found["latency_ms_99"] == pytest.approx(298.0)
    assert found["sentences_per_second"] == 5.0


# A whole race


def test_a_race_of_fakes(start: Callable[..., Client], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(race, "SENTENCES", {64: 2, 1: 3})
    field = race.Field(Path(), {}, ([2, 1, 3], [2, 1, 3]), "small", 2, True, Path())
    monkeypatch.setattr(race.Field, "batches", lambda *_: [[0], [1], [2], [0], [2]])
    found = {"name": "fake", **race.contest(start(), start(), field)}
    assert found["regard"]["steps"] == found["peer"]["steps"] == 2
    assert found["regard"]["tokens"] == 7 and found["regard"]["padding"] == {"source": 0.0, "target": 0.0}
    assert found["decoding"]["greedy, batch 64"]["regard"]["steps"] == 20
    assert found["decoding"]["beam 5, batch 1"]["failed"].endswith("no beam search")
    console = Console(record=True, width=300)
    console.print(tally.table([found], "small"))
    text = console.export_text()
    assert "Regard" in text and "no beam search" in text and "greedy, batch 64: " in text


def test_who_cannot_run_is_in_the_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: Any, **__: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 1, "", "WARNING: x\nERROR: No matching distribution\nERROR: more")

    monkeypatch.setattr(install.subprocess, "run", refuse)
    field = race.Field(tmp_path, {}, ([], []), "small", 2, True, tmp_path / "place")
    found = race.duel("fairseq", field)
    assert found == {"name": "fairseq", "failed": "torch was not installed: No matching distribution"}
    console = Console(record=True, width=300)
    console.print(tally.table([found], "small"))
    text = console.export_text()
    assert "fairseq" in text and "torch was not installed: No matching distribution" in text
    assert tally.summary([found, {"name": "x", "ratio": {"overall": 1.5}}]) == "fairseq: failed; 1.50 × x"


def test_environments_are_made_once_and_share_one_torch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    commands: list[list[str]] = []

    def record(_name: str, command: list[str], _variables: Sequence[str] = ()) -> str:
        commands.append(command)
        return str(tmp_path)

    monkeypatch.setattr(install, "run", record)
    told: list[str] = []
    first = install.ensure("fairseq", PEERS["fairseq"].needs, tmp_path, told.append)
    assert first.is_relative_to(tmp_path / "fairseq") and len(told) == 2
    assert (tmp_path / "torch.pth").read_text() == f"{tmp_path}\n"  # where `record` says that packages are
    made = len(commands)
    assert install.ensure("fairseq", PEERS["fairseq"].needs, tmp_path, told.append) == first
    assert install.ensure("torch", PEERS["tutorial"].needs, tmp_path).is_relative_to(tmp_path / "torch")
    assert len(commands) == made and len(told) == 2
    install.ensure("fairseq", install.Needs(plain=("other==1",)), tmp_path, told.append)
    assert commands[-1][-3:] == [*install.TORCH, "other==1"] and len(told) == 3


def test_torch_cannot_be_replaced_by_a_peers_needs() -> None:
    for peer in PEERS.values():
        for arguments in install.commands(peer.needs):
            assert install.TORCH[0] in arguments or "--no-deps" in arguments

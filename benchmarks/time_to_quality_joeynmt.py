"""Minutes from raw text to a translator, by JoeyNMT: `python -m benchmarks.time_to_quality_joeynmt [--minutes 60]`.

Its own command, `python -m joeynmt train`, with model and training as its authors configure a recurrent model for a
small set (configs/iwslt14_deen_bpe.yaml: GRU, embeddings 620, encoder 500 each way, decoder 1,000, batches of 80, Adam
at 0.0002). What is ours: the data, Multi30k as our recipes read it; 6,000 merges of subword-nmt over both languages, as
many as our recipes have pieces, since the 32,000 of the file are for a set six times as large; a validation about each
epoch; and `exponential` with factor 1 for `plateau`, which fails on this torch. All cores' threads. The clock runs from
the learning of the merges on; the run is stopped when the time is over.
"""

from __future__ import annotations

import argparse
import gzip
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import results
from benchmarks.peers.install import PLACE, Needs, ensure
from benchmarks.peers.roster import JOEYNMT
from benchmarks.process import tail
from benchmarks.time_to_quality import THRESHOLDS, passed
from regard.errors import RegardError
from regard.yaml_text import write_yaml

NEEDS = Needs(
    plain=(
        *JOEYNMT.plain,
        *("matplotlib==3.11.2", "sacrebleu==2.6.0", "sentencepiece==0.2.1", "subword-nmt==0.3.8"),
        *("tensorboard==2.20.0", "tqdm==4.70.1"),
    ),
    bare=JOEYNMT.bare,
)
MERGES = 6000
BATCH = 80
LOG = 50
"""Updates; validations must fall on a line of the log."""
DATA = Path("multi30k/tok")


def side(language: str, codes: Path) -> dict[str, Any]:
    """One language of the data."""
    tokenizer = {"tokenizer_type": "subword-nmt", "tokenizer_cfg": {"codes": str(codes), "pretokenizer": "none"}}
    return {"lang": language, "level": "bpe", "lowercase": True, "max_length": 62, "voc_min_freq": 1, **tokenizer}


def configuration(folder: Path, source: str, target: str, sentences: int) -> dict[str, Any]:
    """The authors' file in the words of version 2.3; see the module's docstring for what is not theirs."""
    embeddings = {"embedding_dim": 620, "scale": False}
    common = {"type": "recurrent", "rnn_type": "gru", "dropout": 0.0, "num_layers": 1, "embeddings": embeddings}
    decoder = {"hidden_size": 1000, "hidden_dropout": 0.2, "input_feeding": True, "init_hidden": "bridge"}
    codes = folder / "codes"
    return {
        **{"name": "multi30k", "joeynmt_version": "2.3.0", "model_dir": str(folder / "model"), "use_cuda": False},
        **{"fp16": False, "random_seed": 42},
        "data": {
            **{"train": str(folder / "train"), "dev": str(folder / "val"), "dataset_type": "plain"},
            **{"src": side(source, codes), "trg": side(target, codes)},
        },
        "testing": {
            **{"beam_size": 1, "batch_size": 64, "batch_type": "sentence", "max_output_length": 80},
            **{"eval_metrics": ["bleu"], "sacrebleu_cfg": {"tokenize": "none", "lowercase": True}},
        },
        "training": {
            **{"optimizer": "adam", "normalization": "tokens", "learning_rate": 0.0002, "weight_decay": 0.0},
            **{"batch_size": BATCH, "batch_type": "sentence", "scheduling": "exponential", "decrease_factor": 1.0},
            **{"early_stopping_metric": "loss", "epochs": 100, "validation_freq": sentences // BATCH // LOG * LOG},
            **{"logging_freq": LOG, "shuffle": True, "overwrite": True, "print_valid_sents": [0], "keep_best_ckpts": 1},
            "loss": "crossentropy",
        },
        "model": {
            "encoder": {**common, "hidden_size": 500, "bidirectional": True},
            "decoder": {**common, **decoder, "attention": "bahdanau"},
        },
    }


def export(folder: Path, root: Path, languages: tuple[str, str]) -> int:
    """Training and validation text as plain files; how many training sentences."""
    for part in ("train", "val"):
        for language in languages:
            with gzip.open(root / DATA / f"{part}.lc.norm.tok.{language}.gz", "rt", encoding="utf-8") as file:
                text = file.read()
            (folder / f"{part}.{language}").write_text(text, encoding="utf-8")
    return (folder / f"train.{languages[0]}").read_text(encoding="utf-8").count("\n")


def call(python: Path, arguments: list[str], output: Path, **kwargs: Any) -> subprocess.Popen[bytes]:
    with open(output, "ab") as file:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return subprocess.Popen([str(python), *arguments], stdout=file, stderr=file, env=environment, **kwargs)


def measure(folder: Path, root: Path, languages: tuple[str, str], python: Path, minutes: float) -> dict[str, Any]:
    sentences, output = export(folder, root, languages), folder / "output.txt"
    recipe = configuration(folder, *languages, sentences)
    (folder / "config.yaml").write_text(write_yaml(recipe), encoding="utf-8")
    began, log = time.monotonic(), folder / "model" / "validations.txt"
    both = folder / "both"
    texts = [(folder / f"train.{each}").read_text(encoding="utf-8") for each in languages]
    both.write_text("".join(texts), encoding="utf-8")
    learn = ["-c", "from subword_nmt.subword_nmt import main; main()", "learn-bpe", "-s", str(MERGES)]
    learn += ["-i", str(both), "-o", str(folder / "codes")]
    if call(python, learn, output).wait():
        raise RegardError(f"subword-nmt failed:\n{tail(output)}")
    process = call(python, ["-m", "joeynmt", "train", str(folder / "config.yaml"), "--skip-test"], output, cwd=folder)
    curve: list[list[float]] = []
    try:
        while time.monotonic() - began < 60 * minutes:
            if process.poll() is not None:
                raise RegardError(f"JoeyNMT ended with status {process.returncode}:\n{tail(output)}")
            time.sleep(2)
            found = re.findall(r"bleu: *([\d.]+)", log.read_text(encoding="utf-8")) if log.is_file() else []
            for score in found[len(curve) :]:
                curve.append([round((time.monotonic() - began) / 60, 2), float(score)])
    finally:
        process.terminate()
        process.wait()
    speeds = [int(speed) for speed in re.findall(r"Tokens per Sec: *(\d+)", output.read_text(encoding="utf-8"))]
    return {
        **{"recipe_name": f"joeynmt {'-'.join(languages)}", "recipe": recipe, "minutes": minutes},
        "validation_greedy": curve,
        "minutes_until": {str(score): passed(curve, score) for score in THRESHOLDS},
        "target_tokens_per_second": speeds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.time_to_quality_joeynmt", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="when it is stopped (default 60)")
    parser.add_argument("--languages", default="en-de", help="source-target (default en-de)")
    parser.add_argument("--root", type=Path, default=Path(os.environ.get("REGARD_DATA", "shared/data")))
    parser.add_argument("--place", type=Path, default=PLACE, help="where peers' environments are")
    parser.add_argument("--no-write", action="store_true", help="print only")
    given = parser.parse_args()
    source, target = given.languages.split("-")
    python = ensure("joeynmt-training", NEEDS, given.place)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), given.root, (source, target), python, given.minutes)
    table = Table("minutes", "BLEU on validation", title=found["recipe_name"], title_justify="left")
    for minute, score in found["validation_greedy"]:
        table.add_row(f"{minute:.1f}", f"{score:.2f}")
    Console().print(table)
    if not given.no_write:
        last = found["validation_greedy"][-1:] or [[given.minutes, 0.0]]
        summary = f"JoeyNMT {given.languages}: {last[0][1]:.1f} BLEU after {last[0][0]:.0f} minutes"
        print(results.write("time-to-quality-joeynmt", "speed", {"summary": summary, **found}))


if __name__ == "__main__":
    main()

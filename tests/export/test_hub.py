"""A run to the hub and back, where the hub is a folder; and what its card says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

import regard
from regard import cli
from regard.errors import RegardError
from regard.export import from_hub, model_card, push_to_hub
from regard.export.hub import fetch
from regard.train.runfolder import Run
from regard.yaml_text import read_yaml

pytestmark = pytest.mark.usefixtures("no_shape_checks_in_module")


@pytest.fixture
def run(toy_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(toy_run, tmp_path / "run"))


class Hub:
    """Repositories as folders."""

    def __init__(self, place: Path) -> None:
        self.place, self.asked = place, []

    def api(self, token: str | None = None) -> Hub:
        self.asked.append(("token", token))
        return self

    def create_repo(self, name: str, *, private: bool, exist_ok: bool) -> None:
        assert exist_ok
        self.asked.append(("create", name, private))

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> str:
        shutil.copytree(folder_path, self.place / repo_id)
        return f"https://hub/{repo_id}"

    def download(self, name: str, *, revision: str | None, token: str | None, allow_patterns: list[str]) -> str:
        if not (self.place / name).is_dir():
            raise OSError(f"404: {name}\n  not here")
        assert {path.name for path in (self.place / name).iterdir()} <= set(allow_patterns)
        self.asked.append(("download", name, revision))
        return str(self.place / name)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    found = Hub(tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "HfApi", found.api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", found.download)
    return found


def test_there_and_back_gives_the_same_answers(run: Path, hub: Hub) -> None:
    assert push_to_hub(run, "someone/letters", token="secret") == "https://hub/someone/letters"
    assert hub.asked == [("token", "secret"), ("create", "someone/letters", True)]
    predictor = from_hub("someone/letters", revision="abc", threads=1)
    assert hub.asked[-1] == ("download", "someone/letters", "abc")
    assert predictor(["abc", "hgf"]) == regard.load(run)(["abc", "hgf"])
    there = {path.name for path in (hub.place / "someone/letters").iterdir()}
    assert {"README.md", "recipe.yaml", "weights.safetensors", "run.json", "metrics.jsonl"} <= there
    assert not there & {"checkpoint", "lock", "data-report.json"}


def test_a_folder_is_as_good_as_a_hub_and_has_nothing_of_the_authors_machine(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        cli.main(["push", str(run), "./shared/letters"])
    assert left.value.code in (None, 0) and capsys.readouterr().out.strip() == "shared/letters"
    assert regard.from_hub("./shared/letters")(["abc"]) == regard.load(run)(["abc"])
    assert fetch(tmp_path / "shared" / "letters") == tmp_path / "shared" / "letters"
    kept = Run("shared/letters").recipe
    assert kept.data.root is None and kept.data.cache is None and kept.hash() == Run(run).recipe.hash()
    root = Run(run).recipe.data.root
    assert root is not None
    for name in ("README.md", "recipe.yaml"):
        assert root not in (tmp_path / "shared" / "letters" / name).read_text(encoding="utf-8")
    with pytest.raises(RegardError, match="holds files already"):
        push_to_hub(run, "./shared/letters")


def evaluated(run: Path, path: Path) -> dict[str, Any]:
    with pytest.raises(SystemExit):
        cli.main(["evaluate", str(run), "--data", "valid", "--json", str(path)])
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_card_says_what_the_run_knows(run: Path, tmp_path: Path) -> None:
    scores = evaluated(run, tmp_path / "scores.json")
    card = model_card(Run(run), "someone/letters", scores=tmp_path / "scores.json")
    _, head, text = card.split("---\n", 2)
    values = read_yaml(head, "card").value
    assert values["library_name"] == "regard" and "regard" in values["tags"]
    [result] = values["model-index"][0]["results"]
    told = {one["type"]: one["value"] for one in result["metrics"]}
    assert told["perplexity"] == round(scores["perplexity"], 4)
    assert {name: round(one["value"], 4) for name, one in scores["scores"].items()}.items() <= told.items()
    for name, one in scores["scores"].items():
        assert f"| {name} | {one['value']:.2f} | {one['low']:.2f} – {one['high']:.2f} |" in text
        assert one["signature"] in text
    assert 'regard.from_hub("someone/letters")' in text and "seed 1" in text
    recipe = text.split("```yaml\n")[1].split("```")[0]
    assert regard.Recipe.from_dict(read_yaml(recipe, "card").value).hash() == Run(run).recipe.hash()


def test_scores_of_other_weights_or_none(run: Path, tmp_path: Path) -> None:
    scores = evaluated(run, tmp_path / "scores.json")
    scores["runs"][0]["weights_sha256"] = "0" * 64
    (tmp_path / "others.json").write_text(json.dumps(scores), encoding="utf-8")
    (tmp_path / "none.json").write_text("{}", encoding="utf-8")
    for name, message in [
        ("others.json", "scores of other weights"),
        ("none.json", r"no scores in it: make it with `regard evaluate"),
        ("nowhere.json", "cannot be read"),
    ]:
        with pytest.raises(RegardError, match=message):
            model_card(Run(run), "x", scores=tmp_path / name)


def test_mistakes(run: Path, hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(
        RegardError, match=r"someone/else: the hub did not do it \(OSError: 404: someone/else not here\)"
    ):
        from_hub("someone/else")
    with pytest.raises(RegardError, match=r"no name of a repository"):
        push_to_hub(run, "some one/letters")
    with pytest.raises(RegardError, match=r"\./nowhere: no such folder"):
        from_hub("./nowhere")
    with pytest.raises(RegardError, match="no such run folder"):
        push_to_hub(tmp_path / "nowhere", "someone/letters")

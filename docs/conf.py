"""The site: these pages, a reference of every part, and all errors. `make site` builds it into build/site.

What is made of the code is written to docs/_built, which is made anew each time and not kept.
"""

from __future__ import annotations

import ast
import importlib
import re
import shutil
from pathlib import Path
from typing import Any

import regard

DOCS = Path(__file__).parent
ROOT = DOCS.parent
BUILT = DOCS / "_built"
BESIDE = ("README", "README.zh", "CONTRIBUTING", "CHANGELOG")
"""Pages that are not in this folder."""
FOLDERS = {
    "front": "Models to fit and predict",
    "predict": "Load a run, answer",
    "train": "Train, resume, runs",
    "tasks": "Tasks",
    "data": "Read, tokenise, batch",
    "score": "Metrics and their intervals",
    "attend": "Attention",
    "cells": "Recurrent cells",
    "encode": "Encoders",
    "decode": "Decoders and search",
    "ops": "Pure functions, plain and fast",
    "explain": "Pictures and pages",
    "export": "The hub",
}

SPECIAL, ESCAPED = re.compile(r"([\\*_<>|`\[\]])"), r"\\\1"
"""What a text may have that Markdown and reStructuredText would read as theirs."""

project = "Regard"
version = release = regard.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
root_doc = "README"
exclude_patterns = ["images"]
html_theme = "furo"
html_title = f"Regard {release}"
html_show_copyright = False
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # signatures have shapes, which are long; docstrings say them
autodoc_preserve_defaults = True
autodoc_default_options = {"exclude-members": "model_config"}
smartquotes = False  # --option is no dash


def setup(app: Any) -> None:
    app.connect("builder-inited", lambda _: write_built())
    app.connect("source-read", add_contents)
    app.connect("autodoc-process-docstring", as_rst)


def write_built() -> None:
    shutil.rmtree(BUILT, ignore_errors=True)
    BUILT.mkdir()
    for name in BESIDE:
        text = (ROOT / f"{name}.md").read_text(encoding="utf-8").replace("](docs/", "](../")
        known = "|".join(re.escape(f"{each}.md") for each in BESIDE)
        text = re.sub(rf"\[([^\]]+)\]\((?!\.\./|http|#|{known})[^)]+\)", r"\1", text)  # to what is no page
        (BUILT / f"{name}.md").write_text(text, encoding="utf-8")
    (BUILT / "errors.md").write_text(all_errors(), encoding="utf-8")
    (BUILT / "regard.md").write_text(public_names(), encoding="utf-8")
    for folder, title in FOLDERS.items():
        (BUILT / f"{folder}.md").write_text(reference(folder, title), encoding="utf-8")


def add_contents(app: Any, docname: str, source: list[str]) -> None:
    """Links of pages to files beside docs/ lead to the copies; the first page has the contents that its table lists."""
    prefix = "" if docname.startswith("_built/") else "_built/"
    source[0] = re.sub(rf"\]\(\.\./({'|'.join(BESIDE)})\.md", rf"]({prefix}\1.md", source[0])
    if docname != root_doc:
        return
    pages = dict.fromkeys(f"{page}\n" for page in re.findall(r"\]\((\w+)\.md\)", source[0]))
    built = [*BESIDE, "errors", "regard", *FOLDERS]
    source[0] += "".join(
        f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{''.join(names)}```\n"
        for caption, names in (("Questions", pages), ("Reference", [f"_built/{name}\n" for name in built]))
    )


# The reference


def public_names() -> str:
    told = "What users may rely on. `regard.train` is described with [training](train.md)."
    lines = ["# `import regard`", "", told, "", "```{eval-rst}"]
    for name in regard.__all__:
        found = getattr(regard, name)
        kind = "class" if isinstance(found, type) else "function" if callable(found) else "data"
        if not name.startswith("__") and name != "train":
            lines += [f".. auto{kind}:: regard.{name}", *(["   :members:"] if kind == "class" else []), ""]
    return "\n".join([*lines, "```", ""])


def reference(folder: str, title: str) -> str:
    """A page on a folder: what it says of itself, and every module of it."""
    package = importlib.import_module(f"regard.{folder}")
    lines = [f"# {title}: `regard.{folder}`", "", "```{eval-rst}"]
    for module in sorted(path.stem for path in Path(package.__path__[0]).glob("[!_]*.py")):
        name = f"regard.{folder}.{module}"
        lines += [name, "-" * len(name), "", f".. automodule:: {name}", "   :members:", ""]
    return "\n".join([*lines, "```", ""])


def as_rst(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings as they are: paragraphs with `code`, and examples, equations and lists of names as they stand."""
    blocks = "\n".join(lines).split("\n\n")
    lines[:] = [line for block in blocks for line in [*_block(block), ""]]


def _block(block: str) -> list[str]:
    rows = block.splitlines()
    indented = all(row.startswith("    ") or not row for row in rows)
    listed = any(re.match(r"\S.*?\S? {3,}\S", row) or row.startswith(">>>") for row in rows)
    if rows and (indented or listed):
        return ["::", "", *(f"    {row}" for row in rows)]
    parts = re.split(r"(`[^`]+`)", " ".join(row.strip() for row in rows))
    return ["".join(f"``{part[1:-1]}``" if part[1:-1] and part[0] == "`" else _plain(part) for part in parts)]


def _plain(text: str) -> str:
    return SPECIAL.sub(ESCAPED, text)


# Every error


def all_errors() -> str:
    """Every sentence that ends in a RegardError or refuses a recipe, by the file that says it."""
    lines = ["# All errors", "", "What varies stands as …. Each is one sentence, which says where and what to do.", ""]
    for path in sorted((ROOT / "src" / "regard").rglob("*.py")):
        found = list(dict.fromkeys(messages(path)))
        if found:
            lines += [f"## `{path.relative_to(ROOT / 'src')}`", ""]
            lines += [f"- {_plain(text)}" for text in found] + [""]
    return "\n".join(lines)


def messages(path: Path) -> list[str]:
    """The texts of errors that a file raises."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
            ours = node.func.id == "RegardError" or (
                node.func.id == "ValueError" and path.stem.endswith(("config", "recipe"))
            )
            text = _template(node.args[0]) if ours else ""
            if any(word for word in text.replace("…", "").split()):
                found.append(" ".join(text.split()))
    return found


def _template(node: ast.expr) -> str:
    """A text with … for what is put in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_template(part) if isinstance(part, ast.Constant) else "…" for part in node.values)
    if isinstance(node, ast.BinOp):
        return _template(node.left) + _template(node.right)
    return "…"

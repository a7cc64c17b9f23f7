"""Compiles the kernels when Regard is built or installed; without a compiler it installs without them."""

from __future__ import annotations

import importlib.util
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUILD = Path(__file__).resolve().parent / "src" / "regard" / "ops" / "build.py"


class Kernels(BuildHookInterface):
    """Called by hatchling for every wheel, an editable one included."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        spec = importlib.util.spec_from_file_location("build_kernels", BUILD)
        assert spec is not None and spec.loader is not None, f"{BUILD} is missing"
        kernels = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(kernels)
        problem = kernels.build()
        if problem:
            self.app.display_warning(f"Regard's kernels were not compiled ({problem}): it works without, slower.")
            return
        build_data["artifacts"].append(str(kernels.LIBRARY.relative_to(self.root)))
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-" + sysconfig.get_platform().replace("-", "_").replace(".", "_")

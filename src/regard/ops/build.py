"""Compile the kernels: `python -m regard.ops.build`. The installer does it too, and goes on where it cannot.

Standard library only, as it runs before anything is installed.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCES = [HERE / "kernels.c", HERE / "products.c"]
HEADERS = [HERE / "vectors.h"]
LIBRARY = HERE / "kernels.so"

FLAGS = (
    *("-O3", "-std=gnu11", "-ffp-contract=fast", "-fno-math-errno", "-fwrapv"),
    *("-fvisibility=hidden", "-shared", "-fPIC"),
)
X86 = ("-mavx2", "-mfma")
"""Every x86 server and laptop since 2015 has both; others take the plain forms."""


def digest() -> str:
    """Twelve digits that tell versions of the sources and their flags apart; empty where a source is missing."""
    files = SOURCES + HEADERS
    if not all(file.is_file() for file in files):
        return ""
    parts = [file.read_bytes() for file in files] + [" ".join(FLAGS + X86).encode()]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:12]


def compiler() -> list[str] | None:
    """CC, or the first of the usual compilers that is there and knows GCC's vectors; None without one."""
    if os.environ.get("CC"):
        return shlex.split(os.environ["CC"])
    found = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    return [found] if found and sys.platform != "win32" else None


def build() -> str | None:
    """Compile the library into its place; returns why it could not be done, or None."""
    target = X86 if platform.machine() in ("x86_64", "AMD64") else ()
    try:
        command = compiler()
        if command is None:
            return "no C compiler (cc, gcc or clang) was found"
        with tempfile.TemporaryDirectory(dir=LIBRARY.parent) as folder:
            made = Path(folder) / LIBRARY.name
            done = subprocess.run(
                [*command, *FLAGS, *target, f'-DSOURCE="{digest()}"', "-o", str(made), *map(str, SOURCES), "-lm"],
                capture_output=True,
                text=True,
                timeout=300,
            )
            if done.returncode:
                first = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[0]
                return f"{command[0]} failed: {first}"
            os.replace(made, LIBRARY)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:  # ValueError: a quote left open in CC
        return f"it could not be run, or its result not written ({error})"
    return None


def main() -> int:
    problem = build()
    print(f"{LIBRARY.name}: {problem or 'compiled'}" + ("; the plain forms will be used." if problem else ""))
    return int(problem is not None)


if __name__ == "__main__":
    sys.exit(main())

"""Compiles every lock file again from its ``.in`` file: exact versions, hashes, and no address of a registry.

``make lock`` keeps the versions that still fit; ``make lock UPGRADE=1`` takes the newest ones.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
ENVIRONMENTS = ROOT / "hub" / "sardonyx_hub" / "embedded" / "environments"
STYLE = ["--generate-hashes", "--universal", "--no-header", "--no-annotate", "--quiet"]
STYLE += ["--no-emit-index-url", "--no-emit-find-links", "--python-version", "3.11"]
STYLE += ["--override", str(REQUIREMENTS / "overrides.txt")]


def compile_lock(source: Path, *more: str) -> None:
    """Compile ``NAME.in`` into ``NAME.lock`` beside it; `more` are options of `uv pip compile`."""
    upgrade = ["--upgrade"] if os.environ.get("UPGRADE") else []
    target = source.with_suffix(".lock")
    command = [sys.executable, "-m", "uv", "pip", "compile", *STYLE, *upgrade, *more]
    subprocess.run([*command, str(source), "--output-file", str(target)], check=True, timeout=900, cwd=ROOT)
    sys.stdout.write(f"{target.relative_to(ROOT)}\n")


def main() -> None:
    """Compile them all."""
    compile_lock(REQUIREMENTS / "uv.in")
    compile_lock(REQUIREMENTS / "runtime.in")
    # the same versions in both: what is tested is what runs
    compile_lock(REQUIREMENTS / "dev.in", "--constraints", str(REQUIREMENTS / "runtime.lock"))
    for source in sorted(ENVIRONMENTS.glob("*.in")):
        compile_lock(source)


if __name__ == "__main__":
    main()

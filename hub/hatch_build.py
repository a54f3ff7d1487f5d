"""Refuses to make a wheel without the pages' scripts: `npm run build -w hub/ui` comes first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class BuiltPages(BuildHookInterface[Any]):
    """Looks for what Vite builds; an editable installation does without, tools/bootstrap.py builds it afterwards."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Check before the wheel is made.

        Raises
        ------
        FileNotFoundError
            If the scripts are not there.
        """
        built = Path(self.root) / "sardonyx_hub" / "pages" / "static" / "ui" / "shell.js"
        if version != "editable" and not built.is_file():
            raise FileNotFoundError(f"{built}: run `npm run build -w hub/ui` first")

"""Command line: ``python -m sardonyx_session agent|start|status|refresh|exec|git-credential``."""

from __future__ import annotations

import os
import sys
from typing import Optional, Sequence

USAGE = """\
usage: sardonyx-session COMMAND

  status                   what is valid in this session, and until when (--json: as JSON)
  refresh                  renew credentials now
  exec [--chain] COMMAND   run a command with fresh credentials (--chain: one that runs long)
  start -- COMMAND         prepare a session, then run its server
  agent                    keep the session's credentials fresh
  git-credential ACTION    answer Git
"""


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run one command; return the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    command, rest = (words[0], words[1:]) if words else ("", [])
    environ = dict(os.environ)
    if command == "agent" and not rest:
        from . import agent

        return agent.main(environ)
    if command == "start":
        from . import start

        return start.main(rest[1:] if rest[:1] == ["--"] else rest, environ)
    if command in ("status", "refresh", "exec", "git-credential"):
        return _for_people(command, rest, environ)
    (sys.stdout if command in ("-h", "--help", "help") else sys.stderr).write(USAGE)
    return 0 if command in ("-h", "--help", "help") else 2


def _for_people(command: str, rest: list[str], environ: dict[str, str]) -> int:
    from . import commands
    from .messages import Messages
    from .rundir import run_path

    tell, run_dir = Messages.from_environ(environ), run_path(environ)
    if command == "git-credential":
        sys.stdout.write(commands.git_credential(rest[0] if rest else "", run_dir, sys.stdin))
        return 0
    if command == "refresh":
        return commands.refresh(run_dir, tell)
    if command == "status":
        status = commands.read_status(run_dir)
        if rest == ["--json"]:
            import json

            sys.stdout.write(json.dumps(status, indent=2) + "\n")
        else:
            sys.stdout.write(commands.describe_status(status, tell) + "\n")
        return 0 if status is not None and status.get("state") in ("ok", "starting") else 1
    chain = rest[:1] == ["--chain"]
    words = rest[1:] if chain else rest
    words = words[1:] if words[:1] == ["--"] else words
    if not words:
        sys.stderr.write(USAGE)
        return 2
    return commands.execute(words, environ, chain, tell)


if __name__ == "__main__":
    sys.exit(main())

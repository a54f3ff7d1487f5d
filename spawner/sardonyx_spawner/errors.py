"""What can be wrong with a catalogue or with launch options, in a form that a page can show beside the field.

A catalogue's problems are for its operator and are English sentences with file, line and key. Problems of
launch options are for the person who filled the form: they carry a message key and its parameters, to be
shown in the person's language.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class CatalogueProblem:
    """One thing that is wrong in a catalogue.

    Parameters
    ----------
    file
        Name of the file, as it was given to :func:`~sardonyx_spawner.catalogue.load_catalogue`.
    line
        Line in it, counted from 1; 0 when the problem has no place in a file (a Python ``profile_list``).
    key
        Path of the key, such as ``services[0].resources.cpu.limit.default``; empty for the whole file.
    message
        What is wrong and what is allowed.
    """

    file: str
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}"


class CatalogueError(ValueError):
    """A catalogue cannot be used. ``problems`` has all that is wrong with it, in the order of the file."""

    def __init__(self, problems: Sequence[CatalogueProblem]) -> None:
        self.problems = sorted(problems, key=lambda problem: (problem.line, problem.key))
        super().__init__("\n".join(str(problem) for problem in self.problems))


@dataclass(frozen=True)
class OptionProblem:
    """One launch option that cannot be used as it is.

    Parameters
    ----------
    path
        Dotted path of the option (``resources.limits.memory``, ``extraEnvVars[0].name``); empty for the
        options as a whole.
    key
        Message key, in ``messages/*.json``.
    params
        What the message's placeholders stand for. Never the value of an environment variable.
    allowed
        What would have been accepted, for a list of values; empty where the message says it in words.
    """

    path: str
    key: str
    params: Mapping[str, str] = field(default_factory=dict)
    allowed: tuple[str, ...] = ()

    @property
    def message(self) -> str:
        """The problem as an English sentence, for logs and for the REST API."""
        from .messages import Messages

        return Messages("en").translate(self.key, **self.params)

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class LaunchOptionsError(ValueError):
    """Launch options cannot be used. ``problems`` has one entry for each field that is wrong."""

    def __init__(self, problems: Sequence[OptionProblem]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(f"{problem.path or '-'}: {problem.key}" for problem in problems))

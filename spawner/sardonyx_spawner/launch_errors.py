"""What stops a launch, as JupyterHub's pages and its REST API show it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyterhub.spawner import SpawnException

from .errors import LaunchOptionsError, OptionProblem
from .messages import Messages

if TYPE_CHECKING:
    _Base = Exception
else:
    _Base = SpawnException


class LaunchError(_Base):
    """A launch stops here. The message is a sentence for the person.

    Parameters
    ----------
    message
        What is wrong and what to do, in the person's language.
    reason
        One word for the metrics.
    status_code
        400 where the person can put it right, 5xx where they cannot.
    """

    def __init__(self, message: str, *, reason: str, status_code: int = 400) -> None:
        super().__init__(message, reason=reason, status_code=status_code)  # type: ignore[call-arg]
        #: What the pending page shows; without it, it would show the exception's technical text.
        self.jupyterhub_message = message


class LinkNotLaunchedError(Exception):
    """A link filled in the form; not an HTTP error: the page that follows is the answer, and the form says
    what happened."""

    #: JupyterHub shows this above the form: nothing went wrong.
    jupyterhub_message = ""

    def __init__(self) -> None:
        super().__init__("a launch link fills in the form, it starts nothing")


def problem_sentence(problem: OptionProblem, messages: Messages) -> str:
    """Return a problem as a sentence that names the field and what is allowed."""
    text = messages.translate(problem.key, **problem.params)
    if not problem.path:
        return text
    allowed = ", ".join(problem.allowed)
    if problem.allowed and not all(choice in text for choice in problem.allowed):
        return messages.translate("launch.invalid_allowed", field=problem.path, problem=text, allowed=allowed)
    return messages.translate("launch.invalid", field=problem.path, problem=text)


def options_error(error: LaunchOptionsError, messages: Messages, reason: str = "options") -> LaunchError:
    """Return what the person is told about options that cannot be used: all that is wrong with them at
    once."""
    sentences = [problem_sentence(problem, messages) for problem in error.problems]
    return LaunchError(" ".join(sentences), reason=reason)

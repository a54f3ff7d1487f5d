"""The one error that credential sources raise."""

from __future__ import annotations

from typing import Literal, get_args

from .model import SourceName, SourceProblem

ProblemCode = Literal["timeout", "unreachable", "denied", "circuit-open", "invalid", "missing"]

#: Codes that say nothing about the request: the backend did not answer. Only these are tried again.
TRANSPORT_CODES: frozenset[str] = frozenset({"timeout", "unreachable"})

PROBLEM_CODES: frozenset[str] = frozenset(get_args(ProblemCode))


class SourceError(Exception):
    """Why a credential source has nothing to give, in one sentence for a person.

    Parameters
    ----------
    source
        The source that failed.
    code
        `timeout` and `unreachable`: the backend did not answer; `circuit-open`: it was not asked, because it
        did not answer before or too many are waiting; `denied`: it refused; `missing`: what was asked for is
        not there; `invalid`: the request or the configuration is wrong.
    message
        Names the backend and the cause; never holds a token, a key or a value of a secret.

    Examples
    --------
    >>> SourceError("vault", "timeout", "Vault did not answer within 5 seconds.").transport
    True
    """

    def __init__(self, source: SourceName, code: ProblemCode, message: str) -> None:
        super().__init__(message)
        self.source = source
        self.code = code
        self.message = message

    @property
    def transport(self) -> bool:
        """Whether the backend did not answer, so that trying again can help."""
        return self.code in TRANSPORT_CODES

    def problem(self) -> SourceProblem:
        """Return the error as a warning that :class:`~.model.Credentials` carries."""
        return SourceProblem(source=self.source, code=self.code, message=self.message)


class SecretConflictError(SourceError):
    """A secret was written by somebody else since it was read."""

    def __init__(self, source: SourceName, path: str) -> None:
        super().__init__(source, "invalid", f"The secret {path} was changed meanwhile: read it again first.")


class SecretExistsError(SecretConflictError):
    """There is a secret already where another should go."""

    def __init__(self, source: SourceName, path: str) -> None:
        super().__init__(source, path)
        self.message = f"There is a secret {path} already."
        self.args = (self.message,)

"""Checks launch options also against the list of the person's own secrets, where it is known."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from . import launch_form
from .errors import LaunchOptionsError
from .options import ValidatedOptions, validate_options
from .service import Service


async def validate_with_secrets(
    spawner: Any, service: Service, raw: Mapping[str, Any], *, lenient: bool = False
) -> ValidatedOptions:
    """Do :func:`~.options.validate_options`; a chosen secret that the person does not have is a problem too.

    The list of secrets is asked for only if one was chosen. Where it is not known (the secret store is down, or
    somebody has more secrets than are listed), secrets are not checked: the launch then says what is missing.

    Raises
    ------
    LaunchOptionsError
        With a problem for each field that is wrong.
    """

    def validate(available: Collection[str] | None) -> ValidatedOptions:
        return validate_options(
            service, raw, lenient=lenient, local=spawner.sessions_are_local, available_secrets=available
        )

    try:
        valid = validate(None)
    except LaunchOptionsError:
        # All problems at once: those of secrets too.
        if any(str(key).startswith("vault") for key in raw):
            validate(await _secrets_of(spawner))
        raise
    chosen = valid.options.vault
    if not (chosen.enabled and chosen.secret):
        return valid
    available = await _secrets_of(spawner)
    return valid if available is None else validate(available)


async def _secrets_of(spawner: Any) -> Collection[str] | None:
    if spawner.form_context_hook is None:
        return None
    own = await launch_form.own_context(spawner)
    secrets: Collection[str] | None = own.get("secrets")
    return secrets if own.get("secrets_complete", True) else None

"""Which of a person's sessions and saved configurations name a secret. Reads what the hub knows; no secret."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

#: Option of the launch form that names the chosen secrets; several are a list, or text with commas.
_OPTION = ("vault", "secret")


@dataclass(frozen=True)
class Use:
    """Something that names a secret.

    Parameters
    ----------
    kind
        ``running``: a session that has it now and gets its changes; ``stopped``: one that gets it when it is started
        again; ``saved``: a saved configuration.
    """

    kind: Literal["running", "stopped", "saved"]
    name: str
    id: str = ""


def uses_by_path(user: Any, saved: Iterable[Any] = ()) -> dict[str, list[Use]]:
    """Return for each secret's path who names it.

    Parameters
    ----------
    user
        JupyterHub's user, whose sessions are looked at.
    saved
        Saved configurations, with `name`, `id` and `options`.
    """
    found: dict[str, list[Use]] = {}
    for name, record in user.orm_user.orm_spawners.items():
        spawner = user.spawners.get(name) if name in user.spawners else None
        title = record.display_name or name or "default"
        if spawner is not None and spawner.active:
            grant = getattr(spawner, "grant", None) or {}
            use, paths = Use("running", title, name), grant.get("secrets", ())
        else:
            options = record.user_options
            nested = options.get("options") if isinstance(options, Mapping) else None
            use, paths = Use("stopped", title, name), chosen_secrets(nested)
        for path in dict.fromkeys(paths):
            found.setdefault(str(path), []).append(use)
    for configuration in saved:
        for path in dict.fromkeys(chosen_secrets(configuration.options)):
            found.setdefault(path, []).append(Use("saved", configuration.name, configuration.id))
    return found


def chosen_secrets(options: Any) -> list[str]:
    """Return the paths of secrets in launch options, nested or with dotted names.

    Examples
    --------
    >>> chosen_secrets({"vault": {"secret": ["a", "b/c"]}})
    ['a', 'b/c']
    >>> chosen_secrets({"vault.secret": "a, b/c"})
    ['a', 'b/c']
    """
    if not isinstance(options, Mapping):
        return []
    value: Any = options.get(".".join(_OPTION))
    if value is None:
        value = options
        for key in _OPTION:
            value = value.get(key) if isinstance(value, Mapping) else None
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return [str(part) for part in value] if isinstance(value, list | tuple) else []

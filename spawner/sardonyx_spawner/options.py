"""Launch options: what a person chose in the launch form, read, checked against the service, and completed.

Options are nested and named by Onyxia's paths. Whatever comes in, from the form, the REST API, a saved
configuration or a launch link, goes through :func:`parse_options` and :func:`validate_options`; what comes
out has every value filled in.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_serializer, model_validator

from .errors import LaunchOptionsError, OptionProblem
from .fields import S3Access
from .option_reader import Reader, fault_of, read_options
from .paths import MAX_PATH, PathError, flatten, unflatten
from .service import Service

__all__ = [
    "LaunchOptions",
    "ValidatedOptions",
    "flatten",
    "options_from_form",
    "parse_options",
    "unflatten",
    "validate_options",
]


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class Amounts(_Options):
    """CPU, memory and devices; ``None`` where the service does not set one.

    In documents the devices stand beside the others: ``{"cpu": "1", "memory": "2Gi", "nvidia.com/gpu": 1}``.
    """

    cpu: str | None = None
    memory: str | None = None
    devices: dict[str, int] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _gather_devices(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or "devices" in value:
            return value
        known = {key: inner for key, inner in value.items() if key in ("cpu", "memory")}
        return {**known, "devices": {key: inner for key, inner in value.items() if key not in known}}

    @model_serializer(mode="plain")
    def _spread_devices(self) -> dict[str, Any]:
        amounts = {"cpu": self.cpu, "memory": self.memory}
        return {**{key: value for key, value in amounts.items() if value is not None}, **self.devices}


class ResourceOptions(_Options):
    """``resources.requests`` is guaranteed, ``resources.limits`` is the most that is given."""

    requests: Amounts = Field(default_factory=Amounts)
    limits: Amounts = Field(default_factory=Amounts)


class PersistenceOptions(_Options):
    """The disk of the session."""

    enabled: bool = True
    size: str = "10Gi"


class GitOptions(_Options):
    """What is cloned at the start; ``enabled`` is whether Git accounts enter the session."""

    enabled: bool = True
    repository: str = ""
    branch: str = ""


class VaultOptions(_Options):
    """``secret``: paths of the chosen secrets; ``token``: whether ``VAULT_TOKEN`` enters the session."""

    enabled: bool = True
    secret: list[str] = Field(default_factory=list)
    token: bool = False


class S3Options(_Options):
    """What the session may do on S3."""

    access: S3Access = "read-write"


class InitOptions(_Options):
    """A script that runs before the session's server starts."""

    personal_init: str = Field(default="", alias="personalInit")
    personal_init_args: str = Field(default="", alias="personalInitArgs")


class CustomImageOptions(_Options):
    """An image of the person's own; ``version`` is its full name."""

    enabled: bool = False
    version: str = ""


class ImageOptions(_Options):
    """``version`` is the id of one of the service's versions; empty if it lists none."""

    version: str = ""
    custom: CustomImageOptions = Field(default_factory=CustomImageOptions)


class ServiceOptions(_Options):
    """Which image of the service."""

    image: ImageOptions = Field(default_factory=ImageOptions)


class EnvVar(_Options):
    """One environment variable of the person's own; a `secret` one has no value where that is kept elsewhere."""

    name: str
    value: str = Field(default="", repr=False)
    secret: bool = False

    @model_serializer(mode="plain")
    def _as_given(self) -> dict[str, Any]:
        if not self.secret:
            return {"name": self.name, "value": self.value}
        return {"name": self.name, **({"value": self.value} if self.value else {}), "secret": True}


class LaunchOptions(_Options):
    """All options of one launch, complete and valid for its service.

    Attributes have Python's names; :meth:`to_dict` has Onyxia's.
    """

    service: ServiceOptions = Field(default_factory=ServiceOptions)
    resources: ResourceOptions = Field(default_factory=ResourceOptions)
    persistence: PersistenceOptions = Field(default_factory=PersistenceOptions)
    git: GitOptions = Field(default_factory=GitOptions)
    vault: VaultOptions = Field(default_factory=VaultOptions)
    s3: S3Options = Field(default_factory=S3Options)
    init: InitOptions = Field(default_factory=InitOptions)
    extra_env_vars: list[EnvVar] = Field(default_factory=list, alias="extraEnvVars")
    profile_options: dict[str, str] = Field(default_factory=dict, alias="profileOptions")

    def to_dict(self) -> dict[str, Any]:
        """Return nested JSON data with Onyxia's names; ``LaunchOptions.model_validate`` is its inverse."""
        return self.model_dump(by_alias=True)

    def to_flat(self) -> dict[str, Any]:
        """Return ``{dotted path: value}``."""
        return flatten(self.to_dict())

    def image_of(self, service: Service) -> str | None:
        """Return the container image that these options mean; ``None`` if the service names none."""
        chosen = self.service.image
        if chosen.custom.enabled:
            return chosen.custom.version
        version = service.image.find(chosen.version) or service.image.default
        return version.image if version else None


@dataclass(frozen=True)
class ValidatedOptions:
    """Complete options, and what was dropped or replaced on the way (only with ``lenient=True``)."""

    options: LaunchOptions
    warnings: tuple[OptionProblem, ...] = ()


def parse_options(user_options: Mapping[str, Any] | None) -> tuple[str | None, dict[str, Any]]:
    """Return the service and the raw options that JupyterHub's ``user_options`` mean.

    Accepted are ``{}`` (the default service), ``{"service": id, "options": {...}}`` with nested or dotted
    options, and KubeSpawner's ``{"profile": slug, "<option>": "<choice>", "<option>--unlisted-choice":
    "<text>"}``.

    Returns
    -------
    tuple
        Id of the service, ``None`` for the default one, and options for :func:`validate_options`.

    Raises
    ------
    LaunchOptionsError
        If they have another form.
    """
    if user_options is not None and not isinstance(user_options, Mapping):
        raise LaunchOptionsError([OptionProblem("", "option.not_options")])
    if fault := fault_of(user_options):
        raise LaunchOptionsError([OptionProblem("", fault)])
    left = dict(user_options or {})
    key = "profile" if "profile" in left else "service"
    service = left.pop(key, None) or None
    if service is not None and not isinstance(service, str):
        raise LaunchOptionsError([OptionProblem(key, "option.not_text")])
    if key == "profile":
        return service, {"profileOptions": {name: choice for name, choice in left.items() if choice}}
    options = left.pop("options", None) or {}
    if left:
        known = ("service", "options", "profile")
        problems = [OptionProblem(str(name)[:MAX_PATH], "option.unknown", allowed=known) for name in left]
        raise LaunchOptionsError(problems)
    if not isinstance(options, Mapping):
        raise LaunchOptionsError([OptionProblem("options", "option.not_options")])
    return service, dict(options)


def options_from_form(form: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Return ``user_options`` for what a browser posted.

    A field is named by the path of its option. Of several values of one name the last counts (a check box has
    a hidden ``false`` in front of it); ``vault.secret`` keeps them all. Field ``service`` is the service's
    id. KubeSpawner's fields ``profile`` and ``profile-option-<slug>--<name>`` are read as KubeSpawner reads
    them. Names that begin with ``_`` are JupyterHub's.

    Raises
    ------
    LaunchOptionsError
        If the name of a field is no path.
    """
    fields = {name: list(values) for name, values in form.items() if values and not name.startswith("_")}
    if fields.get("profile"):
        slug = fields["profile"][0]
        prefix = f"profile-option-{slug}--"
        chosen = {
            name[len(prefix) :]: values[0] for name, values in fields.items() if name.startswith(prefix)
        }
        return {"profile": slug, **chosen}
    service = fields.pop("service", [""])[-1]
    flat = {name: values if name == "vault.secret" else values[-1] for name, values in fields.items()}
    try:
        options = unflatten(flat)
    except PathError as error:
        raise LaunchOptionsError([OptionProblem(error.path, "option.not_a_path")]) from None
    return {"service": service, "options": options} if service else {"options": options}


def validate_options(
    service: Service,
    raw: Mapping[str, Any],
    *,
    lenient: bool = False,
    local: bool = False,
    available_secrets: Collection[str] | None = None,
) -> ValidatedOptions:
    """Check `raw` against `service` and fill in what was not chosen.

    Parameters
    ----------
    service
        Says what may be chosen, and the defaults.
    raw
        Nested or dotted options; not changed.
    lenient
        For a session that ran before, whose service may have lost a key or an image since: what cannot be
        used is dropped with a warning, and the default takes its place.
    local
        Whether the local spawner runs the session: a choice that it does not honour is refused, not ignored.
    available_secrets
        Paths of the person's own secrets; ``None`` where they are not known.

    Returns
    -------
    ValidatedOptions
        Complete options. Validating them again changes nothing.

    Raises
    ------
    LaunchOptionsError
        With a problem for each field that is wrong; with `lenient` only if the service is not there at all.

    Examples
    --------
    >>> service = Service(id="jupyter", name="Jupyter")
    >>> validate_options(service, {"git.branch": "main"}).options.git.branch
    'main'
    """
    limits = service.local_limits() if local else {}
    if "" in limits:
        raise LaunchOptionsError([OptionProblem("", limits[""], {"service": service.id})])
    reader = Reader(raw, limits)
    options = read_options(service, reader, available_secrets)
    if reader.problems and not lenient:
        raise LaunchOptionsError(reader.problems)
    return ValidatedOptions(LaunchOptions.model_validate(options), tuple(reader.problems))

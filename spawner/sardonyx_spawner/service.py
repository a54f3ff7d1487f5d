"""What one entry of the catalogue may say.

Everything is strict: an unknown key, a default outside its bounds or a bad regular expression is an error
that :func:`~sardonyx_spawner.catalogue.load_catalogue` reports with file, line and key.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import AfterValidator, Field, StrictBool, StrictInt, StringConstraints, model_validator

from .fields import (
    RESOURCE_PATTERN,
    S3_ACCESSES,
    Cpu,
    Found,
    Identifier,
    Line,
    Memory,
    OptionalAddress,
    Regex,
    S3Access,
    SourceName,
    Strict,
    Tag,
    Text,
    VariableName,
    WebAddress,
    check_icon,
    check_range,
    find_defaults,
    find_duplicates,
    misplaced,
    refuse,
)
from .idle_stop import IdleStop
from .paths import join_path
from .quantities import parse_cpu, parse_memory

if TYPE_CHECKING:
    from .options import LaunchOptions


def repeated_versions(versions: Sequence[Mapping[str, Any]]) -> tuple[Found, Found]:
    """Return ids that are there twice, and defaults besides the first."""
    return (
        find_duplicates([version.get("id") for version in versions], "version id", "id"),
        find_defaults({index: version.get("default") for index, version in enumerate(versions)}, "version"),
    )


class Link(Strict):
    """A link on the card of a service: documentation, source."""

    name: Text
    url: WebAddress


class Version(Strict):
    """A version of a service that a person can pick: option ``service.image.version``."""

    id: Identifier
    name: Text | None = Field(default=None, description="Shown instead of the id.")
    image: Line = Field(min_length=1, description="Container image; the local spawner does not use it.")
    default: StrictBool = False


class CustomImage(Strict):
    """Whether people may name an image of their own: option ``service.image.custom.version``."""

    enabled: StrictBool = False
    allow: tuple[Regex, ...] = Field(
        default=(),
        description="Regular expressions; the whole name of the image has to match one. `.*` allows all.",
    )

    @model_validator(mode="after")
    def _needs_patterns(self) -> Self:
        if self.enabled and not self.allow:
            raise ValueError("needs `allow`, at least one regular expression (`.*` allows every image)")
        return self

    def allows(self, image: str) -> bool:
        """Return whether a person may use `image`."""
        return self.enabled and any(re.fullmatch(pattern, image) for pattern in self.allow)


class Image(Strict):
    """The images of a service."""

    versions: tuple[Version, ...] = ()
    custom: CustomImage = CustomImage()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refuse("versions", *repeated_versions([dict(version) for version in self.versions]))
        return self

    @property
    def default(self) -> Version | None:
        """The version that is used when none is chosen; ``None`` if the service lists none."""
        return next(
            (version for version in self.versions if version.default), next(iter(self.versions), None)
        )

    def find(self, choice: str) -> Version | None:
        """Return the version whose id or image is `choice`: Onyxia's links carry the image."""
        return next((version for version in self.versions if choice in (version.id, version.image)), None)


class CpuRange(Strict):
    """Bounds and default of an amount of CPU, in cores."""

    min: Cpu = "100m"
    default: Cpu
    max: Cpu
    step: Cpu = "100m"

    @model_validator(mode="after")
    def _default_within(self) -> Self:
        check_range(self.min, self.default, self.max, parse_cpu)
        return self


class MemoryRange(Strict):
    """Bounds and default of an amount of memory or disk."""

    min: Memory = "128Mi"
    default: Memory
    max: Memory
    step: Memory = "128Mi"

    @model_validator(mode="after")
    def _default_within(self) -> Self:
        check_range(self.min, self.default, self.max, parse_memory)
        return self


class CpuResource(Strict):
    """CPU that a session is guaranteed (Kubernetes' request) and may use (limit). Absent: not set."""

    guaranteed: CpuRange | None = None
    limit: CpuRange | None = None


class MemoryResource(Strict):
    """Memory that a session is guaranteed and memory it may use."""

    guaranteed: MemoryRange | None = None
    limit: MemoryRange | None = None


class ExtendedResource(Strict):
    """A countable device such as ``nvidia.com/gpu``: option ``resources.limits."nvidia.com/gpu"``."""

    resource: Annotated[str, StringConstraints(pattern=RESOURCE_PATTERN)]
    name: Text
    min: StrictInt = Field(default=0, ge=0)
    default: StrictInt = Field(default=0, ge=0)
    max: StrictInt = Field(ge=0)

    @model_validator(mode="after")
    def _default_within(self) -> Self:
        check_range(self.min, self.default, self.max, int)
        return self


class Resources(Strict):
    """What a session may use of its machine."""

    shown: StrictBool = Field(
        default=True, description="False: people get the defaults and cannot change them."
    )
    cpu: CpuResource = CpuResource()
    memory: MemoryResource = MemoryResource()
    extended: tuple[ExtendedResource, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refuse(
            "extended", find_duplicates([device.resource for device in self.extended], "resource", "resource")
        )
        for name, part, parse in (("cpu", self.cpu, parse_cpu), ("memory", self.memory, parse_memory)):
            if part.guaranteed and part.limit and parse(part.guaranteed.default) > parse(part.limit.default):
                raise misplaced(
                    (name, "guaranteed", "default"),
                    f"should not be above the default of `limit` ({part.limit.default})",
                )
        return self


class Persistence(Strict):
    """The disk of a session: options ``persistence.enabled`` and ``persistence.size``."""

    shown: StrictBool = Field(
        default=True, description="False: people get the defaults and cannot change them."
    )
    enabled: StrictBool = Field(default=True, description="What is ticked when the form opens.")
    size: MemoryRange = MemoryRange(min="1Gi", default="10Gi", max="100Gi", step="1Gi")
    storage_class: Line | None = Field(
        default=None, alias="class", description="Absent: the cluster's default."
    )


class GitSection(Strict):
    """Section Git of the form: options ``git.enabled``, ``git.repository``, ``git.branch``."""

    shown: StrictBool = True
    enabled: StrictBool = Field(
        default=True, description="Whether the person's Git accounts enter the session."
    )
    repository: Line = ""
    branch: Line = ""
    hosts: tuple[Line, ...] = Field(
        default=("*",), description="Git hosts whose token may enter the session; `*` is all."
    )


class SecretsSection(Strict):
    """Section Secrets of the form: option ``vault.secret``, the paths of one's own secrets."""

    shown: StrictBool = True
    enabled: StrictBool = Field(
        default=True, description="Whether secrets and the address of the Vault enter the session."
    )
    default: tuple[Line, ...] = ()


class VaultToken(Strict):
    """Whether ``VAULT_TOKEN`` may enter the session: option ``vault.token``."""

    allowed: StrictBool = False
    default: StrictBool = False

    @model_validator(mode="after")
    def _default_is_allowed(self) -> Self:
        if self.default and not self.allowed:
            raise misplaced(("default",), "can only be true where `allowed` is")
        return self


class S3Section(Strict):
    """Section S3 of the form: option ``s3.access``."""

    shown: StrictBool = True
    default: S3Access = "read-write"
    allowed: tuple[S3Access, ...] = Field(default=S3_ACCESSES, min_length=1)

    @model_validator(mode="after")
    def _default_is_allowed(self) -> Self:
        if self.default not in self.allowed:
            raise misplaced(("default",), f"should be one of `allowed`: {', '.join(self.allowed)}")
        return self


class InitSection(Strict):
    """Section Init of the form: ``init.personalInit`` (address of a script) and ``init.personalInitArgs``."""

    shown: StrictBool = True
    personal_init: OptionalAddress = Field(default="", alias="personalInit")
    personal_init_args: Line = Field(default="", alias="personalInitArgs")


class EnvironmentSection(Strict):
    """Section Environment of the form: options ``extraEnvVars[0].name`` and ``.value``."""

    shown: StrictBool = True


class Local(Strict):
    """How the local spawner runs the service."""

    command: tuple[Line, ...] = Field(default=("jupyterhub-singleuser",), min_length=1)
    environment: Identifier = Field(
        default="jupyter-python", description="Name of the installed session environment."
    )
    args: tuple[Line, ...] = ()


class UnlistedChoice(Strict):
    """Free text beside the choices of a profile option, as in KubeSpawner's ``profile_options``."""

    enabled: StrictBool = False
    display_name: Text | None = None
    display_name_in_choices: Text = Text(en="Other...", fr="Autre...")
    validation_regex: Regex | None = Field(default=None, description="The whole text has to match it.")
    validation_message: Text | None = None
    kubespawner_override: dict[str, Any] = Field(default_factory=dict)


class Choice(Strict):
    """One choice of a profile option."""

    display_name: Text
    default: StrictBool = False
    kubespawner_override: dict[str, Any] = Field(default_factory=dict)


class ProfileOption(Strict):
    """A sub-option of a service as in KubeSpawner's ``profile_options``: option ``profileOptions.<name>``."""

    display_name: Text
    choices: dict[Line, Choice] = Field(default_factory=dict)
    unlisted_choice: UnlistedChoice = UnlistedChoice()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refuse(
            "choices",
            find_defaults({name: choice.default for name, choice in self.choices.items()}, "choice"),
        )
        if not self.choices and not self.unlisted_choice.enabled:
            raise ValueError("should have `choices` or an enabled `unlisted_choice`")
        return self

    @property
    def default(self) -> str | None:
        """Key of the choice that is used when none is made; ``None`` if there are none."""
        marked = (name for name, choice in self.choices.items() if choice.default)
        return next(marked, next(iter(self.choices), None))


class Service(Strict):
    """One entry of the catalogue."""

    id: Identifier
    name: Text
    description: Text | None = Field(default=None, description="One sentence, shown on the card.")
    readme: Text | None = Field(default=None, description="More about the service, in Markdown.")
    category: Text = Text(en="Other", fr="Autres")
    icon: Annotated[Line, AfterValidator(check_icon)] = Field(
        default="", description="File name of an icon, or https address."
    )
    tags: tuple[Tag, ...] = Field(
        default=(), max_length=12, description="Words by which people find the service; shown on its card."
    )
    order: StrictInt = Field(default=0, description="Place among its category; lower comes first.")
    default: StrictBool = Field(
        default=False, description="Launched when nothing is chosen; absent everywhere: the first."
    )
    groups: tuple[Line, ...] = Field(default=(), description="Who sees it; empty: everyone.")
    links: tuple[Link, ...] = ()
    required: frozenset[SourceName] = Field(
        default=frozenset(),
        description="Without credentials of these the launch fails instead of going on with a warning.",
    )
    image: Image = Image()
    resources: Resources = Resources()
    persistence: Persistence = Persistence()
    git: GitSection = GitSection()
    secrets: SecretsSection = SecretsSection()
    vault_token: VaultToken = VaultToken()
    s3: S3Section = S3Section()
    init: InitSection = InitSection()
    environment: EnvironmentSection = EnvironmentSection()
    env: dict[VariableName, Annotated[str, StringConstraints(max_length=32_768, pattern=r"^[^\x00]*$")]] = (
        Field(
            default_factory=dict, description="Variables of every session of this service. Not for secrets."
        )
    )
    idle_stop: IdleStop | None = Field(
        default=None, description="When idle sessions are stopped; absent: the operator's rule."
    )
    local: Local | None = Field(
        default=None, description="Absent: the local spawner does not offer the service."
    )
    profile_options: dict[Annotated[Line, StringConstraints(min_length=1, max_length=63)], ProfileOption] = (
        Field(default_factory=dict)
    )
    kubespawner_override: dict[str, Any] = Field(
        default_factory=dict, description="Traits of KubeSpawner, for sessions on Kubernetes."
    )

    def visible_to(self, groups: Collection[str]) -> bool:
        """Return whether a person who is in `groups` sees the service."""
        return not self.groups or not set(self.groups).isdisjoint(groups)

    def local_limits(self) -> dict[str, str]:
        """Return what the local spawner does not honour: option path (or ``""`` for all) -> message key.

        The form shows these fields as unavailable, and :func:`~sardonyx_spawner.options.validate_options`
        refuses a value for them when it is told that the session runs locally.
        """
        if self.local is None:
            return {"": "unavailable.service"}
        found: dict[str, str] = {}
        if self.image.versions:
            found["service.image.version"] = "unavailable.image_version"
        if self.image.custom.enabled:
            found["service.image.custom"] = "unavailable.image_custom"
        if self.resources.cpu.guaranteed:
            found["resources.requests.cpu"] = "unavailable.guaranteed"
        if self.resources.memory.guaranteed:
            found["resources.requests.memory"] = "unavailable.guaranteed"
        for device in self.resources.extended:
            found[join_path("resources", "limits", device.resource)] = "unavailable.device"
        found["persistence.size"] = "unavailable.disk_size"
        found["persistence.enabled"] = "unavailable.disk_always"
        for name in self.profile_options:
            found[join_path("profileOptions", name)] = "unavailable.profile_option"
        if self.kubespawner_override:
            found["kubespawner_override"] = "unavailable.kubespawner_override"
        return found

    def unavailable_locally(self) -> list[str]:
        """Return the message keys of what the local spawner does not honour, each once."""
        return list(dict.fromkeys(self.local_limits().values()))

    def to_grant_data(self, options: LaunchOptions) -> dict[str, Any]:
        """Return what a session with `options` may have: the hub's ``Grant`` as data, without ``session``."""
        vault = options.vault.enabled
        variables = [one.name for one in options.extra_env_vars if one.secret]
        return {
            **({"variables": variables} if variables else {}),
            "s3": options.s3.access,
            "secrets": list(options.vault.secret) if vault else [],
            "git_hosts": list(self.git.hosts) if options.git.enabled else [],
            "vault_token": vault and self.vault_token.allowed and options.vault.token,
            "required": sorted(self.required),
        }

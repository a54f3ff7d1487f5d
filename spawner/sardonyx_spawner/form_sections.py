"""The sections of the launch form: what a service shows of its launch options, in the order of the form."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from .fields import S3Access
from .form_fields import Choice, Field, FieldBuilder, Kind
from .form_words import describe_images, describe_quota
from .paths import MAX_ITEMS, join_path
from .service import ProfileOption

#: Empty rows for environment variables: what a person without script can fill in at once.
EMPTY_ROWS = 3

_ROW_PATH = re.compile(r"extraEnvVars\[([0-9]{1,3})\]\.(name|value|secret)")

_S3_LABELS: Mapping[S3Access, str] = {
    "read-write": "form.s3.read_write",
    "read-only": "form.s3.read_only",
    "none": "form.s3.none",
}


@dataclass(frozen=True)
class Section:
    """A part of the form that can be folded; ``key`` is the first part of its options' paths."""

    key: str
    title: str
    intro: str = ""
    fields: tuple[Field, ...] = ()
    notices: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Id of the section's element."""
        return f"section-{self.key}"

    def all_fields(self) -> list[Field]:
        """Return the fields with their parts."""
        return [part for one in self.fields for part in one.all()]

    @property
    def groups(self) -> list[list[Field]]:
        """The fields, those of one quantity (guaranteed amount and limit) together."""
        found: list[list[Field]] = []
        for one in self.fields:
            if one.pair and found and found[-1][0].pair == one.pair:
                found[-1].append(one)
            else:
                found.append([one])
        return found

    @property
    def changed(self) -> bool:
        """Whether something in it was filled in."""
        return any(one.changed for one in self.all_fields())

    @property
    def open(self) -> bool:
        """Whether it is unfolded: it holds a problem or a choice, which have to be seen."""
        return bool(self.errors) or self.changed or any(one.errors for one in self.all_fields())


class SectionBuilder(FieldBuilder):
    """Makes the sections of one service's form."""

    def sections(self) -> list[Section]:
        """Return what the service shows; problems of no field are in the section's ``errors``."""
        made = (
            self._service(),
            self._resources(),
            self._persistence(),
            self._git(),
            self._secrets(),
            self._s3(),
            self._init(),
            self._environment(),
        )
        shown = [section for section in made if section is not None]
        placed = {one.path for section in shown for one in section.all_fields()}
        return [replace(section, errors=self._section_errors(section, placed)) for section in shown]

    def _service(self) -> Section | None:
        image = self.service.image
        at = ("service", "image")
        fields = []
        if image.versions and image.default:
            fields.append(
                self._field(
                    join_path(*at, "version"),
                    "select",
                    self._t("form.version"),
                    self._t("form.version.help"),
                    image.default.id,
                    choices=tuple(
                        Choice(one.id, self._text(one.name) if one.name else one.id) for one in image.versions
                    ),
                )
            )
        if image.custom.enabled:
            fields += [
                self._check(
                    join_path(*at, "custom", "enabled"),
                    self._t("form.custom_image"),
                    self._t("form.custom_image.help"),
                    False,
                ),
                self._field(
                    join_path(*at, "custom", "version"),
                    "text",
                    self._t("form.custom_image_name"),
                    f"{self._t('form.custom_image_name.help')} {describe_images(image.custom.allow, self.messages)}",
                    "",
                    wide=True,
                    longest=512,
                ),
            ]
        for name, option in self.service.profile_options.items():
            fields += self._profile_option(name, option)
        return Section("service", self._t("form.section.service"), fields=tuple(fields)) if fields else None

    def _profile_option(self, name: str, option: ProfileOption) -> list[Field]:
        made = []
        unlisted = option.unlisted_choice
        if option.choices:
            made.append(
                self._field(
                    join_path("profileOptions", name),
                    "select",
                    self._text(option.display_name),
                    "",
                    option.default or "",
                    choices=tuple(
                        Choice(value, self._text(choice.display_name))
                        for value, choice in option.choices.items()
                    ),
                )
            )
        if unlisted.enabled:
            title = unlisted.display_name or unlisted.display_name_in_choices
            help_key = "form.unlisted.help" if option.choices else "form.unlisted_only.help"
            made.append(
                self._field(
                    join_path("profileOptions", f"{name}--unlisted-choice"),
                    "text",
                    self._t(
                        "form.unlisted", option=self._text(option.display_name), choice=self._text(title)
                    ),
                    self._t(help_key),
                    "",
                    longest=512,
                    limited_as=join_path("profileOptions", name),
                )
            )
        return made

    def _resources(self) -> Section | None:
        resources = self.service.resources
        if not resources.shown:
            return None
        fields = []
        if resources.cpu.guaranteed:
            fields.append(
                self._cpu(
                    "requests", self._t("form.cpu.guaranteed"), "form.cpu.help", resources.cpu.guaranteed
                )
            )
        if resources.cpu.limit:
            fields.append(
                self._cpu("limits", self._t("form.cpu.limit"), "form.cpu.help", resources.cpu.limit)
            )
        if resources.memory.guaranteed:
            fields.append(
                self._memory(
                    ("resources", "requests", "memory"),
                    self._t("form.memory.guaranteed"),
                    resources.memory.guaranteed,
                )
            )
        if resources.memory.limit:
            fields.append(
                self._memory(
                    ("resources", "limits", "memory"), self._t("form.memory.limit"), resources.memory.limit
                )
            )
        fields += [self._device(device) for device in resources.extended]
        title, intro = self._t("form.section.resources"), self._t("form.section.resources.intro")
        notices = describe_quota(self.quota, self.messages)
        return Section("resources", title, intro, fields=tuple(fields), notices=notices) if fields else None

    def _persistence(self) -> Section | None:
        disk = self.service.persistence
        if not disk.shown:
            return None
        fields = (
            self._check(
                "persistence.enabled",
                self._t("form.persistence.enabled"),
                self._t("form.persistence.enabled.help"),
                disk.enabled,
            ),
            self._memory(("persistence", "size"), self._t("form.persistence.size"), disk.size),
        )
        return Section("persistence", self._t("form.section.persistence"), fields=fields)

    def _git(self) -> Section | None:
        git = self.service.git
        if not git.shown:
            return None
        repository = self._field(
            "git.repository",
            "text",
            self._t("form.git.repository"),
            self._t("form.git.repository.help"),
            git.repository,
            wide=True,
        )
        branch = self._field(
            "git.branch", "text", self._t("form.git.branch"), self._t("form.git.branch.help"), git.branch
        )
        branches = {one: None for known in self.known.values() for one in known}
        fields = (
            replace(repository, known=tuple(self.known)),
            replace(branch, known=tuple(branches)),
            self._check(
                "git.enabled", self._t("form.git.enabled"), self._t("form.git.enabled.help"), git.enabled
            ),
        )
        notices, warnings = [], []
        if self.git_hosts is None:
            warnings.append(self._t("form.git.unknown"))
        elif self.git_hosts:
            notices.append(self._t("form.git.hosts", hosts=", ".join(sorted(self.git_hosts))))
        else:
            notices.append(self._t("form.git.no_hosts"))
        return Section(
            "git",
            self._t("form.section.git"),
            fields=fields,
            notices=tuple(notices),
            warnings=tuple(warnings),
        )

    def _secrets(self) -> Section | None:
        section, token = self.service.secrets, self.service.vault_token
        if not section.shown and not token.allowed:
            return None
        fields: list[Field] = []
        notices, warnings = [], []
        if section.shown:
            fields.append(
                self._check(
                    "vault.enabled",
                    self._t("form.secrets.enabled"),
                    self._t("form.secrets.enabled.help"),
                    section.enabled,
                )
            )
            listed = self._secret_list(section.default)
            if listed.choices:
                fields.append(listed)
            elif self.secrets is not None:
                notices.append(self._t("form.secrets.none"))
            if self.secrets is None:
                warnings.append(self._t("form.secrets.unknown"))
        if token.allowed:
            fields.append(
                self._check(
                    "vault.token",
                    self._t("form.vault_token"),
                    self._t("form.vault_token.help"),
                    token.default,
                )
            )
        return Section(
            "vault",
            self._t("form.section.secrets"),
            self._t("form.section.secrets.intro") if section.shown else "",
            fields=tuple(fields),
            notices=tuple(notices),
            warnings=tuple(warnings),
        )

    def _secret_list(self, default: Sequence[str]) -> Field:
        known = None if self.secrets is None else set(self.secrets)
        usable = tuple(path for path in default if known is None or path in known)
        chosen = tuple(path for path in self.values.get("vault.secret", usable) if path)
        # A chosen secret that is not there (any more) stays on the list, so that it can be unticked.
        listed = sorted({*(known or ()), *chosen}, key=lambda path: (path.casefold(), path))
        absent = self._t("form.secrets.absent")
        made = self._field(
            "vault.secret",
            "checks",
            self._t("form.secrets.list"),
            "",
            "",
            choices=tuple(
                Choice(path, path, "" if known is None or path in known else absent) for path in listed
            ),
        )
        return replace(made, values=chosen, default=usable, changed=set(chosen) != set(usable))

    def _s3(self) -> Section | None:
        section = self.service.s3
        if not section.shown:
            return None
        access = self._field(
            "s3.access",
            "radio",
            self._t("form.s3.access"),
            self._t("form.s3.access.help"),
            section.default,
            choices=tuple(Choice(one, self._t(_S3_LABELS[one])) for one in section.allowed),
        )
        return Section("s3", self._t("form.section.s3"), fields=(access,))

    def _init(self) -> Section | None:
        section = self.service.init
        if not section.shown:
            return None
        fields = (
            self._field(
                "init.personalInit",
                "text",
                self._t("form.init.script"),
                self._t("form.init.script.help"),
                section.personal_init,
                wide=True,
            ),
            self._field(
                "init.personalInitArgs",
                "text",
                self._t("form.init.args"),
                self._t("form.init.args.help"),
                section.personal_init_args,
                wide=True,
            ),
        )
        return Section(
            "init", self._t("form.section.init"), self._t("form.section.init.intro"), fields=fields
        )

    def _environment(self) -> Section | None:
        if not self.service.environment.shown:
            return None
        rows = tuple(self._row(index, *row) for index, row in enumerate(self._variables()))
        return Section(
            "extraEnvVars",
            self._t("form.section.environment"),
            self._t("form.section.environment.intro"),
            fields=rows,
        )

    def _variables(self) -> list[tuple[str, str, bool]]:
        """Return name, value and whether it is secret of each variable, then empty rows. Secret values are left out.

        Rows move up where one was taken out, as in ``unflatten``: problems count what is left.
        """
        found: dict[int, dict[str, str]] = {}
        for path, texts in self.values.items():
            match = _ROW_PATH.fullmatch(path)
            if match and texts:
                found.setdefault(int(match[1]), {})[match[2]] = texts[-1]
        rows = []
        for at in sorted(found):
            row = found[at]
            secret = row.get("secret", "").lower() in ("true", "on")
            rows.append((row.get("name", ""), "" if secret else row.get("value", ""), secret))
        while rows and rows[-1][:2] == ("", ""):
            rows.pop()
        return (rows + [("", "", False)] * EMPTY_ROWS)[:MAX_ITEMS]

    def _row(self, index: int, name: str, value: str, secret: bool) -> Field:
        number = str(index + 1)

        def part(last: str, kind: Kind, text: str, help_text: str = "", longest: int = 255) -> Field:
            label = self._t(f"form.environment.{last}", number=number)
            made = self._field(join_path("extraEnvVars", index, last), kind, label, help_text, "")
            return replace(made, values=(text,), changed=bool(text) and text != "false", longest=longest)

        kept = secret and name in self.kept
        again = "form.environment.link" if self.from_link else "form.environment.again"
        told = "form.environment.kept" if kept else again if secret and name else ""
        parts = (
            part("name", "text", name),
            replace(part("value", "text", value, self._t(told) if told else "", 32_768), kept=kept),
            part("secret", "check", "true" if secret else "false"),
        )
        path = join_path("extraEnvVars", index)
        row = self._field(path, "row", self._t("form.environment.row", number=number), "", "")
        return replace(row, parts=parts, changed=False)

    def _section_errors(self, section: Section, placed: Collection[str]) -> tuple[str, ...]:
        return tuple(
            self.sentence(problem)
            for problem in self.problems
            if problem.path not in placed and section_key(problem.path) == section.key
        )


def section_key(path: str) -> str:
    """Return the section that an option belongs to by its path; it may be one that the form does not show."""
    first = re.split(r"[.\[]", path, maxsplit=1)[0]
    return "service" if first == "profileOptions" else first

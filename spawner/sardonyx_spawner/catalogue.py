"""The catalogue: the services on offer, read from YAML.

:func:`load_catalogue` reports everything that is wrong at once, each with file, line, key and what is
allowed.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from .catalogue_errors import explain, repeated_services
from .errors import CatalogueError, CatalogueProblem
from .fields import Strict, Text, refuse
from .paths import join_path
from .service import (
    Choice,
    Link,
    Local,
    ProfileOption,
    Resources,
    Service,
    UnlistedChoice,
    Version,
)
from .yaml_source import read_yaml

__all__ = [
    "DEFAULT_CATALOGUE",
    "Catalogue",
    "Choice",
    "Link",
    "Local",
    "ProfileOption",
    "Resources",
    "Service",
    "Text",
    "UnlistedChoice",
    "Version",
    "json_schema",
    "load_catalogue",
]

#: The catalogue that is used where none is configured.
DEFAULT_CATALOGUE = Path(__file__).with_name("default_catalogue.yaml")


class Catalogue(Strict):
    """All services of a datalab."""

    version: Literal[1] = 1
    services: tuple[Service, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refuse("services", *repeated_services([dict(service) for service in self.services]))
        return self

    def get(self, service_id: str) -> Service | None:
        """Return the service of that id, or ``None``."""
        return next((service for service in self.services if service.id == service_id), None)

    @property
    def default(self) -> Service:
        """The service that is launched when none is named: the marked one, else the first."""
        return next((service for service in self.services if service.default), self.services[0])

    def visible_to(self, groups: Collection[str]) -> list[Service]:
        """Return the services that a person in `groups` sees, by ``order``, then as in the file."""
        return sorted(
            (service for service in self.services if service.visible_to(groups)), key=lambda s: s.order
        )

    def default_for(self, groups: Collection[str]) -> Service | None:
        """Return the default among what a person in `groups` sees; ``None`` if they see nothing."""
        visible = self.visible_to(groups)
        return next((service for service in visible if service.default), visible[0] if visible else None)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a catalogue, for editors that check YAML."""
    return Catalogue.model_json_schema(by_alias=True)


def load_catalogue(source: str | Path, *, name: str | None = None) -> Catalogue:
    """Return the catalogue in a file or in a text.

    Parameters
    ----------
    source
        Path of a YAML file; or YAML itself, told by a line break in it.
    name
        What messages call it; default: the path, or ``catalogue`` for a text.

    Raises
    ------
    CatalogueError
        With all problems that were found, also when the file cannot be read.

    Examples
    --------
    >>> load_catalogue("services:\\n- {id: a, name: A}").default.id
    'a'
    """
    if isinstance(source, str) and "\n" in source:
        name, text = name or "catalogue", source
    else:
        name = name or str(source)
        try:
            text = Path(source).read_text(encoding="utf-8-sig")
        except OSError as error:
            raise CatalogueError(
                [CatalogueProblem(name, 0, "", f"cannot be read: {error.strerror or error}")]
            ) from None
        except UnicodeDecodeError:
            raise CatalogueError([CatalogueProblem(name, 0, "", "is no text in UTF-8")]) from None
    read = read_yaml(text)
    problems = [
        CatalogueProblem(name, line, join_path(*path), reason) for path, line, reason in read.problems
    ]
    catalogue: Catalogue | None = None
    if read.data is None and not problems:
        problems.append(
            CatalogueProblem(name, 1, "", "is empty; it should have `version: 1` and `services:`")
        )
    elif read.data is not None:
        try:
            catalogue = Catalogue.model_validate(read.data)
        except ValidationError as error:
            # What could not be read as YAML has been told already.
            told = {path for path, _, _ in read.problems if path}
            for path, message in explain(Catalogue, error, read.data):
                if path in told:
                    continue
                problems.append(CatalogueProblem(name, read.line_of(path), join_path(*path), message))
    if problems or catalogue is None:
        raise CatalogueError(problems)
    return catalogue

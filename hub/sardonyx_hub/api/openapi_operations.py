"""What each operation of the JSON API takes and answers, for :mod:`.openapi`. A test holds it against the table of routes."""

from __future__ import annotations

from typing import Any, Final

from .openapi import Operation, Schema
from .validation import MAX_KEYS, MAX_VALUE


def thing(optional: Schema | None = None, /, **members: Schema) -> Schema:
    """Return the schema of an object that is answered; more members may come with a later version."""
    return {"type": "object", "properties": {**members, **(optional or {})}, "required": list(members)}


def sent(optional: Schema | None = None, /, **members: Schema) -> Schema:
    """Return the schema of an object that is sent: nothing beside its members is allowed."""
    return {**thing(optional, **members), "additionalProperties": False}


def listed(item: Schema) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": item}


def maybe(schema: Schema) -> Schema:
    """Return the schema of something or null."""
    return {"oneOf": [{"type": "null"}, schema]}


def table(value: Schema) -> Schema:
    """Return the schema of an object with any names."""
    return {"type": "object", "additionalProperties": value}


def one_of(*texts: str) -> Schema:
    """Return the schema of some texts."""
    return {"type": "string", "enum": list(texts)}


TEXT: Final[Schema] = {"type": "string"}
#: No control characters: most of what people name.
LINE: Final[Schema] = {"type": "string", "pattern": r"^[^\x00-\x1f\x7f-\x9f]*$"}
FLAG: Final[Schema] = {"type": "boolean"}
WHOLE: Final[Schema] = {"type": "integer", "minimum": 0}
NUMBER: Final[Schema] = {"type": "number", "minimum": 0}
TIME: Final[Schema] = {"type": "string", "description": "A time in ISO 8601."}
VERSION: Final[Schema] = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
ANY: Final[Schema] = {}
SWITCH: Final[Schema] = one_of("0", "1")
COUNT: Final[Schema] = {"type": "integer", "minimum": 0, "maximum": 999_999_999}
IN_LANGUAGES: Final[Schema] = thing(en=TEXT, fr=TEXT)
OPTIONS: Final[Schema] = {"type": "object", "description": "Launch options by their names, nested or dotted."}

# Credentials, catalogue, live events ---------------------------------------------------------------------------

CREDENTIALS = thing(
    version={"const": 1},
    issued_at=TIME,
    expires_at=maybe(TIME),
    s3=maybe(
        thing(
            access_key_id=TEXT, secret_access_key=TEXT, session_token=TEXT, endpoint_url=TEXT, expiration=TIME
        )
    ),
    vault=maybe(
        thing({"token": TEXT}, address=TEXT, mount=TEXT, top_dir=TEXT, relative_path=TEXT, expiration=TIME)
    ),
    git=listed(thing(host=TEXT, username=TEXT, token=TEXT, name=TEXT, email=TEXT)),
    environment=table(TEXT),
    problems=listed(thing(source=one_of("s3", "vault", "git"), code=TEXT, message=TEXT)),
)
SERVICE = thing(
    id=TEXT,
    name=IN_LANGUAGES,
    description=maybe(IN_LANGUAGES),
    category=IN_LANGUAGES,
    icon=TEXT,
    default=FLAG,
    links=listed(thing(name=IN_LANGUAGES, url=TEXT)),
)

# Git accounts, saved configurations ------------------------------------------------------------------------------

GIT_ACCOUNT = thing({"token": TEXT}, host=TEXT, username=TEXT, name=TEXT, email=TEXT, token_set=FLAG)
GIT_WRITE = sent(
    {
        "username": {**LINE, "maxLength": 255},
        "name": {**LINE, "maxLength": 255},
        "email": {**LINE, "maxLength": 320},
        "token": {**LINE, "maxLength": 4096},
    }
)
_SAVED = {"id": TEXT, "name": TEXT, "service": TEXT, "created": TEXT, "changed": TEXT, "version": WHOLE}
SAVED = thing(**_SAVED, options=OPTIONS)
_NAME: Schema = {**LINE, "minLength": 1, "maxLength": 100}
_FIELDS: dict[str, Any] = {"name": _NAME, "service": {"type": "string", "minLength": 1}}
_SEEN = {"version": {"type": "integer", "minimum": 1}}
#: The service does not take the options: which fields, and why.
REFUSED_OPTIONS = thing(
    {"problems": listed(thing(field=TEXT, message=TEXT)), "code": TEXT}, status={"const": 422}, message=TEXT
)

# Secrets -------------------------------------------------------------------------------------------------------

KEY: Schema = {"type": "string", "pattern": r"^[A-Za-z_][A-Za-z0-9_]*$", "maxLength": 128}
VALUES: Schema = {
    "type": "object",
    "additionalProperties": {"type": "string", "maxLength": MAX_VALUE},
    "propertyNames": KEY,
    "minProperties": 1,
    "maxProperties": MAX_KEYS,
}
FOLDER = thing({"truncated": FLAG}, path=TEXT, folders=listed(ANY), secrets=listed(ANY))
SECRET = thing(path=TEXT, values=table(ANY), version=WHOLE)
HISTORY = thing(
    path=TEXT,
    current=WHOLE,
    deleted=FLAG,
    versions=listed(thing(version=WHOLE, created=TEXT, deleted=maybe(TEXT), destroyed=FLAG)),
)
WRITTEN = thing(path=TEXT, version=WHOLE)
CHANGE = sent(
    {
        "set": {**VALUES, "minProperties": 0},
        "remove": {**listed(TEXT), "maxItems": MAX_KEYS},
        "rename": {"type": "object", "additionalProperties": KEY, "maxProperties": MAX_KEYS},
    },
    cas=VERSION,
)
ACTION: Schema = {
    "oneOf": [
        sent(action=one_of("undelete", "restore"), version={**VERSION, "minimum": 1}),
        sent(action={"const": "move"}, to={"type": "string", "minLength": 1}),
    ]
}

# Sessions ------------------------------------------------------------------------------------------------------

STATE = one_of("starting", "running", "stopping", "stopped", "failed")
SESSION = thing(
    user=TEXT,
    name=TEXT,
    display_name=TEXT,
    service=ANY,
    state=STATE,
    url=maybe(TEXT),
    started=maybe(TIME),
    last_activity=maybe(TIME),
    warnings=listed(ANY),
    links=ANY,
)
USER: dict[str, Schema] = {
    "user": {"type": "string", "description": "Somebody else, whose sessions one may see."}
}
MESSAGE = thing(id=TEXT, text=TEXT, by=TEXT, at=TIME, session=maybe(TEXT))

# Administration --------------------------------------------------------------------------------------------------

PARTS: dict[str, Schema] = {
    "search": TEXT,
    "group": TEXT,
    "sort": TEXT,
    "offset": {"type": "integer", "minimum": 0, "maximum": 100_000},
    "limit": {"type": "integer", "minimum": 1, "maximum": 100},
}
LIMITS = sent(
    {
        "cpu": {"type": ["string", "number", "null"]},
        "memory": {"type": ["string", "integer", "null"]},
        "gpu": {"type": ["integer", "string", "null"]},
        "sessions": {"type": ["integer", "string", "null"]},
    }
)
LEFT = table(thing(limit=maybe(NUMBER), used=NUMBER, left=maybe({"type": "number"})))
PERSON = thing(name=TEXT)
GROUP = thing(name=TEXT)
ADMIN_SESSION = thing(
    person=TEXT, name=TEXT, title=TEXT, service=thing(id=TEXT, name=TEXT), state=STATE, may=table(FLAG)
)
ANNOUNCEMENT = thing(announcement=maybe(thing(text=ANY, level=TEXT, dismissable=FLAG, until=maybe(TIME))))
ANNOUNCE = sent(
    {"level": one_of("info", "warning", "danger"), "dismissable": FLAG, "until": maybe(TIME)},
    text={"anyOf": [TEXT, sent({"fr": TEXT}, en=TEXT)]},
)
CATALOGUE_STATUS = thing(
    file=TEXT,
    loaded_at=maybe(TIME),
    services=listed(thing(id=TEXT, name=TEXT)),
    problems=listed(thing(file=TEXT, line=WHOLE, key=TEXT, message=TEXT)),
)
CHECKS = thing(
    checks=listed(thing(part=TEXT, verdict=TEXT, finding=TEXT, text=TEXT, milliseconds=maybe(NUMBER)))
)

_EMPTY = Operation({204: None})
_REVEAL: dict[str, Schema] = {"reveal": SWITCH}
_DETAILS: dict[str, Schema] = {"details": SWITCH}

#: (name of the handler's class, method) -> what is sent and answered.
OPERATIONS: Final[dict[tuple[str, str], Operation]] = {
    ("OpenApiHandler", "GET"): Operation({200: thing(openapi=TEXT, info=ANY, paths=table(ANY))}),
    ("CredentialsHandler", "GET"): Operation(
        {200: CREDENTIALS}, query={"session": TEXT, "refresh": SWITCH, "user": TEXT}, errors=(404,)
    ),
    ("CatalogueHandler", "GET"): Operation({200: thing(version={"const": 1}, services=listed(SERVICE))}),
    ("LiveHandler", "GET"): Operation({200: TEXT}, query={"all": SWITCH}, content="text/event-stream"),
    ("LaunchOptionsHandler", "POST"): Operation(
        {
            200: thing(
                service=TEXT, name=TEXT, values=table(ANY), problems=listed(thing(field=TEXT, message=TEXT))
            )
        },
        sent(service=TEXT, yaml=TEXT),
        errors=(404,),
    ),
    ("GitAccountsHandler", "GET"): Operation({200: thing(accounts=listed(GIT_ACCOUNT))}, errors=(404,)),
    ("GitAccountHandler", "GET"): Operation({200: GIT_ACCOUNT}, query=_REVEAL),
    ("GitAccountHandler", "PUT"): Operation({200: GIT_ACCOUNT}, GIT_WRITE),
    ("GitAccountHandler", "DELETE"): _EMPTY,
    ("SavedConfigurationsHandler", "GET"): Operation(
        {200: thing(configurations=listed(thing(**_SAVED)), unreadable=listed(TEXT))}, errors=(404,)
    ),
    ("SavedConfigurationsHandler", "POST"): Operation(
        {201: SAVED, 422: REFUSED_OPTIONS}, sent({"options": OPTIONS}, **_FIELDS), errors=(404, 409)
    ),
    ("SavedConfigurationHandler", "GET"): Operation({200: SAVED}, query=_REVEAL),
    ("SavedConfigurationHandler", "PUT"): Operation(
        {200: SAVED, 422: REFUSED_OPTIONS}, sent({"options": OPTIONS, **_SEEN}, **_FIELDS), errors=(409,)
    ),
    ("SavedConfigurationHandler", "PATCH"): Operation({200: SAVED}, sent(_SEEN, name=_NAME), errors=(409,)),
    ("SavedConfigurationHandler", "DELETE"): _EMPTY,
    ("LaunchLinkHandler", "GET"): Operation({200: thing(url=TEXT, left_out=listed(TEXT), too_long=FLAG)}),
    ("SecretsHandler", "GET"): Operation({200: FOLDER}, query=_DETAILS, errors=(404,)),
    ("SecretHandler", "GET"): Operation(
        {200: {"anyOf": [SECRET, FOLDER, HISTORY]}},
        query={"version": COUNT, "key": TEXT, "history": SWITCH, **_DETAILS},
    ),
    ("SecretHandler", "PUT"): Operation(
        {200: WRITTEN}, sent({"cas": maybe(VERSION)}, values=VALUES), errors=(409,)
    ),
    ("SecretHandler", "PATCH"): Operation({200: WRITTEN}, CHANGE, errors=(409,)),
    ("SecretHandler", "POST"): Operation(
        {200: {"anyOf": [WRITTEN, thing(path=TEXT, moved=WHOLE)]}}, ACTION, errors=(409,)
    ),
    ("SecretHandler", "DELETE"): Operation(
        {204: None, 200: thing(path=TEXT, deleted=WHOLE)},
        query={"version": COUNT, "forever": SWITCH, "expected": COUNT},
        errors=(409,),
    ),
    ("SessionsHandler", "GET"): Operation(
        {200: thing(version={"const": 1}, sessions=listed(SESSION))}, query=USER, errors=(404,)
    ),
    ("SessionHandler", "GET"): Operation({200: SESSION}, query=USER),
    ("SessionHandler", "PATCH"): Operation(
        {200: SESSION}, sent(display_name={**LINE, "maxLength": 255}), query=USER, errors=(409,)
    ),
    ("SessionHandler", "DELETE"): Operation({204: None}, query=USER, errors=(409,)),
    ("SessionActionHandler", "POST"): Operation(
        {200: SESSION, 202: SESSION},
        sent({"hours": {"type": "integer", "minimum": 0}}),
        query=USER,
        errors=(409, 422, 507),
        needs_body=False,
    ),
    ("SessionLogsHandler", "GET"): Operation(
        {200: thing(text=TEXT, start=WHOLE, end=WHOLE, more=FLAG)},
        query={"after": COUNT, **USER},
        errors=(501,),
    ),
    ("SessionEventsHandler", "GET"): Operation(
        {200: thing(events=listed(thing(at=ANY, step=TEXT, state=TEXT, text=TEXT)))}, query=USER
    ),
    ("SessionUsageHandler", "GET"): Operation(
        {200: thing(cpu=maybe(NUMBER), memory=maybe(NUMBER), processes=maybe(NUMBER))}, query=USER
    ),
    ("MessagesHandler", "GET"): Operation({200: thing(messages=listed(MESSAGE))}),
    ("MessageHandler", "DELETE"): _EMPTY,
    ("VaultTokensHandler", "POST"): Operation(
        {201: thing(id=TEXT, token=TEXT, expiration=TIME)}, errors=(404,)
    ),
    ("VaultTokenHandler", "DELETE"): _EMPTY,
    ("AdminSessionsHandler", "GET"): Operation(
        {200: thing(sessions=listed(ADMIN_SESSION), total=WHOLE, offset=WHOLE)},
        query={**PARTS, "state": TEXT, "service": TEXT, "person": TEXT},
    ),
    ("AdminSessionStopHandler", "POST"): Operation(
        {200: thing(stopped=FLAG), 202: thing(stopped=FLAG)},
        sent({"message": {**TEXT, "maxLength": 1000}}),
        errors=(409,),
        needs_body=False,
    ),
    ("AdminPeopleHandler", "GET"): Operation(
        {200: thing(people=listed(PERSON), total=WHOLE, offset=WHOLE)}, query=PARTS
    ),
    ("AdminPersonHandler", "GET"): Operation(
        {200: thing(name=TEXT, left=LEFT, messages=listed(MESSAGE))},
    ),
    ("AdminPersonQuotaHandler", "PUT"): Operation(
        {200: thing(limits=table(ANY), left=LEFT)}, sent({"limits": LIMITS})
    ),
    ("AdminPersonQuotaHandler", "DELETE"): _EMPTY,
    ("AdminMessagesHandler", "POST"): Operation(
        {201: MESSAGE},
        sent({"session": {**TEXT, "maxLength": 255}}, text={**TEXT, "minLength": 1, "maxLength": 1000}),
    ),
    ("AdminGroupsHandler", "GET"): Operation({200: thing(groups=listed(GROUP))}),
    ("AdminGroupQuotaHandler", "PUT"): Operation(
        {200: thing(limits=table(ANY), total=table(ANY))}, sent({"limits": LIMITS, "total": LIMITS})
    ),
    ("AdminGroupQuotaHandler", "DELETE"): _EMPTY,
    ("AdminAnnouncementHandler", "GET"): Operation({200: ANNOUNCEMENT}),
    ("AdminAnnouncementHandler", "PUT"): Operation({200: ANNOUNCEMENT}, ANNOUNCE),
    ("AdminAnnouncementHandler", "DELETE"): _EMPTY,
    ("AdminAnnouncementHandler", "POST"): Operation(
        {200: thing(html=IN_LANGUAGES)},
        thing(text={**thing({"en": TEXT, "fr": TEXT}), "additionalProperties": False}),
    ),
    ("AdminCatalogueHandler", "GET"): Operation({200: CATALOGUE_STATUS}),
    ("AdminCatalogueHandler", "POST"): Operation({200: CATALOGUE_STATUS}),
    ("AdminHealthHandler", "GET"): Operation({200: CHECKS}),
}

"""Environment variables of the launch options: which may be set, and values that are marked secret."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sardonyx_hub.credentials.errors import SourceError
from sardonyx_hub.credentials.model import Grant, Subject
from sardonyx_hub.credentials.session_values import keep_values, move_values, path_of_session, values_path
from sardonyx_spawner.envnames import why_refused
from sardonyx_spawner.errors import LaunchOptionsError, OptionProblem
from sardonyx_spawner.form_words import describe_image_pattern, describe_quota, memory, quota_left
from sardonyx_spawner.messages import LANGUAGES, Messages
from sardonyx_spawner.option_secrets import secret_names, split_secret_values
from sardonyx_spawner.options import LaunchOptions, validate_options
from sardonyx_spawner.service import Service

SERVICE = Service(id="lab", name="Lab")


def problems_of(raw: dict[str, Any]) -> list[OptionProblem]:
    with pytest.raises(LaunchOptionsError) as caught:
        validate_options(SERVICE, raw)
    return caught.value.problems


REFUSED_NAMES = [
    "PATH", "LD_PRELOAD", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONSTARTUP", "JUPYTERHUB_API_TOKEN",
    "JUPYTER_PATH", "SARDONYX_RUN", "BASH_ENV", "ENV", "IFS", "HOME", "SHELL", "GIT_CONFIG_COUNT",
    "GIT_CONFIG_GLOBAL", "GIT_SSH_COMMAND", "GIT_ASKPASS", "AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN",
    "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_STS", "AWS_CA_BUNDLE", "SSL_CERT_FILE", "VAULT_ADDR",
    "VAULT_TOKEN", "MC_HOST_s3", "PROMPT_COMMAND", "__sardonyx_prompt", "NODE_OPTIONS", "R_PROFILE_USER", "_JAVA_OPTIONS",
    "BASH_FUNC_ls", "LESSOPEN", "LESSCLOSE", "http_proxy", "HTTPS_PROXY", "no_proxy", "1A", "A-B", "A=B", "É", "",
    "A\n", "A\tB", "A B", "A\x00",
    "x" * 300,
]  # fmt: skip


@pytest.mark.parametrize("name", REFUSED_NAMES)
def test_variables_that_a_session_depends_on_are_refused_with_the_reason(name: str) -> None:
    key = why_refused(name)
    assert key is not None
    problems = problems_of({"extraEnvVars": [{"name": "FINE", "value": "1"}, {"name": name, "value": "x"}]})
    assert [(problem.path, problem.key) for problem in problems] == [("extraEnvVars[1].name", key)]


@pytest.mark.parametrize(
    "name",
    [
        *("PATATE_TOKEN", "pathological", "Path", "MYPATH", "LDFLAGS", "_private", "AWS_REGION", "MY_PROXY"),
        *("PAGER", "GIT_PAGER", "EDITOR", "GIT_EDITOR", "BROWSER", "PIP_INDEX_URL", "R_LIBS", "R_LIBS_USER"),
    ],
)
def test_other_variables_are_welcome(name: str) -> None:
    assert why_refused(name) is None


@pytest.mark.parametrize(
    ("rows", "path", "key"),
    [
        (
            [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}],
            "extraEnvVars[1].name",
            "option.variable_twice",
        ),
        ([{"name": "A", "value": "x\x00"}], "extraEnvVars[0].value", "option.control_characters"),
        ([{"name": "A", "value": "x" * 40_000}], "extraEnvVars[0].value", "option.too_long"),
        ([{"name": "A", "value": 1}], "extraEnvVars[0].value", "option.not_text"),
        ([{"name": ["A"], "value": "1"}], "extraEnvVars[0].name", "option.not_text"),
        ([{"name": "A", "valueFrom": {}}], "extraEnvVars[0]", "option.not_a_variable"),
        (
            [{"name": f"A{n}", "value": "x" * 30_000} for n in range(3)],
            "extraEnvVars",
            "option.variables_too_long",
        ),
        ([{"name": f"A{n}", "value": ""} for n in range(101)], "extraEnvVars", "option.too_many"),
    ],
)
def test_wrong_variables(rows: list[dict[str, Any]], path: str, key: str) -> None:
    problems = problems_of({"extraEnvVars": rows})
    assert [(problem.path, problem.key) for problem in problems] == [(path, key)]
    assert not any("xxx" in str(problem.params) for problem in problems), "no value in a message"


def options(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"service": "lab", "options": {"extraEnvVars": list(rows), "git": {"branch": "dev"}}}


SECRET = {"name": "A", "value": "hunter2", "secret": True}


class TestSplit:
    """A value that is marked secret is taken out before options are kept."""

    @pytest.mark.parametrize("mark", [True, "true", "on", "TRUE"])
    def test_value_is_taken_out(self, mark: Any) -> None:
        given = options({**SECRET, "secret": mark}, {"name": "B", "value": "2"})
        split = split_secret_values(given)
        assert split.user_options == options({"name": "A", "secret": True}, {"name": "B", "value": "2"})
        assert (split.values, split.places) == ({"A": "hunter2"}, {"A": "extraEnvVars[0].value"})
        assert given["options"]["extraEnvVars"][0]["value"] == "hunter2", "what was given is not changed"
        assert "hunter2" not in repr(split)
        assert secret_names(split.user_options) == {"A"}

    def test_dotted_paths_are_the_same(self) -> None:
        dotted = {
            "extraEnvVars[3].name": "A",
            "extraEnvVars[3].value": "hunter2",
            "extraEnvVars[3].secret": "true",
        }
        split = split_secret_values({"options": dotted})
        assert split.user_options == {"options": {"extraEnvVars": [{"name": "A", "secret": True}]}}
        assert split.values == {"A": "hunter2"}

    @pytest.mark.parametrize("mark", [False, "false", ""])
    def test_what_is_not_marked_stays(self, mark: Any) -> None:
        split = split_secret_values(options({"name": "A", "value": "1", "secret": mark}))
        assert split.user_options == options({"name": "A", "value": "1"})
        assert split.values == {}

    def test_kept_value_needs_no_other(self) -> None:
        split = split_secret_values(options({"name": "A", "secret": True}), kept={"A"})
        assert split.values == {"A": None}

    @pytest.mark.parametrize(
        ("row", "path", "key"),
        [
            ({"name": "A", "secret": True}, "value", "option.secret_missing"),
            ({"name": "", "value": "x", "secret": True}, "name", "envname.invalid"),
            ({**SECRET, "secret": "maybe"}, "secret", "option.not_a_flag"),
            ({**SECRET, "value": 5}, "value", "option.not_text"),
            ({**SECRET, "value": "a\x00"}, "value", "option.control_characters"),
        ],
    )
    def test_what_is_wrong_is_told_and_not_quoted(self, row: dict[str, Any], path: str, key: str) -> None:
        with pytest.raises(LaunchOptionsError) as caught:
            split_secret_values(options(row))
        (problem,) = caught.value.problems
        assert (problem.path, problem.key) == (f"extraEnvVars[0].{path}", key)
        assert "hunter2" not in json.dumps([str(problem), dict(problem.params)])

    @pytest.mark.parametrize(
        "given",
        [
            {},
            {"profile": "x", "a": "b"},
            {"service": "x"},
            {"options": []},
            {"options": {"extraEnvVars": "x"}},
        ],
    )
    def test_other_options_are_left_alone(self, given: dict[str, Any]) -> None:
        assert split_secret_values(given).user_options == given


class TestKept:
    """What is left in the options, the grant and the store."""

    def test_options_without_the_value_are_valid_and_stay_so(self) -> None:
        valid = validate_options(SERVICE, {"extraEnvVars": [{"name": "A", "secret": True}]}).options
        assert valid.to_dict()["extraEnvVars"] == [{"name": "A", "secret": True}]
        assert LaunchOptions.model_validate(valid.to_dict()) == valid
        assert Grant.from_dict({"session": "s", **SERVICE.to_grant_data(valid)}).variables == ("A",)

    def test_one_name_twice_is_told(self) -> None:
        rows = [{"name": "A", "secret": True}, {"name": "A", "value": "1"}]
        assert [one.key for one in problems_of({"extraEnvVars": rows})] == ["option.variable_twice"]

    @pytest.mark.parametrize("name", ["", "default", "mine", "a/b", "..", "_default", "été", "a_2e_b", "a.b"])
    def test_every_session_has_a_folder_of_its_own(self, name: str) -> None:
        path = values_path(name)
        folder = path.removeprefix(".datalab/sessions/").removesuffix("/env")
        assert folder.replace("_", "").replace("-", "").isascii()
        assert "/" not in folder
        assert "." not in folder
        others = {
            values_path(other)
            for other in ("", "default", "mine", "a/b", "..", "_default", "a_2e_b", "a.b")
            if other != name
        }
        assert path not in others
        session = {"": "default", "default": "default-"}.get(name, name)
        assert path_of_session(f"alice/{session}/0123") == path

    @pytest.mark.parametrize("session", ["", "personal/alice", "x"])
    def test_what_is_no_session_has_none(self, session: str) -> None:
        assert path_of_session(session) == ""

    def test_store_has_what_was_given_last_and_nothing_else(self) -> None:
        store: Any = Store()
        alice = Subject("alice")
        keep_values(store, alice, "mine", {"A": "1", "B": "2"})
        keep_values(store, alice, "mine", {"A": None, "C": "3"})
        assert store.kept == {values_path("mine"): {"A": "1", "C": "3"}}
        writes = store.writes
        keep_values(store, alice, "mine", {"A": None, "C": None})
        assert store.writes == writes, "nothing new is no new version"
        move_values(store, alice, "mine", "yours")
        assert store.kept == {values_path("yours"): {"A": "1", "C": "3"}}
        keep_values(store, alice, "yours", {})
        assert store.kept == {}
        keep_values(store, alice, "mine", {"A": None})
        assert store.kept == {}, "what is not there cannot be kept"


class Store:
    """A secret store of one person, in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}
        self.writes = 0

    def read_internal(self, _subject: Subject, path: str) -> Any:
        if path not in self.kept:
            raise SourceError("vault", "missing", "There is no such secret.")
        return type("Secret", (), {"data": self.kept[path]})

    def write_internal(self, _subject: Subject, path: str, data: Any) -> None:
        self.kept[path] = dict(data)
        self.writes += 1

    def delete_internal(self, _subject: Subject, path: str) -> None:
        self.kept.pop(path, None)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (".*", "every image"),
        (r"example\.org/.*", "all whose name begins with example.org/"),
        (r"^registry\.example\.org/team/.+$", "all whose name begins with registry.example.org/team/"),
        (r"quay\.io/jupyter/base-notebook:2026", "quay.io/jupyter/base-notebook:2026"),
        (r"(a|b)/.*", "those that match (a|b)/.*"),
        (r"a[0-9]", "those that match a[0-9]"),
    ],
)
def test_patterns_of_images_in_words(pattern: str, words: str) -> None:
    assert describe_image_pattern(pattern, Messages("en")) == words


def test_quota_in_words() -> None:
    quota = {
        "cpu": {"limit": 4, "used": 1.5, "left": 2.5},
        "memory": {"limit": 8 * 2**30, "used": 0, "left": 1.5 * 2**30},
        "gpu": {"limit": None, "used": 0, "left": None},
        "sessions": {"limit": 2, "used": 3, "left": -1},
    }
    assert describe_quota(quota, Messages("en")) == (
        "Your quota leaves 2.5 of 4 cores.",
        "Your quota leaves 1.5Gi of 8Gi of memory.",
        "Your quota leaves 0 of 2 sessions.",
    )
    assert (quota_left(quota, "memory"), quota_left(quota, "gpu"), quota_left(None, "cpu")) == (
        "1.5Gi",
        "",
        "",
    )
    assert describe_quota(None, Messages("fr")) == ()
    assert [memory(size) for size in (0, 1023, 1536, 2**40)] == ["0", "1023", "1.5Ki", "1Ti"]
    assert len({Messages(language).translate("form.image.all") for language in LANGUAGES}) == len(LANGUAGES)

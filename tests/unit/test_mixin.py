"""What every spawner of a datalab does, seen through a spawner that starts nothing."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jupyterhub.spawner import Spawner

from sardonyx_spawner.bundle import SessionBundle
from sardonyx_spawner.launch_errors import LaunchError, LinkNotLaunchedError
from sardonyx_spawner.launch_progress import LaunchProgress
from sardonyx_spawner.mixin import DatalabSpawnerMixin
from sardonyx_spawner.options import LaunchOptions

CATALOGUE = """
services:
  - id: lab
    name: {en: Lab, fr: Labo}
    default: true
    resources:
      cpu: {limit: {default: 1, max: 2}}
      memory: {limit: {default: 1Gi, max: 2Gi}}
    local: {}
  - id: staff
    name: Staff
    groups: [staff]
    local: {}
  - id: cluster
    name: Cluster only
"""


class FakeSpawner(DatalabSpawnerMixin, Spawner):  # type: ignore[misc]
    """A spawner that starts nothing."""

    sessions_are_local = True

    async def start(self) -> str:
        return "http://127.0.0.1:1"

    async def stop(self, now: bool = False) -> None: ...

    async def poll(self) -> int | None:
        return 0


class FakeUser:
    """A person; weakly referenced by the mixin, as JupyterHub's are."""

    def __init__(self, name: str, groups: tuple[str, ...]) -> None:
        self.name = self.escaped_name = name
        self.groups = [SimpleNamespace(name=group) for group in groups]
        self.url = f"/user/{name}"
        self.orm_spawners: dict[str, Any] = {}


def make_spawner(
    options: dict[str, Any] | None = None, *, groups: tuple[str, ...] = (), **traits: Any
) -> Any:
    traits.setdefault("catalogue", CATALOGUE)
    user = traits.pop("user", None) or FakeUser("alice", groups)
    stored = SimpleNamespace(name="", user_options=options, state=None, server=None)
    return FakeSpawner(user=user, orm_spawner=stored, user_options=options or {}, **traits)


def make_handler(language: str = "en", **query: str) -> Any:
    return SimpleNamespace(
        request=SimpleNamespace(
            headers={"Accept-Language": language},
            query_arguments={name: [value.encode()] for name, value in query.items()},
        ),
        get_cookie=lambda name: None,
    )


def restarted(spawner: Any, catalogue: str = CATALOGUE) -> Any:
    """Return the spawner of the same stopped session in a hub that was started anew."""
    spawner.clear_state()
    state = json.loads(json.dumps(spawner.get_state()))
    again = make_spawner(spawner.user_options, catalogue=catalogue)
    again.load_state(state)
    again.clear_state()
    return again


# Options --------------------------------------------------------------------------------------------------


async def test_nothing_chosen_is_the_default_service_with_its_defaults() -> None:
    spawner = make_spawner()
    await spawner._run_apply_user_options({})
    assert spawner.service.id == "lab"
    assert spawner.mem_limit == 1 << 30
    assert spawner.cpu_limit == 1.0
    assert spawner.grant["s3"] == "read-write"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"service": "lab", "options": {"resources": {"limits": {"memory": "9Gi"}}}},
            ["resources.limits.memory", "2Gi"],
        ),
        ({"service": "lab", "options": {"s3": {"access": "all"}}}, ["s3.access", "read-only"]),
        ({"service": "lab", "options": {"unheard.of": 1}}, ["unheard.of"]),
        ({"service": "nothing"}, ["nothing", "lab"]),
        ({"service": "staff"}, ["staff", "lab"]),
        ({"service": 3}, ["service"]),
        ({"nonsense": 1}, ["nonsense"]),
        ({"service": "cluster"}, ["Kubernetes"]),
    ],
)
async def test_wrong_options_name_the_field_and_what_is_allowed(
    options: dict[str, Any], words: list[str]
) -> None:
    spawner = make_spawner(options)
    with pytest.raises(LaunchError) as caught:
        await spawner._run_apply_user_options(options)
    assert caught.value.status_code == 400
    assert caught.value.reason
    for word in words:
        assert word in caught.value.jupyterhub_message
    assert spawner.grant is None


async def test_errors_are_in_the_persons_language() -> None:
    spawner = make_spawner({"service": "nothing"})
    spawner.handler = make_handler("fr-FR,fr;q=0.9")
    with pytest.raises(LaunchError, match="Disponibles"):
        await spawner.load_user_options()


async def test_a_group_sees_its_service() -> None:
    spawner = make_spawner({"service": "staff"}, groups=("staff",))
    await spawner.load_user_options()
    assert spawner.service.id == "staff"


async def test_resolved_once_a_launch_whoever_asks_first() -> None:
    spawner = make_spawner()
    await asyncio.gather(*(spawner.load_user_options() for _ in range(5)))
    session = spawner.grant["session"]
    await spawner._run_apply_user_options({})
    assert spawner.grant["session"] == session
    spawner.clear_state()
    await spawner.load_user_options()
    assert spawner.grant["session"] != session
    assert spawner.grant["session"].startswith("alice/default/")


async def test_limits_of_one_launch_do_not_stay_for_the_next() -> None:
    spawner = make_spawner(mem_limit="512M")
    await spawner.load_user_options()
    assert spawner.mem_limit == 1 << 30
    spawner.clear_state()
    spawner.catalogue = "services:\n- {id: bare, name: Bare, local: {}}"
    await spawner.load_user_options()
    assert spawner.mem_limit == 512 << 20


# Fresh and stored options ---------------------------------------------------------------------------------

SMALLER = CATALOGUE.replace("max: 2Gi", "max: 1Gi").replace(
    "memory: {limit: {default: 1Gi", "memory: {limit: {default: 512Mi"
)
BIG = {"service": "lab", "options": {"resources": {"limits": {"memory": "2Gi"}}}}


async def test_a_stopped_session_starts_with_a_warning_when_its_service_changed() -> None:
    spawner = make_spawner(BIG)
    await spawner.load_user_options()
    again = restarted(spawner, SMALLER)
    await again.load_user_options()
    assert again.mem_limit == 512 << 20
    assert any("resources.limits.memory" in event["message"] for event in again.launch_progress.events)


async def test_fresh_options_by_rest_are_strict_also_for_a_session_that_ran() -> None:
    spawner = make_spawner({})
    await spawner.load_user_options()
    again = restarted(spawner, SMALLER)
    again.user_options = BIG
    with pytest.raises(LaunchError, match=r"resources\.limits\.memory"):
        await again.load_user_options()


async def test_options_that_never_ran_stay_strict_at_every_try() -> None:
    spawner = make_spawner(BIG, catalogue=SMALLER)
    for _ in range(2):
        with pytest.raises(LaunchError):
            await spawner.load_user_options()
        spawner = restarted(spawner, SMALLER)


async def test_a_form_is_strict_even_with_the_options_of_the_last_launch() -> None:
    spawner = make_spawner(BIG)
    await spawner.load_user_options()
    again = restarted(spawner, SMALLER)
    form = {"service": ["lab"], "resources.limits.memory": ["2Gi"]}
    with pytest.raises(LaunchError, match=r"resources\.limits\.memory"):
        await again.run_options_from_form(form)


# Form -----------------------------------------------------------------------------------------------------


async def test_what_was_posted_comes_back_with_the_problem_beside_it() -> None:
    named = make_spawner()
    # JupyterHub shows the form again through the spawner of the default server.
    default = make_spawner(user=named.user)
    form = {
        "service": ["lab"],
        "resources.limits.memory": ["9Gi"],
        "git.branch": ["<b>mine"],
        "_xsrf": ["token"],
    }
    with pytest.raises(LaunchError):
        await named.run_options_from_form(form)
    html = await default.get_options_form()
    assert 'value="9Gi"' in html
    assert "&lt;b&gt;mine" in html
    assert "<b>mine" not in html
    assert "2Gi" in html


async def test_another_request_does_not_see_what_was_posted() -> None:
    spawner = make_spawner()

    async def post() -> None:
        with suppress(LaunchError):
            await spawner.run_options_from_form({"service": ["lab"], "git.branch": ["private..name"]})

    await asyncio.create_task(post())
    assert "private..name" not in await spawner.get_options_form()


async def test_a_good_form_becomes_user_options() -> None:
    options = await make_spawner().run_options_from_form(
        {"service": ["lab"], "resources.limits.memory": ["2Gi"]}
    )
    assert options == BIG


async def test_a_link_fills_in_the_form_and_starts_nothing() -> None:
    spawner = make_spawner()
    spawner.handler = make_handler(**{"resources.limits.memory": "2Gi", "next": "/hub/home"})
    with pytest.raises(LinkNotLaunchedError) as caught:
        spawner.options_from_query({"resources.limits.memory": ["2Gi"]})
    assert not caught.value.jupyterhub_message
    assert 'value="2Gi"' in await spawner.get_options_form()


async def test_the_form_of_a_stopped_session_has_its_options() -> None:
    assert 'value="2Gi"' in await make_spawner(BIG).get_options_form()


async def test_a_context_that_fails_or_hangs_does_not_keep_the_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sardonyx_spawner.launch_form._CONTEXT_SECONDS", 0.05)

    async def fail(spawner: Any) -> dict[str, Any]:
        raise ConnectionError

    async def hang(spawner: Any) -> dict[str, Any]:
        await asyncio.sleep(30)
        return {}

    for hook in (fail, hang):
        assert "lab" in await make_spawner(form_context_hook=hook).get_options_form()


async def test_an_operators_own_form_stays_theirs() -> None:
    spawner = make_spawner(options_form="<b>mine</b>", options_from_form=lambda data: {"mine": True})
    assert await spawner.get_options_form() == "<b>mine</b>"
    assert spawner.run_options_from_form({}) == {"mine": True}
    assert spawner.options_from_query({}) == {"mine": True}


# Hooks ----------------------------------------------------------------------------------------------------


async def test_operators_hooks_run_after_ours() -> None:
    order: list[str] = []

    async def bundle(spawner: Any, service: Any, options: LaunchOptions) -> SessionBundle:
        order.append(f"bundle for {service.id}")
        assert options.s3.access == "read-write"
        return SessionBundle(environment={"A": "b"})

    spawner = make_spawner(
        bundle_hook=bundle,
        apply_user_options=lambda spawner, options: order.append("apply") or None,
        pre_spawn_hook=lambda spawner: order.append("pre-spawn"),
        post_stop_hook=lambda spawner: order.append("post-stop"),
        end_hook=lambda spawner: order.append(f"end {spawner.grant['session'].split('/')[0]}"),
    )
    await spawner._run_apply_user_options({})
    await spawner.run_pre_spawn_hook()
    assert spawner.bundle.environment == {"A": "b"}
    await spawner.run_post_stop_hook()
    assert order == ["apply", "bundle for lab", "pre-spawn", "end alice", "post-stop"]
    assert spawner.bundle is None


class SourceDownError(Exception):
    """As the hub's: it has a sentence for the person."""

    message = "The Vault is sealed."


@pytest.mark.parametrize(
    ("error", "shown"),
    [(SourceDownError(), "The Vault is sealed."), (ValueError("secret-value"), "Try again")],
)
async def test_a_bundle_that_cannot_be_made_stops_the_launch_with_the_reason(
    error: Exception, shown: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def bundle(*_: Any) -> SessionBundle:
        raise error

    spawner = make_spawner(bundle_hook=bundle)
    with pytest.raises(LaunchError, match=shown) as caught:
        await spawner.run_pre_spawn_hook()
    assert "secret-value" not in str(caught.value) + caplog.text
    assert caught.value.__cause__ is None


async def test_an_end_that_fails_does_not_keep_the_operators_hook() -> None:
    ran = []

    async def fail(spawner: Any) -> None:
        raise ConnectionError

    spawner = make_spawner(end_hook=fail, post_stop_hook=lambda spawner: ran.append(True))
    await spawner.load_user_options()
    await spawner.run_post_stop_hook()
    assert ran == [True]


async def test_handle_comes_from_the_hook_and_is_kept() -> None:
    async def handle(spawner: Any) -> str:
        return f"h-{spawner.user.name}"

    spawner = make_spawner(handle_hook=handle)
    await spawner.load_user_options()
    assert spawner.grant["session"].startswith("h-alice/")
    again = make_spawner()
    again.load_state(json.loads(json.dumps(spawner.get_state())))
    assert (again.handle, again.grant) == ("h-alice", spawner.grant)
    assert again.get_state()["grant"] == spawner.grant


# Catalogue ------------------------------------------------------------------------------------------------


async def test_a_changed_file_is_read_again_and_a_broken_one_is_not_used(tmp_path: Path) -> None:
    file = tmp_path / "catalogue.yaml"
    file.write_text("services:\n- {id: one, name: One, local: {}}")
    spawner = make_spawner(catalogue=None, catalogue_file=str(file))
    assert (await spawner.get_catalogue()).default.id == "one"
    file.write_text("services:\n- {id: another, name: Another, local: {}}")
    assert (await spawner.get_catalogue()).default.id == "another"
    file.write_text("services: nonsense")
    assert (await spawner.get_catalogue()).default.id == "another"
    file.unlink()
    assert (await spawner.get_catalogue()).default.id == "another"


async def test_no_catalogue_at_all_is_told(tmp_path: Path) -> None:
    spawner = make_spawner(catalogue=None, catalogue_file=str(tmp_path / "none.yaml"))
    with pytest.raises(LaunchError) as caught:
        await spawner.load_user_options()
    assert caught.value.status_code == 500


async def test_without_configuration_there_is_a_catalogue() -> None:
    spawner = make_spawner(catalogue=None)
    assert (await spawner.get_catalogue()).default.id == "jupyter-python"


# Progress -------------------------------------------------------------------------------------------------


async def test_every_viewer_sees_all_steps_in_order() -> None:
    spawner = make_spawner()
    spawner._spawn_pending = True

    async def view() -> list[dict[str, Any]]:
        return [event async for event in spawner.progress()]

    first = asyncio.create_task(view())
    await asyncio.sleep(0)
    spawner.report("s3", "running")
    spawner.report("vault", "warning", "The Vault does not answer.")
    second = asyncio.create_task(view())
    await asyncio.sleep(0)
    spawner.report("init", "failed", "exit status <3>")
    spawner.launch_progress.close()
    seen = await first
    assert seen == await second
    assert [event["progress"] for event in seen] == sorted(event["progress"] for event in seen)
    assert "The Vault does not answer." in seen[1]["message"]
    assert seen[2]["message"].endswith("exit status <3>")
    assert all("html_message" not in event for event in seen)


def test_a_talkative_script_does_not_fill_the_memory() -> None:
    progress = LaunchProgress()
    for number in range(1000):
        progress.add("init", "running", f"{number} " + "x" * 5000)
    assert len(progress.events) == 200
    assert max(len(event["message"]) for event in progress.events) <= 502

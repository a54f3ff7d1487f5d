"""The credential broker: parallel, bounded, remembered, ended with its session."""

import asyncio
import threading
import time
from typing import Any

import broker_fakes
import pytest
from broker_fakes import ALICE, GRANT, FakeSource, fail

from sardonyx_hub.credentials.errors import SourceError
from sardonyx_hub.credentials.model import (
    Credentials,
    Grant,
    SourceProblem,
    Subject,
)

clock, make_broker = broker_fakes.clock, broker_fakes.make_broker


# What is asked, and how long it is remembered -----------------------------------------------------


async def test_sources_answer_in_parallel(clock, make_broker):
    sources = [FakeSource(name, clock, behave=lambda: time.sleep(0.3)) for name in ("s3", "vault", "git")]
    broker = make_broker(*sources)
    start = time.monotonic()
    credentials = await broker.credentials(ALICE, Grant("s", secrets=("a",)))
    assert time.monotonic() - start < 0.6  # 0.9 s one after the other
    assert None not in (credentials.s3, credentials.vault, credentials.git)
    assert credentials.problems == ()


async def test_what_is_not_granted_is_not_asked(clock, make_broker):
    sources = [FakeSource(name, clock) for name in ("s3", "vault", "git")]
    broker = make_broker(*sources)
    credentials = await broker.credentials(ALICE, Grant("s", s3="none", git_hosts=()))
    assert credentials == Credentials()
    assert [source.calls for source in sources] == [0, 0, 0]


@pytest.mark.parametrize("life", [60, 900, 3600, 12 * 3600])
async def test_a_credential_is_made_again_at_half_of_its_life(clock, make_broker, life):
    source = FakeSource("s3", clock, life=life)
    broker = make_broker(source)
    for share, calls in ((0.0, 1), (0.49, 1), (0.02, 2), (0.49, 2), (0.02, 3)):
        clock.move(life * share)
        await broker.credentials(ALICE, GRANT)
        assert source.calls == calls


async def test_the_cache_key_is_person_source_and_grant(clock, make_broker):
    s3, vault = FakeSource("s3", clock), FakeSource("vault", clock, per_session=True)
    broker = make_broker(s3, vault)
    for subject, grant in [
        (ALICE, Grant("1", secrets=("a",))),
        (ALICE, Grant("2", secrets=("a",))),  # another session: its own Vault token, the same S3 keys
        (ALICE, Grant("1", s3="read-only", secrets=("a",))),  # read-only: never the keys that write
        (Subject("bob"), Grant("3", secrets=("a",))),
    ]:
        await broker.credentials(subject, grant)
    assert (s3.calls, vault.calls) == (3, 3)


async def test_refresh_makes_new_ones(clock, make_broker):
    source = FakeSource("s3", clock)
    broker = make_broker(source)
    first = await broker.credentials(ALICE, GRANT)
    second = await broker.credentials(ALICE, GRANT, refresh=True)
    third = await broker.credentials(ALICE, GRANT)
    assert first.s3 != second.s3 == third.s3


async def test_forget_lets_the_next_request_read_anew(clock, make_broker):
    s3, vault = FakeSource("s3", clock), FakeSource("vault", clock, per_session=True)
    broker = make_broker(s3, vault)
    await broker.credentials(ALICE, GRANT)
    broker.forget("bob", "vault")
    await broker.credentials(ALICE, GRANT)
    assert (s3.calls, vault.calls) == (1, 1)
    broker.forget("alice", "vault")
    await broker.credentials(ALICE, GRANT)
    assert (s3.calls, vault.calls) == (1, 2)


async def test_forget_covers_what_is_being_read_now(clock, make_broker):
    gate = threading.Event()
    source = FakeSource("s3", clock, behave=gate.wait)
    broker = make_broker(source)
    before = asyncio.create_task(broker.credentials(ALICE, GRANT))
    await asyncio.sleep(0.05)
    broker.forget("alice")
    after = asyncio.create_task(broker.credentials(ALICE, GRANT))
    await asyncio.sleep(0.05)
    gate.set()
    assert (await before).s3 != (await after).s3
    assert (await broker.credentials(ALICE, GRANT)).s3 == (await after).s3


# Single flight ------------------------------------------------------------------------------------


async def test_twenty_at_once_make_one_call(clock, make_broker):
    source = FakeSource("s3", clock, behave=lambda: time.sleep(0.1))
    broker = make_broker(source)
    answers = await asyncio.gather(*(broker.credentials(ALICE, GRANT) for _ in range(20)))
    assert source.calls == 1
    assert len({answer.s3 for answer in answers}) == 1


async def test_who_stops_waiting_does_not_stop_the_others(clock, make_broker):
    source = FakeSource("s3", clock, behave=lambda: time.sleep(0.2))
    broker = make_broker(source)
    waiting = [asyncio.create_task(broker.credentials(ALICE, GRANT)) for _ in range(3)]
    await asyncio.sleep(0.05)
    waiting[0].cancel()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert all(isinstance(answer, Credentials) and answer.s3 for answer in answers[1:])
    assert source.calls == 1


async def test_errors_are_not_remembered(clock, make_broker):
    source = FakeSource("s3", clock, behave=fail("denied"))
    broker = make_broker(source)
    assert [p.code for p in (await broker.credentials(ALICE, GRANT)).problems] == ["denied"]
    source.behave = lambda: None
    assert (await broker.credentials(ALICE, GRANT)).problems == ()


# Failures -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "calls"), [("timeout", 3), ("unreachable", 3), ("denied", 1), ("invalid", 1), ("missing", 1)]
)
async def test_only_transport_errors_are_tried_again(clock, make_broker, code, calls):
    source = FakeSource("s3", clock, behave=fail(code))
    credentials = await make_broker(source).credentials(ALICE, GRANT)
    assert source.calls == calls
    assert credentials.s3 is None
    assert credentials.problems == (SourceProblem("s3", code, f"It failed: {code}."),)


async def test_a_second_try_that_works_leaves_no_problem(clock, make_broker):
    source = FakeSource("s3", clock)
    source.behave = lambda: fail("unreachable")() if source.calls == 1 else None
    credentials = await make_broker(source).credentials(ALICE, GRANT)
    assert credentials.s3 is not None
    assert credentials.problems == ()


async def test_one_source_that_hangs_takes_its_own_time_limit_only(clock, make_broker):
    gate = threading.Event()
    vault = FakeSource("vault", clock, timeout=0.3, behave=lambda: gate.wait(3) and None)
    broker = make_broker(FakeSource("s3", clock), vault)
    start = time.monotonic()
    credentials = await broker.credentials(ALICE, GRANT)
    assert 0.25 < time.monotonic() - start < 1.0
    assert credentials.s3 is not None
    assert [(p.source, p.code) for p in credentials.problems] == [("vault", "timeout")]
    gate.set()


async def test_the_deadline_is_over_all_and_the_late_answer_serves_the_next(clock, make_broker):
    gate = threading.Event()
    source = FakeSource("s3", clock, timeout=5.0, behave=lambda: gate.wait(3) and None)
    broker = make_broker(source, deadline=0.2)
    credentials = await broker.credentials(ALICE, GRANT)
    assert [p.code for p in credentials.problems] == ["timeout"]
    gate.set()
    await asyncio.sleep(0.1)
    assert (await broker.credentials(ALICE, GRANT)).s3 is not None
    assert source.calls == 1


async def test_a_value_that_comes_after_the_sources_time_limit_is_kept(clock, make_broker):
    gate = threading.Event()
    source = FakeSource("s3", clock, timeout=0.2, behave=lambda: gate.wait(3) and None)
    broker = make_broker(source)
    assert (await broker.credentials(ALICE, GRANT)).s3 is None
    gate.set()
    await asyncio.sleep(0.1)
    assert (await broker.credentials(ALICE, GRANT)).s3 is not None
    assert source.calls == 1


async def test_what_is_still_valid_is_given_together_with_the_problem(clock, make_broker):
    source = FakeSource("s3", clock)
    broker = make_broker(source, retries=0)
    known = (await broker.credentials(ALICE, GRANT)).s3
    source.behave = fail("unreachable")
    clock.move(2000)
    credentials = await broker.credentials(ALICE, GRANT)
    assert credentials.s3 == known
    assert [p.code for p in credentials.problems] == ["unreachable"]
    assert "09:00 UTC" in credentials.problems[0].message
    clock.move(1600)  # now it has expired
    assert (await broker.credentials(ALICE, GRANT)).s3 is None


async def test_an_error_that_nobody_expects_names_no_value(clock, make_broker, caplog):
    def behave() -> None:
        raise ValueError("the token is hvs.SECRET")

    credentials = await make_broker(FakeSource("s3", clock, behave=behave)).credentials(ALICE, GRANT)
    assert [p.code for p in credentials.problems] == ["invalid"]
    assert "ValueError" in credentials.problems[0].message
    assert "SECRET" not in str(credentials.problems) + caplog.text


async def test_problems_of_a_value_are_passed_on_every_time(clock, make_broker):
    problem = SourceProblem("vault", "missing", "The secret x is not there.")
    broker = make_broker(FakeSource("vault", clock, problems=(problem,)))
    for _ in range(2):
        credentials = await broker.credentials(ALICE, GRANT)
        assert credentials.vault is not None
        assert credentials.problems == (problem,)


@pytest.mark.parametrize(("required", "raises"), [({"s3"}, True), ({"vault"}, False), (set(), False)])
async def test_raise_if_required(clock, make_broker, required, raises):
    grant = Grant("1", secrets=("a",), git_hosts=(), required=frozenset(required))
    partial = (SourceProblem("vault", "missing", "One secret is not there."),)
    broker = make_broker(
        FakeSource("s3", clock, behave=fail("denied")), FakeSource("vault", clock, problems=partial)
    )
    credentials = await broker.credentials(ALICE, grant)
    assert len(credentials.problems) == 2
    if raises:
        with pytest.raises(SourceError, match="It failed: denied") as caught:
            broker.raise_if_required(grant, credentials)
        assert caught.value.code == "denied"
    else:
        broker.raise_if_required(grant, credentials)


async def test_a_required_source_that_is_not_configured_ends_the_launch(clock, make_broker):
    grant = Grant("1", secrets=("a",), git_hosts=(), required=frozenset({"s3"}))
    broker = make_broker(FakeSource("vault", clock))
    credentials = await broker.credentials(ALICE, grant)
    assert credentials.problems == ()
    with pytest.raises(SourceError, match=r"requires S3 storage.*administrator") as caught:
        broker.raise_if_required(grant, credentials)
    assert (caught.value.source, caught.value.code) == ("s3", "missing")


async def test_progress_is_told_on_the_loop(clock, make_broker):
    told: list[tuple[str, str]] = []
    threads = set()

    def on_progress(source: str, state: str, message: str) -> None:
        threads.add(threading.get_ident())
        told.append((source, state))
        assert message
        raise RuntimeError("a page that is gone must not matter")

    broker = make_broker(FakeSource("s3", clock), FakeSource("vault", clock, behave=fail("denied", "vault")))
    await broker.credentials(ALICE, GRANT, on_progress=on_progress)
    assert set(told) == {("s3", "running"), ("s3", "ok"), ("vault", "running"), ("vault", "warning")}
    assert threads == {threading.get_ident()}


async def test_other_calls_to_a_backend_share_its_bounds(clock, make_broker):
    gate = threading.Event()
    broker = make_broker(FakeSource("vault", clock, timeout=0.2))
    assert await broker.call("vault", lambda x, *, y: x + y, 1, y=2) == 3
    with pytest.raises(SourceError) as caught:
        await broker.call("vault", gate.wait, 3)
    assert caught.value.code == "timeout"
    gate.set()


# The end of a session -----------------------------------------------------------------------------


async def test_the_end_of_a_session_ends_its_tokens_and_no_others(clock, make_broker):
    vault = FakeSource("vault", clock, per_session=True)
    broker = make_broker(FakeSource("s3", clock), vault)
    one, two = Grant("1", secrets=("a",)), Grant("2", secrets=("a",))
    await broker.credentials(ALICE, one)
    await broker.credentials(ALICE, two)
    await broker.credentials(ALICE, one, refresh=True)
    await broker.end_session("1")
    await broker.settle()
    assert sorted(vault.ended) == ["vault-1", "vault-3"]
    assert (await broker.credentials(ALICE, two)).vault is not None


async def test_a_session_that_ends_while_its_token_is_being_made(clock, make_broker):
    gate = threading.Event()
    vault = FakeSource("vault", clock, per_session=True, behave=lambda: gate.wait(3) and None)
    broker = make_broker(vault)
    asking = asyncio.create_task(broker.credentials(ALICE, GRANT))
    await asyncio.sleep(0.05)
    await broker.end_session(GRANT.session)
    gate.set()
    credentials = await asking
    assert credentials.vault is None
    assert "session has ended" in credentials.problems[0].message
    await broker.settle()
    assert vault.ended == ["vault-1"]


async def test_a_token_that_comes_after_time_limit_and_end_is_ended_too(clock, make_broker):
    gate = threading.Event()
    vault = FakeSource("vault", clock, per_session=True, timeout=0.1, behave=lambda: gate.wait(3) and None)
    broker = make_broker(vault)
    await broker.credentials(ALICE, GRANT)
    await broker.end_session(GRANT.session)
    gate.set()
    await asyncio.sleep(0.1)
    await broker.settle()
    assert vault.ended == ["vault-1"]


async def test_an_ended_session_gets_nothing_any_more(clock, make_broker):
    vault = FakeSource("vault", clock, per_session=True)
    broker = make_broker(vault)
    await broker.end_session(GRANT.session)
    credentials = await broker.credentials(ALICE, GRANT)
    assert credentials.vault is None
    assert vault.calls == 0


async def test_ending_is_tried_again_behind(clock, make_broker):
    vault = FakeSource("vault", clock, per_session=True)
    tries = []

    def end(value: Any) -> None:
        tries.append(value)
        if len(tries) == 1:
            raise SourceError("vault", "unreachable", "Down.")

    vault.end = end  # type: ignore[method-assign]
    broker = make_broker(vault)
    await broker.credentials(ALICE, GRANT)
    start = time.monotonic()
    await broker.end_session(GRANT.session)
    assert time.monotonic() - start < 0.1
    await broker.settle()
    assert len(tries) == 2

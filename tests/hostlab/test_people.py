"""The lab's person: logged in for as long as a run takes, and not always answered."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from scenarios.clock import Clock
from scenarios.compile import compile_text
from scenarios.hostlab.cloud import EMAIL, CloudProcess
from scenarios.hostlab.lab import HostWorld
from scenarios.hostlab.people import act
from scenarios.how import How
from scenarios.virtual import run_virtual
from tests.stub_cloud import SETTINGS, running

if TYPE_CHECKING:
    from pathlib import Path

EIGHT_DAYS_S = 8 * 86_400
"""A session ends after seven."""


def test_the_labs_person_outlives_a_session(tmp_path: Path) -> None:
    now_s = [1_700_000_000.0]

    async def run() -> None:
        cloud = CloudProcess("", tmp_path, Clock.begin(), "inprocess", tls=False)
        settings = replace(SETTINGS, admin_email=EMAIL, admin_password=cloud._password)
        await cloud.session.close()
        with running(tmp_path, settings, clock=lambda: now_s[0]) as stub:
            cloud.url = stub.url
            async with aiohttp.ClientSession() as cloud.session:
                assert await cloud.rows("device?$select=id") == []
                _, first = cloud.credentials
                now_s[0] += EIGHT_DAYS_S
                assert (await cloud.ask("GET", "/v7/device?$select=id", key=first))[0] == 401
                assert await cloud.rows("device?$select=id") == []
                _, second = cloud.credentials
                assert second != first

    asyncio.run(run())


ACTION = """
scenario: An action while the API is away
timeline:
  - {at: 0s, do: power_on}
  - {at: 1m, do: api, state: STATE}
  - {at: 2m, do: action, name: blink, expect: ok}
  - {at: 4m, do: end}
"""


@pytest.mark.parametrize("state", ["down", "hang"])
def test_an_action_that_nobody_answers_is_unmet_in_the_model(state: str) -> None:
    history = run_virtual(compile_text(ACTION.replace("STATE", state)), seed=1)
    assert [unmet.text for unmet in history.unmet] == ["blink was not answered, expected ok"]


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (True, "blink was not answered, expected ok"),
        (False, "blink has no answer by the end of the run, expected ok"),
    ],
)
def test_an_action_that_nobody_answers_is_unmet_in_the_host_lab(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: bool, words: str
) -> None:
    scenario = compile_text(ACTION.replace("STATE", "down"))
    (step,) = [step for step in scenario.steps if step.action.do == "action"]
    board: Any = SimpleNamespace(
        spec=scenario.devices[0], uuid="a" * 32, fleet=SimpleNamespace(id=1)
    )

    async def run() -> list[str]:
        called = asyncio.Event()

        async def hangs(*_: object) -> None:
            called.set()
            await asyncio.Event().wait()

        world = HostWorld(scenario, How(), seed=1, folder=tmp_path)
        world.cloud = CloudProcess("", tmp_path, Clock.begin(), "inprocess", tls=False)
        world.cloud.url = "http://127.0.0.1:1"
        await world.cloud.session.close()
        async with aiohttp.ClientSession() as world.cloud.session:
            if refused:
                await act(world, board, step, step.action)
            else:
                monkeypatch.setattr(world.cloud, "act", hangs)
                asked = asyncio.create_task(act(world, board, step, step.action))
                await called.wait()
                asked.cancel()
            return [found.text for found in (*world.history.unmet, *world.unanswered.values())]

    assert asyncio.run(run()) == [words]

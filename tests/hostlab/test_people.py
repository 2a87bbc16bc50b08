"""The lab's person: logged in for as long as a run takes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import aiohttp

from scenarios.clock import Clock
from scenarios.hostlab.cloud import EMAIL, CloudProcess
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

"""Registering, exchanging keys, the first word about configuration (``SUPERVISOR.md §3``)."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from agent import effects as do
from agent.config import AgentConfig, Persisted
from tests.toy_device import KEY, TRIP_MS, UUID, Toy, ToyCloud, target

FRESH = Persisted(provisioning_key="p" * 32, application_id=7)
PREREGISTERED = Persisted(uuid=UUID, device_api_key=KEY, registered_at_ms=0, application_id=7)
CONFIG = AgentConfig()


def requests(toy: Toy) -> list[str]:
    return [
        f"{effect.method} {effect.path.partition('?')[0].rsplit('/', 1)[-1]}"
        for _, effect in toy.of(do.SendRequest)
    ]


def test_a_fresh_device_registers_and_tells_its_configuration_before_it_polls() -> None:
    toy = Toy(ToyCloud(target()), persisted=FRESH, config=CONFIG)
    toy.run_until(1_000)
    assert requests(toy) == [
        "POST register",
        "GET state",
        "POST device_config_variable",
        "GET state",
        "PATCH state",
    ]
    _, register = toy.requests("POST", "register")[0]
    assert register.headers["authorization"] == f"Bearer {FRESH.provisioning_key}"
    assert register.timeout_ms == 30_000
    assert set(register.body) == {
        "application",
        "uuid",
        "device_type",
        "api_key",
        "supervisor_version",
        "os_version",
        "os_variant",
        "mac_address",
    }
    assert toy.disk.provisioning_key is None
    assert toy.disk.device_id == 1
    assert toy.disk.registered_at_ms == TRIP_MS


def test_the_second_get_is_answered_304_and_delivers_the_first_target() -> None:
    toy = Toy(ToyCloud(target()), persisted=FRESH, config=CONFIG)
    toy.run_until(30_000)
    first, second = [effect for _, effect in toy.requests("GET", "/state")]
    assert "if-none-match" not in first.headers
    assert "if-none-match" in second.headers
    assert toy.running() == {"main": "r1"}


def test_a_preregistered_device_asks_for_its_id_and_does_not_register() -> None:
    toy = Toy(ToyCloud(target()), persisted=PREREGISTERED, config=CONFIG)
    toy.run_until(1_000)
    assert requests(toy)[:2] == ["GET device", "GET state"]
    assert toy.disk.device_id == 1


@pytest.mark.parametrize("failure", ["refused", (500, {}, None), (429, {"retry-after": "1"}, None)])
def test_any_failure_is_repeated_every_thirty_seconds_without_growing(
    failure: str | tuple[int, dict[str, str], None],
) -> None:
    cloud = ToyCloud(target(), answers={"POST register": [failure] * 4})
    toy = Toy(cloud, persisted=FRESH, config=CONFIG)
    toy.run_until(200_000)
    times = [at_ms for at_ms, _ in toy.requests("POST", "register")]
    assert times == [n * (30_000 + TRIP_MS) for n in range(5)]


def test_a_conflict_leads_to_a_key_exchange() -> None:
    cloud = ToyCloud(
        target(),
        answers={
            "POST register": [(409, {}, "<html>")],
            "GET device": [(401, {}, None), (200, {}, {"d": [{"id": 9}]})],
        },
    )
    toy = Toy(cloud, persisted=replace(FRESH, uuid=UUID, device_api_key=KEY), config=CONFIG)
    toy.run_until(1_000)
    assert requests(toy)[:5] == [
        "POST register",
        "GET device",
        "GET device",
        "POST device-key",
        "GET state",
    ]
    keys = [effect.headers["authorization"] for _, effect in toy.requests("GET", "/v7/device?")]
    assert keys == [f"Bearer {KEY}", f"Bearer {FRESH.provisioning_key}"]
    assert toy.disk.device_id == 9
    assert toy.disk.uuid == UUID


def test_a_failed_exchange_makes_a_new_identity_that_registers() -> None:
    cloud = ToyCloud(
        target(),
        answers={
            "POST register": [(409, {}, None)],
            "GET device": [(401, {}, None), (401, {}, None)],
        },
    )
    toy = Toy(cloud, persisted=replace(FRESH, uuid=UUID, device_api_key=KEY), config=CONFIG)
    toy.run_until(60_000)
    assert toy.disk.uuid not in (None, UUID)
    assert toy.disk.device_api_key != KEY
    assert toy.disk.registered_at_ms is not None


def test_without_a_provisioning_key_the_identity_is_kept() -> None:
    cloud = ToyCloud(target(), answers={"GET device": [(401, {}, None)] * 3})
    toy = Toy(cloud, persisted=PREREGISTERED, config=CONFIG)
    toy.run_until(200_000)
    assert toy.disk.uuid == UUID
    assert toy.disk.device_id == 1


@pytest.mark.parametrize("persisted", [FRESH, PREREGISTERED], ids=["fresh", "preregistered"])
def test_a_power_cut_after_any_write_goes_on_without_a_second_device(persisted: Persisted) -> None:
    whole = Toy(ToyCloud(target()), persisted=persisted, config=CONFIG)
    whole.run_until(60_000)
    for disk in [effect.state for _, effect in whole.of(do.Persist)]:
        cloud = ToyCloud(target(), uuid=disk.uuid or UUID)
        again = Toy(cloud, persisted=disk, config=CONFIG)
        again.run_until(60_000)
        assert disk.uuid in (None, again.disk.uuid)
        assert disk.device_api_key in (None, again.disk.device_api_key)
        assert again.disk.initial_env_reported
        assert len(again.requests("POST", "register")) == (disk.registered_at_ms is None)


def test_identities_come_from_the_draws_handed_in() -> None:
    first, second, other = (
        Toy(ToyCloud(target()), persisted=FRESH, seed=seed).disk.uuid for seed in (1, 1, 2)
    )
    assert first == second != other
    assert first is not None
    assert len(first) == 32
    assert random.Random(1).random() < 1

"""The stub's delta server, and what an agent makes of its answers."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from agent.daemon import deltas as device
from agent.daemon.deltas import DeltaError
from agent.daemon.registry import Images, PullError
from cloud_stub.server import delta_api as cloud
from cloud_stub.server.delta_api import SIZE_LABEL

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.stub_cloud import Stub

UUID = "d94a49732bbae3105908d6442b4dcb59"
WEIGHT, SIZE = 150_000, 600_000


class Board:
    """A device of a fleet with two releases, its images, and what arrives of them."""

    def __init__(self, stub: Stub, folder: Path) -> None:
        fleet = stub.fleet()
        self.stub, self.folder = stub, folder
        self.key = fleet.device(UUID).key
        self.old = fleet.images["a" * 32]
        fleet.release("b" * 32)
        self.new = fleet.images["b" * 32]
        row = stub.ask(
            "GET", f"/v7/image?$filter=endswith(is_stored_at__image_location,'{self.place}')"
        )
        (image,) = row.json["d"]
        stub.ask("PATCH", f"/v7/image({image['id']})", {"image_size": str(SIZE)})
        (part,) = stub.ask(
            "GET", f"/v7/image__is_part_of__release?$filter=image eq {image['id']}"
        ).json["d"]
        label = {"release_image": part["id"], "label_name": SIZE_LABEL, "value": str(WEIGHT)}
        assert stub.ask("POST", "/v7/image_label", label).status == 201
        self.percents: list[int] = []
        self.server: str | None = stub.url

    @property
    def place(self) -> str:
        return self.new.partition("/")[2]

    def pull(self, image: str, base: str = "") -> Images:
        async def pull() -> Images:
            async with aiohttp.ClientSession() as session:
                images = Images(
                    self.folder,
                    session,
                    plain=[self.stub.url.removeprefix("http://")],
                    credentials=lambda: (f"d_{UUID}", self.key),
                    arch="x86_64",
                    deltas=self.server,
                )
                await images.pull(image, self.percents.append, base=base)
            return images

        return asyncio.run(pull())

    def is_(self, state: str) -> None:
        answer = self.stub.ask("PUT", "/fieldbeat/v1/faults", {"delta": state})
        assert (answer.status, answer.json["delta"]) == (200, state)

    def weight(self) -> int:
        return sum(path.stat().st_size for path in (self.folder / "blobs").iterdir())

    def index(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "index.json").read_text())
        return found


@pytest.fixture
def board(stub: Stub, tmp_path: Path) -> Iterator[Board]:
    """With the first release's image on its disk."""
    made = Board(stub, tmp_path / "images")
    made.pull(made.old)
    yield made
    stub.ask("DELETE", "/fieldbeat/v1/faults")


def test_a_delta_weighs_what_the_release_says_and_makes_the_same_image(
    board: Board, tmp_path: Path
) -> None:
    before, old = board.weight(), board.index()[board.old]
    board.pull(board.new, board.old)
    added = board.weight() - before
    assert WEIGHT <= added < WEIGHT + 4_096
    assert board.percents[-1] == 100
    made = board.index()[board.new]
    assert set(old[1:]) <= set(made)
    board.folder = tmp_path / "whole"
    board.pull(board.new)
    assert board.index()[board.new][0] == made[0]
    assert board.weight() >= SIZE


def test_a_delta_goes_on_from_an_image_that_a_delta_made(board: Board) -> None:
    board.pull(board.new, board.old)
    whole = board.weight()
    images = board.pull(board.new, board.new)
    images.remove(board.old)
    assert images.names == {board.new}
    assert board.weight() >= whole


@pytest.mark.parametrize(("state", "kind"), [("none", "none"), ("broken", "broken")])
def test_a_delta_that_is_not_there_or_cannot_be_applied_leaves_nothing(
    board: Board, state: str, kind: str
) -> None:
    before = board.weight()
    board.is_(state)
    with pytest.raises(DeltaError) as told:
        board.pull(board.new, board.old)
    assert told.value.kind == kind
    assert (board.weight(), sorted(board.index())) == (before, [board.old])
    board.is_("ok")
    board.pull(board.new, board.old)
    assert sorted(board.index()) == sorted([board.old, board.new])


def test_a_delta_that_is_being_made_is_to_be_asked_for_again(board: Board) -> None:
    board.is_("processing")
    with pytest.raises(PullError, match="still being made"):
        board.pull(board.new, board.old)


def test_of_an_image_whose_release_says_nothing_there_is_none(board: Board) -> None:
    with pytest.raises(DeltaError) as told:
        board.pull(board.old, board.old)
    assert told.value.kind == "none"


def test_a_delta_from_another_image_than_is_here_is_refused(board: Board) -> None:
    index = board.index()
    index[board.old] = index[board.old][::-1]
    (board.folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(DeltaError, match="not from the image that is here"):
        board.pull(board.new, board.old)


def test_without_a_delta_server_the_whole_image_is_pulled(board: Board) -> None:
    before = board.weight()
    board.server = None
    board.pull(board.new, board.old)
    assert board.weight() - before >= SIZE


def test_a_registry_in_trouble_has_no_deltas_either(board: Board) -> None:
    fault = {"registry": [{"state": "error", "status": 500}]}
    board.stub.ask("PUT", "/fieldbeat/v1/faults", fault)
    with pytest.raises(PullError, match="500"):
        board.pull(board.new, board.old)


def test_deltas_are_for_those_who_may_pull_both(board: Board) -> None:
    stub = board.stub
    path = f"/api/v3/delta?src={board.old}&dest={board.new}"
    asked = stub.ask("GET", path, key=None)
    assert asked.status == 401
    assert asked.headers["www-authenticate"].count("repository:") == 2
    board.key = stub.fleet("another").device("e" * 32).key
    with pytest.raises(PullError):
        board.pull(board.new, board.old)
    assert stub.ask("GET", "/api/v3/delta?src=x&dest=y", key=None).status == 404


def test_device_and_cloud_mean_the_same_words() -> None:
    assert (device.BASE_LABEL, device.CONFIG_LABEL) == (cloud.BASE_LABEL, cloud.CONFIG_LABEL)
    assert device.MAGIC == cloud.MAGIC

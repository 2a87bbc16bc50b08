"""Random streams are reproducible, independent and equal to the published generator."""

from __future__ import annotations

import subprocess
import sys

from scenarios.streams import Stream, digest


def test_numbers_equal_the_published_vectors_of_splitmix64() -> None:
    """Seed 1234567, as printed by the reference implementation."""
    stream = Stream.from_state(1234567)
    assert [stream.next64() for _ in range(5)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_a_stream_depends_on_its_name_alone() -> None:
    assert (
        next(Stream(7, "device-1", "agent").random() for _ in range(2))
        == Stream(7, "device-1", "agent").random()
    )
    assert Stream(7, "device-1").random() != Stream(7, "device-2").random()
    assert Stream(7, "device-1").random() != Stream(8, "device-1").random()


def test_parts_of_a_name_do_not_run_together() -> None:
    assert digest("a", "bc") != digest("ab", "c")


def test_draws_stay_inside_their_range() -> None:
    stream = Stream("range")
    numbers = [stream.random() for _ in range(2_000)]
    assert all(0.0 <= number < 1.0 for number in numbers)
    assert 0.45 < sum(numbers) / len(numbers) < 0.55
    assert {stream.upto(3) for _ in range(200)} == {0, 1, 2, 3}


def test_a_stream_does_not_depend_on_the_hash_seed() -> None:
    code = "from scenarios.streams import Stream; print(Stream(1, 'x').next64())"
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "77")
    }
    assert len(seen) == 1

"""How many workers there are, and what the runtime says of itself."""

from __future__ import annotations

import os

import pytest

import tinycoro
from support import assert_success, probe, run_python, wait_until
from tinycoro import EchoServer, RuntimeStatistics, _core


def _workers_running(env: dict[str, str], configure: str = "") -> int:
    code = f"""
        import tinycoro
        {configure}
        with tinycoro.EchoServer():
            print(tinycoro.statistics().workers)
    """
    result = run_python(code, env=env)
    assert_success(result)
    return int(result.stdout)


def test_workers_come_from_configure_before_the_environment() -> None:
    assert _workers_running({"TINYCORO_WORKERS": "3"}, "tinycoro.configure(workers=2)") == 2


def test_workers_come_from_the_environment() -> None:
    assert _workers_running({"TINYCORO_WORKERS": "3"}) == 3


def test_workers_follow_the_affinity_of_the_process() -> None:
    pin = f"import os; os.sched_setaffinity(0, {{{min(os.sched_getaffinity(0))}}})"
    assert _workers_running({"TINYCORO_WORKERS": ""}, pin) == 1


def test_configure_none_takes_the_choice_back() -> None:
    chosen = "tinycoro.configure(workers=2); tinycoro.configure(workers=None)"
    assert _workers_running({"TINYCORO_WORKERS": "3"}, chosen) == 3


@pytest.mark.parametrize("text", ["0", "-1", "257", "two", "1.5", "99999999999999999999"])
def test_environment_that_is_no_worker_count_is_an_error(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("TINYCORO_WORKERS", text)
    server = EchoServer()
    with pytest.raises(ValueError, match=f"TINYCORO_WORKERS={text}: it must be an integer"):
        server.start()
    monkeypatch.undo()
    with server:
        assert probe(server)


@pytest.mark.parametrize("workers", [0, -1, 257, 1 << 70])
def test_configure_outside_the_limits_is_an_error(workers: int) -> None:
    with pytest.raises(ValueError, match="between 1 and 256, or None"):
        tinycoro.configure(workers=workers)


def test_configure_takes_an_integer_by_keyword() -> None:
    with pytest.raises(TypeError, match="workers must be an integer or None, not str"):
        tinycoro.configure(workers="2")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="at most 0 positional"):
        tinycoro.configure(2)  # type: ignore[call-arg]


def test_configure_after_the_first_worker_is_an_error() -> None:
    code = """
        import tinycoro
        def refused():
            try:
                tinycoro.configure(workers=1)
            except RuntimeError as error:
                return "too late" in str(error)
        with tinycoro.EchoServer():
            assert refused()
        assert refused()
    """
    assert_success(run_python(code))


def test_server_takes_some_of_the_workers() -> None:
    code = """
        import tinycoro
        tinycoro.configure(workers=3)
        with tinycoro.EchoServer(workers=2), tinycoro.EchoServer(workers=3), tinycoro.EchoServer():
            assert tinycoro.statistics().workers == 3
            try:
                tinycoro.EchoServer(workers=4).start()
            except ValueError as error:
                assert "workers=4: the runtime has 3" in str(error), error
            else:
                raise AssertionError("more workers than there are")
    """
    assert_success(run_python(code))


def test_statistics_without_a_server_are_zero_but_for_memory() -> None:
    now = tinycoro.statistics()
    assert isinstance(now, RuntimeStatistics)
    names = [name for name in now.__match_args__ if not name.startswith("bytes_")]
    assert [name for name in names if getattr(now, name)] == []


def test_statistics_show_workers_that_sleep_when_nothing_is_to_do(server: EchoServer) -> None:
    workers = _core._workers()
    assert tinycoro.statistics().workers == workers
    assert wait_until(lambda: tinycoro.statistics().workers_parked == workers)
    before = tinycoro.statistics()
    assert probe(server)
    # A worker may count after it has answered.
    assert wait_until(lambda: tinycoro.statistics().turns > before.turns)
    assert wait_until(lambda: tinycoro.statistics().events > before.events)
    after = tinycoro.statistics()
    with pytest.raises(AttributeError):
        after.workers = 0  # type: ignore[misc]

"""Event loops: asyncio's interface over the loop in C.

What runs once per program or per signal is here; what runs per callback or per task is in C.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
import inspect
import logging
import signal
import sys
import threading
import traceback
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Any, TypeVar, TypeVarTuple, cast
from warnings import warn

from . import _core, debug
from ._core import Future, Task, ensure_future, get_running_loop
from .futures import cancel_concurrent, follow
from .sockets import SocketMethods

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

_Context = dict[str, Any]
_ExceptionHandler = Callable[["Loop", _Context], object]

logger = logging.getLogger("tinycoro")

_STACK_DEPTH = 10  # frames that debug mode keeps, as in asyncio


# Keys of an exception handler's context that hold stacks, and whose they are.
_STACKS = {"source_traceback": "Object", "handle_traceback": "Handle"}


class Loop(SocketMethods):
    """The event loop of one thread, and asyncio's running loop while it runs.

    Thread-safety: only `call_soon_threadsafe` may be called from another thread than the one that
    runs the loop; other methods raise RuntimeError there.
    """

    def __init__(self) -> None:
        super().__init__()
        self._exception_handler: _ExceptionHandler | None = None
        self._signal_handlers: dict[int, Callable[[], object]] = {}
        self._asyncgens: weakref.WeakSet[AsyncGenerator[Any, Any]] = weakref.WeakSet()
        self._asyncgens_are_shut_down = False
        self._executor: concurrent.futures.ThreadPoolExecutor | None = None
        self._executor_is_shut_down = False
        self._origin_depth: int | None = None  # to be restored, while it is ours
        self._made_at: traceback.StackSummary | None = None
        self._submitted: set[concurrent.futures.Future[Any]] = set()  # any thread adds
        if debug.is_default():
            self._is_debug = True
            self._made_at = traceback.extract_stack(sys._getframe(1), limit=_STACK_DEPTH)

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} running={self.is_running()} "
            f"closed={self.is_closed()} debug={self.get_debug()}>"
        )

    def __del__(self) -> None:
        if self.is_closed():
            return
        made = ""
        if self._made_at is not None:
            made = "\nLoop created at (most recent call last):\n" + "".join(self._made_at.format())
        warn(f"unclosed event loop {self!r}{made}", ResourceWarning, source=self, stacklevel=2)

    # ---- running --------------------------------------------------------------------------------

    def run_forever(self) -> None:
        """Run until `stop()`. Blocks: yes. Raises: RuntimeError if a loop runs in this thread."""
        with self._surroundings():
            self._run()

    def run_until_complete(self, future: Generator[Any, None, _T] | Awaitable[_T]) -> _T:
        """Run until `future`, or the task made of it, is done; return its result. Blocks: yes."""
        if self.is_closed():
            raise RuntimeError("Event loop is closed")
        if self.is_running():
            raise RuntimeError("This event loop is already running")
        is_ours = not _core.isfuture(future)
        main = ensure_future(cast(Awaitable[_T], future), loop=self)
        if isinstance(main, Task) and is_ours:
            main._log_destroy_pending = False  # an exception tells it already
        main.add_done_callback(_stop_loop)
        try:
            self.run_forever()
        except BaseException:
            if is_ours and main.done() and not main.cancelled():
                main.exception()  # it is what was raised, or is told by what was
            raise
        finally:
            main.remove_done_callback(_stop_loop)
        if not main.done():
            raise RuntimeError("Event loop stopped before Future completed.")
        return main.result()

    def close(self) -> None:
        """Drop what waits and give the descriptors back. Raises: RuntimeError while it runs."""
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        if self.is_closed():
            return
        if self._is_debug:
            logger.debug("Close %r", self)
        for number in tuple(self._signal_handlers):
            self.remove_signal_handler(number)
        self._close()
        self._executor_is_shut_down = True
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False)
        for future in self._submitted.copy():
            cancel_concurrent(future)
        self._submitted.clear()

    @contextmanager
    def _surroundings(self) -> Generator[None, None, None]:
        """Async generators and signals belong to the loop while it runs."""
        hooks = sys.get_asyncgen_hooks()
        is_main_thread = threading.current_thread() is threading.main_thread()
        fd = -1
        if is_main_thread and not self.is_closed():
            fd = signal.set_wakeup_fd(self._signal_fd(), warn_on_full_buffer=False)
        sys.set_asyncgen_hooks(self._asyncgen_firstiter, self._asyncgen_finalizer)
        self._track_origins(self._is_debug)
        try:
            yield
        finally:
            self._track_origins(False)
            sys.set_asyncgen_hooks(*hooks)
            if is_main_thread and not self.is_closed():
                signal.set_wakeup_fd(fd, warn_on_full_buffer=False)

    # ---- async generators -----------------------------------------------------------------------

    def _asyncgen_firstiter(self, agen: AsyncGenerator[Any, Any]) -> None:
        if self._asyncgens_are_shut_down:
            warn(
                f"asynchronous generator {agen!r} was scheduled after "
                "loop.shutdown_asyncgens() call",
                ResourceWarning,
                source=self,
                stacklevel=2,
            )
        self._asyncgens.add(agen)

    def _asyncgen_finalizer(self, agen: AsyncGenerator[Any, Any]) -> None:
        # On any thread: the collector runs where it likes.
        try:
            self.call_soon_threadsafe(self._close_asyncgen, agen)
        except RuntimeError:
            if not self.is_closed():
                raise

    def _close_asyncgen(self, agen: AsyncGenerator[Any, Any]) -> None:
        self._asyncgens.discard(agen)
        self.create_task(_aclose(agen))

    async def shutdown_asyncgens(self) -> None:
        """Close every asynchronous generator that is still open; `run()` does this at the end."""
        self._asyncgens_are_shut_down = True
        closing = list(self._asyncgens)
        if not closing:
            return
        self._asyncgens.clear()
        results = await _core.gather(*[_aclose(agen) for agen in closing], return_exceptions=True)
        for result, agen in zip(results, closing, strict=True):
            if isinstance(result, Exception):
                self.call_exception_handler(
                    {
                        "message": "an error occurred during closing of asynchronous generator "
                        f"{agen!r}",
                        "exception": result,
                        "asyncgen": agen,
                    }
                )

    # ---- threads --------------------------------------------------------------------------------

    def run_in_executor(  # type: ignore[override]
        self,
        executor: concurrent.futures.Executor | None,
        func: Callable[[*_Ts], _T],
        *args: *_Ts,
    ) -> Future[_T]:
        """Call `func(*args)` in a thread of `executor`; return a future for its result.

        None: the default executor, which is made when it is first needed.
        """
        if self.is_closed():
            raise RuntimeError("Event loop is closed")
        if executor is None:
            executor = self._default_executor()
        return follow(executor.submit(func, *args), self)

    def _default_executor(self) -> concurrent.futures.ThreadPoolExecutor:
        if self._executor_is_shut_down:
            raise RuntimeError("Executor shutdown has been called")
        if self._executor is None:
            self._executor = concurrent.futures.ThreadPoolExecutor(thread_name_prefix="tinycoro")
        return self._executor

    def set_default_executor(  # type: ignore[override]
        self, executor: concurrent.futures.ThreadPoolExecutor
    ) -> None:
        """Have `run_in_executor(None, …)` and `to_thread()` use this executor."""
        if not isinstance(executor, concurrent.futures.ThreadPoolExecutor):
            raise TypeError("executor must be ThreadPoolExecutor instance")
        self._executor = executor

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Wait for the threads of the default executor; `run()` does this at the end.

        After `timeout` seconds (None: never) warn and leave them to themselves.
        """
        self._executor_is_shut_down = True
        executor = self._executor
        if executor is None:
            return
        joined: Future[bool] = self.create_future()
        thread = threading.Thread(target=self._join_executor, args=(executor, joined))
        thread.start()
        timer = None if timeout is None else self.call_later(timeout, _end, joined, False, None)
        try:
            in_time = await joined
        finally:
            if timer is not None:
                timer.cancel()
        if in_time:
            thread.join()
            return
        warn(
            f"The executor did not finishing joining its threads within {timeout} seconds.",
            RuntimeWarning,
            stacklevel=2,
        )
        executor.shutdown(wait=False)

    def _join_executor(
        self, executor: concurrent.futures.ThreadPoolExecutor, joined: Future[bool]
    ) -> None:
        """What a thread does for shutdown_default_executor()."""
        failure: BaseException | None = None
        try:
            executor.shutdown(wait=True)
        except Exception as error:
            failure = error
        try:
            self.call_soon_threadsafe(_end, joined, True, failure)
        except RuntimeError:
            if not self.is_closed():
                raise

    # ---- exceptions -----------------------------------------------------------------------------

    def set_exception_handler(self, handler: _ExceptionHandler | None) -> None:
        """Have `handler(loop, context)` called instead of the default; None: the default."""
        if handler is not None and not callable(handler):
            raise TypeError(f"A callable object or None is expected, got {handler!r}")
        self._exception_handler = handler

    def get_exception_handler(  # type: ignore[override]
        self,
    ) -> _ExceptionHandler | None:
        """Return the handler, or None for the default."""
        return self._exception_handler

    def default_exception_handler(self, context: _Context) -> None:
        """Log `context` to the logger "tinycoro".

        Its keys: `message`, and where they apply `exception`, `task`, `future`, `handle`,
        `asyncgen`; in debug mode `source_traceback`, where that object was made, or
        `handle_traceback`, where what runs now was.
        """
        message = context.get("message") or "Unhandled exception in event loop"
        exception = context.get("exception")
        if "source_traceback" not in context:
            stack = getattr(self._current_handle, "_source_traceback", None)
            if stack:
                context["handle_traceback"] = stack
        lines = [message]
        for key in sorted(context):
            if key in _STACKS:
                stack = "".join(traceback.format_list(context[key])).rstrip()
                lines.append(f"{key}: {_STACKS[key]} created at (most recent call last):\n{stack}")
            elif key not in {"message", "exception"}:
                lines.append(f"{key}: {context[key]!r}")
        exc_info: Any = False
        if exception is not None:
            # As a triple, as asyncio does: whoever replaces the logger may look at it.
            exc_info = (type(exception), exception, exception.__traceback__)
        logger.error("\n".join(lines), exc_info=exc_info)

    def call_exception_handler(self, context: _Context) -> None:
        """Tell of an exception that nobody else can be told of."""
        if self._exception_handler is None:
            try:
                self.default_exception_handler(context)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException:
                logger.error("Exception in default exception handler", exc_info=True)
            return
        try:
            # It runs in the context of what failed, if that has one.
            things = (context.get(key) for key in ("task", "future", "handle"))
            thing: Any = next((thing for thing in things if thing is not None), None)
            run: Any = None
            if hasattr(thing, "get_context"):
                run = getattr(thing.get_context(), "run", None)
            if run is not None:
                run(self._exception_handler, self, context)
            else:
                self._exception_handler(self, context)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            try:
                self.default_exception_handler(
                    {
                        "message": "Unhandled error in exception handler",
                        "exception": error,
                        "context": context,
                    }
                )
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException:
                logger.error(
                    "Exception in default exception handler while handling an unexpected error "
                    "in custom exception handler",
                    exc_info=True,
                )

    # ---- signals --------------------------------------------------------------------------------

    def add_signal_handler(self, sig: int, callback: Callable[[*_Ts], object], *args: *_Ts) -> None:
        """Have `callback(*args)` called by the loop whenever signal `sig` arrives.

        Raises: ValueError for a signal that does not exist or outside the main thread;
        RuntimeError for one that cannot be caught.
        """
        if asyncio.iscoroutine(callback) or inspect.iscoroutinefunction(callback):
            raise TypeError("coroutines cannot be used with add_signal_handler()")
        _check_signal(sig)
        if self.is_closed():
            raise RuntimeError("Event loop is closed")
        try:
            signal.set_wakeup_fd(self._signal_fd(), warn_on_full_buffer=False)
        except ValueError as error:
            raise RuntimeError(str(error)) from None
        try:
            # A handler of Python's own makes the interpreter write to the wake-up descriptor.
            signal.signal(sig, _ignore_signal)
            signal.siginterrupt(sig, False)
        except OSError as error:
            if not self._signal_handlers and not self.is_running():
                signal.set_wakeup_fd(-1)
            raise RuntimeError(f"sig {sig} cannot be caught") from error
        self._signal_handlers[sig] = functools.partial(
            self.call_soon, callback, *args, context=contextvars.copy_context()
        )

    def remove_signal_handler(self, sig: int) -> bool:
        """Restore the default action of `sig`; return whether there was a handler."""
        _check_signal(sig)
        if self._signal_handlers.pop(sig, None) is None:
            return False
        signal.signal(sig, signal.default_int_handler if sig == signal.SIGINT else signal.SIG_DFL)
        if not self._signal_handlers and not self.is_running():
            signal.set_wakeup_fd(-1)
        return True

    def _signal_received(self, number: int) -> None:
        """Called by the C loop with each number from the wake-up descriptor."""
        schedule = self._signal_handlers.get(number)
        if schedule is not None:
            schedule()

    # ---- debug mode -----------------------------------------------------------------------------

    def get_debug(self) -> bool:
        """Return whether the loop is in debug mode."""
        return self._is_debug

    def set_debug(self, enabled: bool) -> None:
        """Switch debug mode.

        In it the loop remembers where tasks, futures, handles, operations and coroutines were made,
        shows that in reprs and reports, and logs what runs for `slow_callback_duration` seconds or
        more. It costs some microseconds for each of these objects.
        """
        self._is_debug = bool(enabled)
        if self.is_running():
            self._track_origins(self._is_debug)

    def _track_origins(self, enabled: bool) -> None:
        """Have coroutines of this thread remember where they were made."""
        if enabled == (self._origin_depth is not None):
            return
        if enabled:
            self._origin_depth = sys.get_coroutine_origin_tracking_depth()
            sys.set_coroutine_origin_tracking_depth(_STACK_DEPTH)
        else:
            sys.set_coroutine_origin_tracking_depth(cast(int, self._origin_depth))
            self._origin_depth = None

    def _ran_slowly(self, node: object, seconds: float) -> None:
        """Called by the C loop with what ran too long."""
        owner = getattr(getattr(node, "_callback", None), "__self__", None)
        logger.warning(
            "Executing %s took %.3f seconds",
            repr(owner if isinstance(owner, Task) else node),
            seconds,
        )


async def _aclose(agen: AsyncGenerator[Any, Any]) -> None:
    await agen.aclose()


def _end(future: Future[bool], result: bool, failure: BaseException | None) -> None:
    if future.done():
        return
    if failure is None:
        future.set_result(result)
    else:
        future.set_exception(failure)


def _stop_loop(future: Future[Any]) -> None:
    if not future.cancelled() and isinstance(future._exception, (SystemExit, KeyboardInterrupt)):
        return  # the loop is on its way out, and must not be stopped in its next run
    future.get_loop().stop()


def _ignore_signal(number: int, frame: object) -> None:
    """The handler that Python sees: the loop is told by the wake-up descriptor."""


def _check_signal(sig: object) -> None:
    if not isinstance(sig, int):
        raise TypeError(f"sig must be an int, not {sig!r}")
    if sig not in signal.valid_signals():
        raise ValueError(f"invalid signal number {sig}")


# ---- the loop of a thread ------------------------------------------------------------------------


def new_event_loop() -> Loop:
    """Return a new loop; close it when it is no longer needed."""
    return Loop()  # type: ignore[abstract]  # transports raise NotImplementedError by inheritance


def set_event_loop(loop: asyncio.AbstractEventLoop | None) -> None:
    """Make `loop` what `get_event_loop()` returns in this thread while no loop runs."""
    if loop is not None and not isinstance(loop, asyncio.AbstractEventLoop):
        raise TypeError(
            f"loop must be an instance of AbstractEventLoop or None, not '{type(loop).__name__}'"
        )
    _core._set_current_loop(loop)


def get_event_loop() -> asyncio.AbstractEventLoop:
    """Return the running loop, else the one given to `set_event_loop()`.

    Raises: RuntimeError if there is neither.
    """
    running = _core._get_running_loop()
    loop = running if running is not None else _core._get_current_loop()
    if loop is None:
        raise RuntimeError(
            f"There is no current event loop in thread {threading.current_thread().name!r}."
        )
    return loop


__all__ = [
    "Loop",
    "get_event_loop",
    "get_running_loop",
    "new_event_loop",
    "set_event_loop",
]

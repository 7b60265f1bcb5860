"""tinycoro: an M:N runtime in C behind asyncio's words.

with tinycoro.EchoServer(port=8000) as server:
    print(server.address)
    server.wait()
"""

try:
    # First: where it refuses to be imported, nothing else has been either.
    from ._core import (
        BoundedSemaphore,
        Channel,
        ChannelClosed,
        ChannelStatistics,
        EchoServer,
        Event,
        Future,
        Handle,
        Headers,
        HTTPServer,
        HTTPServerStatistics,
        LifoQueue,
        Lock,
        PriorityQueue,
        Queue,
        QueueShutDown,
        Request,
        Response,
        RouteLatency,
        RuntimeStatistics,
        Semaphore,
        ServerStatistics,
        StreamReader,
        StreamTransport,
        StreamWriter,
        Task,
        TaskGroup,
        Timeout,
        TimerHandle,
        TinycoroError,
        UploadProgress,
        WouldBlock,
        all_tasks,
        as_completed,
        configure,
        create_task,
        current_task,
        ensure_future,
        gather,
        get_running_loop,
        iscoroutine,
        isfuture,
        select,
        select_blocking,
        shield,
        sleep,
        statistics,
        timeout,
        timeout_at,
        wait,
    )
    from ._core import version as __version__
    from .base_server import Server
    from .debug import set_debug
    from .events import Loop, get_event_loop, new_event_loop, set_event_loop
    from .locks import Barrier, Condition
    from .runners import Runner, run
    from .signals import open_signal_receiver
    from .streams import (
        open_connection,
        open_unix_connection,
        start_server,
        start_unix_server,
    )
    from .subprocess import create_subprocess_exec, create_subprocess_shell
    from .tasks import (
        ALL_COMPLETED,
        FIRST_COMPLETED,
        FIRST_EXCEPTION,
        create_eager_task_factory,
        eager_task_factory,
        iscoroutinefunction,
        wait_for,
    )
    from .threads import run_coroutine_threadsafe, to_thread, wrap_future
    from .timeouts import CancelScope, fail_after, move_on_after
except ModuleNotFoundError as error:
    if error.name != f"{__name__}._core":
        raise
    raise ImportError(
        f"this is tinycoro's source tree ({__file__}), which has no compiled module: run "
        "`pip install .` in it, then leave that directory or start with `python -P`, "
        "so that the installed package is found"
    ) from None

from asyncio import (
    BrokenBarrierError,
    CancelledError,
    IncompleteReadError,
    InvalidStateError,
    LimitOverrunError,
    QueueEmpty,
    QueueFull,
    TimeoutError,  # the builtin
)

from . import from_thread
from .servers import register_loop_thread as _register_loop_thread

_register_loop_thread()

__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "Barrier",
    "BoundedSemaphore",
    "BrokenBarrierError",
    "CancelScope",
    "CancelledError",
    "Channel",
    "ChannelClosed",
    "ChannelStatistics",
    "Condition",
    "EchoServer",
    "Event",
    "Future",
    "HTTPServer",
    "HTTPServerStatistics",
    "Handle",
    "Headers",
    "IncompleteReadError",
    "InvalidStateError",
    "LifoQueue",
    "LimitOverrunError",
    "Lock",
    "Loop",
    "PriorityQueue",
    "Queue",
    "QueueEmpty",
    "QueueFull",
    "QueueShutDown",
    "Request",
    "Response",
    "RouteLatency",
    "Runner",
    "RuntimeStatistics",
    "Semaphore",
    "Server",
    "ServerStatistics",
    "StreamReader",
    "StreamTransport",
    "StreamWriter",
    "Task",
    "TaskGroup",
    "Timeout",
    "TimeoutError",
    "TimerHandle",
    "TinycoroError",
    "UploadProgress",
    "WouldBlock",
    "__version__",
    "all_tasks",
    "as_completed",
    "configure",
    "create_eager_task_factory",
    "create_subprocess_exec",
    "create_subprocess_shell",
    "create_task",
    "current_task",
    "eager_task_factory",
    "ensure_future",
    "fail_after",
    "from_thread",
    "gather",
    "get_event_loop",
    "get_running_loop",
    "iscoroutine",
    "iscoroutinefunction",
    "isfuture",
    "move_on_after",
    "new_event_loop",
    "open_connection",
    "open_signal_receiver",
    "open_unix_connection",
    "run",
    "run_coroutine_threadsafe",
    "select",
    "select_blocking",
    "set_debug",
    "set_event_loop",
    "shield",
    "sleep",
    "start_server",
    "start_unix_server",
    "statistics",
    "timeout",
    "timeout_at",
    "to_thread",
    "wait",
    "wait_for",
    "wrap_future",
]

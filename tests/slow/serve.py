"""An echo server in a process of its own, for lane.Server: options as JSON in the first argument.

Beside those of EchoServer: runtime_workers, and nofile, the soft limit of descriptors. It prints
its port, then answers each line on its standard input with a line of JSON: `census` what the
library holds, `statistics` of the server; `stop` ends it.
"""

from __future__ import annotations

import json
import resource
import sys
from typing import Any

import tinycoro


def _census() -> dict[str, int]:
    now = tinycoro.statistics()
    return {
        "bytes": now.bytes_in_use - now.bytes_reserved,  # the pools keep what they once had
        "fibers": now.fibers,
        "timers": now.timers,
        "watched": now.descriptors,
    }


def main() -> None:
    options: dict[str, Any] = json.loads(sys.argv[1])
    tinycoro.configure(workers=options.pop("runtime_workers", 2))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (options.pop("nofile", soft), hard))
    with tinycoro.EchoServer(**options) as server:
        print(server.address[1], flush=True)
        for line in sys.stdin:
            match line.split():
                case ["census"]:
                    answer: Any = _census()
                case ["statistics"]:
                    seen = server.statistics()
                    answer = {name: getattr(seen, name) for name in seen.__match_args__}
                case _:
                    break
            print(json.dumps(answer), flush=True)
        server.abort()


main()

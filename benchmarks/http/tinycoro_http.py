"""What is measured of tinycoro: a fixed answer, files, and with --python a handler in Python.

usage: tinycoro_http.py PORT WORKERS FOLDER [--python]
"""

import sys

import tinycoro

_BODY = "Hello, world!"


def main() -> None:
    port, workers, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    tinycoro.configure(workers=workers)
    server = tinycoro.HTTPServer(port=port)
    server.respond("/hello", _BODY, content_type="text/plain")
    server.static("/files", folder)
    if "--python" in sys.argv:

        @server.get("/python")
        async def python(_request: tinycoro.Request) -> tinycoro.Response:
            return tinycoro.Response(_BODY, content_type="text/plain")

        @server.get("/statistics")
        async def statistics(_request: tinycoro.Request) -> dict[str, int]:
            now = server.statistics()
            return {"handled": now.handled, "batches": now.batches}

    server.start()
    server.wait()


if __name__ == "__main__":
    main()

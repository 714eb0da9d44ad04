"""python -m opslib.sandbox.api --state DIR --speed N: run the API server until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import signal
import ssl
from pathlib import Path

from aiohttp import web

from opslib.sandbox.api.server import ApiServer, read_address

LOG = logging.getLogger("opslib.sandbox.api")


def _tls(state: Path) -> ssl.SSLContext:
    pki = state / "pki"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(str(pki / "api.crt"), str(pki / "api.key"))
    return context


async def _listen(runner: web.AppRunner, context: ssl.SSLContext, wanted: int) -> int:
    for port in (wanted, 0):
        site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=context, shutdown_timeout=0.5)
        try:
            await site.start()
        except OSError:
            if not port:
                raise
            LOG.warning("port %s is taken, choosing another", port)
            continue
        server = site._server
        assert isinstance(server, asyncio.Server)
        return int(server.sockets[0].getsockname()[1])
    raise RuntimeError("no port")


async def serve(state: Path, speed: float) -> None:
    """Run until SIGTERM or SIGINT, then save."""
    address = state / "kube" / "address.json"
    api = ApiServer(state, speed)
    api.start()
    runner = web.AppRunner(
        api.application(), access_log=None, keepalive_timeout=3600, handler_cancellation=True
    )
    await runner.setup()
    port = await _listen(runner, _tls(state), read_address(address) or 0)
    api.address = f"127.0.0.1:{port}"
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    temporary = address.with_suffix(".tmp")
    temporary.write_text(json.dumps({"url": f"https://127.0.0.1:{port}", "pid": os.getpid()}))
    temporary.replace(address)
    LOG.info("serving on https://127.0.0.1:%s", port)
    background = [asyncio.create_task(api.store.keep_saving()), asyncio.create_task(api.expire_events())]
    await stop.wait()
    for task in background:
        task.cancel()
    api.stop()
    await runner.cleanup()
    api.audit.close()


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m opslib.sandbox.api", description=__doc__)
    parser.add_argument("--state", type=Path, required=True, help="state folder of the sandbox")
    parser.add_argument("--speed", type=float, default=20.0, help="how many times faster than real time")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    gc.set_threshold(50_000, 20, 20)  # many long-lived dictionaries: rare collections
    asyncio.run(serve(options.state, options.speed))


if __name__ == "__main__":
    main()

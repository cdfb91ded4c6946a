#!/usr/bin/env bash
# hypercorn 0.18.0 (PyPI): one request of a long HTTP/2 connection is carried out, and its answer is thrown away.
#
# keep_alive_max_requests is 1,000 if nobody sets it. A good guess is that hypercorn then does what nginx does: it sends GOAWAY, answers
# the requests that it has taken, and closes the connection. hypercorn 0.18.0 gives the request to the application and closes the
# HTTP/2 connection right after, so that the answer can no longer be sent.
#
# Seen: 1,100 POSTs, one after another, from one client. 1,099 are answered with 200, over 2 connections. Request 1,001 fails with
# ConnectionTerminated, error_code 1 (PROTOCOL_ERROR), last_stream_id 2001, which is its own stream. The application has seen it once.
#
# Why it matters to a proxy: a proxy puts the requests of many clients on one connection, so a busy site comes to request 1,001 all day.
# The proxy must not repeat that POST: GOAWAY's last stream ID covers it (RFC 9113 section 6.8), and it was in fact carried out.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
timeout -k 5 300 "$dir/venv/bin/pip" install --quiet --disable-pip-version-check 'hypercorn==0.18.0' 'httpx==0.28.1' 'h2==4.4.1'

cat >"$dir/try.py" <<'PY'
import asyncio
import socket
import sys
from collections import Counter

import httpx
from hypercorn.asyncio import serve
from hypercorn.config import Config

REQUESTS = 1100
seen = Counter()  # what the application was asked to do, by the request's path
peers = []  # the client's end of each connection, in order


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    while (await receive()).get("more_body"):
        pass
    seen[scope["path"]] += 1
    if scope["client"] not in peers:
        peers.append(scope["client"])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})


async def main():
    listener = socket.create_server(("127.0.0.1", 0))
    config = Config()
    config.bind = [f"fd://{listener.fileno()}"]
    config.errorlog = None
    over = asyncio.Event()
    server = asyncio.create_task(serve(application, config, shutdown_trigger=over.wait))

    answered, failed = 0, []
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with httpx.AsyncClient(http1=False, http2=True, base_url=url, timeout=10) as client:
        for n in range(1, REQUESTS + 1):
            try:
                answer = await client.post(f"/{n}", content=b"x")
                answered += answer.status_code == 200
            except httpx.TransportError as error:
                failed.append(n)
                print(f"request {n}: {error!r}")
                print(f"request {n}: the application has seen it {seen[f'/{n}']} time(s)")
    # hypercorn has left the first connection open, and asyncio reports at length that the end cancels it.
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    over.set()
    await asyncio.wait_for(server, 20)

    print(f"{REQUESTS} POSTs over {len(peers)} connections: {answered} answered with 200, {len(failed)} without an answer,"
          f" {sum(seen.values())} carried out")
    lost = [n for n in failed if seen[f"/{n}"] == 1]
    if not lost:
        sys.exit("changed: no request was carried out without an answer")
    print(f"as described: carried out, never answered: {lost}")


asyncio.run(main())
PY
timeout -k 5 120 "$dir/venv/bin/python" "$dir/try.py"

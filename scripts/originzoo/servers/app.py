"""The application for Python's servers: hands each request to the one at 127.0.0.1:APP, and its answer back."""

import asyncio
import os
import time

PORT = int(os.environ["APP"])
HOP = (b"connection", b"keep-alive", b"transfer-encoding", b"content-length", b"expect", b"upgrade", b"te")


def head(method, target, fields, body):
    lines = [b"%s %s HTTP/1.0" % (method, target)]
    lines += [b"%s: %s" % (k, v) for k, v in fields if k.lower() not in HOP]
    if body or any(k.lower() in (b"content-length", b"transfer-encoding") for k, _ in fields):
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def answer(lines):
    fields = [tuple(x.strip() for x in line.split(b":", 1)) for line in lines[1:] if line.strip()]
    return int(lines[0].split()[1]), [(k, v) for k, v in fields if k.lower() not in HOP or k.lower() == b"content-length"]


# ASGI, for uvicorn, hypercorn and granian.
async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["path"] == "/late":
        await asyncio.sleep(1)
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    target = scope.get("raw_path") or scope["path"].encode()
    if scope["query_string"]:
        target = target.split(b"?")[0] + b"?" + scope["query_string"]
    fields = [(k, v) for k, v in scope["headers"] if not k.startswith(b":")]
    reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
    try:
        writer.write(head(scope["method"].encode(), target, fields, body))
        await writer.drain()
        lines = []
        while (line := (await reader.readline()).strip()) or not lines:
            lines.append(line)
        status, fields = answer(lines)
        await send({"type": "http.response.start", "status": status, "headers": [(k.lower(), v) for k, v in fields]})
        while piece := await reader.read(65536):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    finally:
        writer.close()


# WSGI, for gunicorn.
def wsgi(environ, start_response):
    import http.client
    import socket

    if environ["PATH_INFO"] == "/late":
        time.sleep(1)
    body = environ["wsgi.input"].read()
    target = environ.get("RAW_URI") or environ["PATH_INFO"]
    fields = [(k[5:].replace("_", "-").encode(), v.encode("latin-1")) for k, v in environ.items() if k.startswith("HTTP_")]
    if environ.get("CONTENT_TYPE"):
        fields.append((b"Content-Type", environ["CONTENT_TYPE"].encode()))
    if environ.get("CONTENT_LENGTH"):
        fields.append((b"Content-Length", environ["CONTENT_LENGTH"].encode()))
    upstream = socket.create_connection(("127.0.0.1", PORT))
    upstream.sendall(head(environ["REQUEST_METHOD"].encode(), target.encode(), fields, body))
    file = upstream.makefile("rb")
    lines = []
    while (line := file.readline().strip()) or not lines:
        lines.append(line)
    status, fields = answer(lines)
    start_response("%d %s" % (status, http.client.responses.get(status, "-")), [(k.decode(), v.decode("latin-1")) for k, v in fields])

    def pieces():
        try:
            while piece := file.read1(65536):
                yield piece
        finally:
            file.close()
            upstream.close()

    return pieces()

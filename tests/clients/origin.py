"""A service behind keygate, on aiohttp: it echoes, sums up, streams in steps that the client allows one by one, and
speaks WebSocket. Says `listening on HOST:PORT` and serves until it is killed. Not for: breaking rules.
"""

import asyncio
import gzip
import json
import sys
import tempfile
from hashlib import sha256

from aiohttp import WSCloseCode, WSMsgType, web

from common import blocks, some

FILE_BYTES = 1_000_000
COMPRESSED = gzip.compress(b"compressed once, by the service\n" * 1000, mtime=0)

# What `/step/NAME` lets go on, and what became of requests that clients left.
steps: dict[str, asyncio.Queue] = {}
left: dict[str, asyncio.Event] = {}
closed: dict[str, asyncio.Future] = {}


def queue(name):
    return steps.setdefault(name, asyncio.Queue())


def fields(request):
    return [[name.decode("latin-1"), value.decode("latin-1")] for name, value in request.raw_headers]


async def echo(request):
    body = await request.read()
    seen = {
        "method": request.method,
        "target": request.raw_path,
        "fields": fields(request),
        "body_bytes": len(body),
        "body_sha256": sha256(body).hexdigest(),
    }
    return web.json_response(seen, headers={"x-echo": "1"})


async def total(request):
    """Reads to the end; how much it was."""
    count, digest = 0, sha256()
    async for piece in request.content.iter_any():
        count += len(piece)
        digest.update(piece)
    return web.json_response({"bytes": count, "sha256": digest.hexdigest(), "fields": fields(request)})


async def stream(request):
    """So many bytes, with a length or in chunks."""
    length = int(request.match_info["length"])
    answer = web.StreamResponse()
    if "chunked" not in request.query:
        answer.content_length = length
    await answer.prepare(request)
    for block in blocks(length):
        await answer.write(block)
    return answer


async def compressed(request):
    """As a service that compresses once and keeps it."""
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return web.Response(body=gzip.decompress(COMPRESSED), headers={"vary": "accept-encoding"})
    return web.Response(body=COMPRESSED, headers={"content-encoding": "gzip", "vary": "accept-encoding"})


async def duplex(request):
    """Sends each piece back as it comes."""
    answer = web.StreamResponse()
    await answer.prepare(request)
    async for piece in request.content.iter_any():
        await answer.write(piece)
    return answer


async def events(request):
    """Server-sent events, one byte at a time, each when the client has said that it has the one before."""
    answer = web.StreamResponse(headers={"content-type": "text/event-stream", "cache-control": "no-cache"})
    await answer.prepare(request)
    for byte in b"id: 1\ndata: one\n\n":
        await answer.write(bytes([byte]))
        await queue(request.match_info["name"]).get()
    return answer


async def step(request):
    queue(request.match_info["name"]).put_nowait(None)
    return web.Response()


async def never(request):
    """Begins an answer, and goes on only when the client has left."""
    name = request.match_info["name"]
    left[name] = asyncio.Event()
    answer = web.StreamResponse(headers={"content-type": "text/plain"})
    if "headless" not in request.query:
        await answer.prepare(request)
        await answer.write(b"begun\n")
    try:
        await asyncio.Event().wait()
    finally:
        left[name].set()


async def has(request):
    """Waits until the request of this name is here."""
    while request.match_info["name"] not in left:
        await asyncio.sleep(0.01)
    return web.Response()


async def was_left(request):
    """Waits until the request of this name was left."""
    name = request.match_info["name"]
    while name not in left:
        await asyncio.sleep(0.01)
    await left[name].wait()
    return web.Response()


async def broken(request):
    """Promises more than it sends."""
    answer = web.StreamResponse()
    if "chunked" not in request.query:
        answer.content_length = 1000
    await answer.prepare(request)
    await answer.write(b"half")
    request.transport.close()
    return answer


async def websocket(request):
    """Echoes messages, but for orders: `ping`, `close CODE REASON`, `ask` for the fields of the request."""
    socket = web.WebSocketResponse(protocols=["chat"], max_msg_size=0, autoping=True)
    await socket.prepare(request)
    ended = closed.setdefault(request.match_info["name"], asyncio.get_running_loop().create_future())
    try:
        async for message in socket:
            if message.type == WSMsgType.TEXT and message.data.startswith("close "):
                _, code, reason = message.data.split(" ", 2)
                await socket.close(code=int(code), message=reason.encode())
            elif message.type == WSMsgType.TEXT and message.data == "ping":
                await socket.ping(b"are you there")
            elif message.type == WSMsgType.TEXT and message.data == "ask":
                await socket.send_str(json.dumps(fields(request)))
            elif message.type == WSMsgType.TEXT:
                await socket.send_str(message.data)
            elif message.type == WSMsgType.BINARY:
                await socket.send_bytes(message.data)
    finally:
        # Also when this is cancelled, because nobody is left to talk to.
        if not ended.done():
            ended.set_result(socket.close_code or WSCloseCode.ABNORMAL_CLOSURE)
    return socket


async def websocket_closed(request):
    """With which code the WebSocket of this name was closed, once it is."""
    ended = closed.setdefault(request.match_info["name"], asyncio.get_running_loop().create_future())
    return web.json_response(int(await ended))


async def grpc_web(request):
    """As a gRPC-Web service answers: a message, then the trailers as a frame of the body."""
    body = await request.read()
    trailers = b"grpc-status:0\r\ngrpc-message:fine\r\n"
    answer = body + b"\x80" + len(trailers).to_bytes(4, "big") + trailers
    return web.Response(body=answer, headers={"content-type": request.headers["content-type"]})


async def main():
    with tempfile.NamedTemporaryFile() as file:
        file.write(some(FILE_BYTES))
        file.flush()

        async def ranges(_request):
            return web.FileResponse(file.name, headers={"content-type": "application/octet-stream"})

        app = web.Application(client_max_size=0)
        app.router.add_route("*", "/echo{rest:.*}", echo)
        app.router.add_route("*", "/sum{rest:.*}", total)
        app.router.add_get("/bytes/{length}", stream)
        app.router.add_get("/compressed", compressed)
        app.router.add_post("/duplex", duplex)
        app.router.add_get("/events/{name}", events)
        app.router.add_post("/step/{name}", step)
        app.router.add_get("/never/{name}", never)
        app.router.add_get("/has/never/{name}", has)
        app.router.add_get("/left/{name}", was_left)
        app.router.add_get("/broken", broken)
        app.router.add_get("/ws/{name}", websocket)
        app.router.add_get("/closed/{name}", websocket_closed)
        app.router.add_post("/grpc-web", grpc_web)
        app.router.add_get("/file", ranges)
        runner = web.AppRunner(app, handler_cancellation=True, keepalive_timeout=60)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        print(f"listening on {host}:{port}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))

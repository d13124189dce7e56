"""httpx, aiohttp and websockets through keygate: pools, streams both ways, time limits, server-sent events that come
byte by byte, and WebSockets to their last frame.
"""

import asyncio
import base64
import json
import ssl
import sys

import aiohttp
import httpx
import websockets
from websockets.asyncio.client import connect

from common import MIB, blocks, check, given, sha256_of

GIVEN = given()
TOKEN = GIVEN["token"]
KEY = {"x-api-key": TOKEN}
HTTP = f"http://{GIVEN['http']}"
WS = f"ws://{GIVEN['http']}"
# Some are started without.
HTTPS = f"https://{GIVEN['https']}" if "https" in GIVEN else None
TRUST = ssl.create_default_context(cafile=GIVEN.get("authority"))

GRPC_WEB_TRAILERS = b"\x80\x00\x00\x00\x22grpc-status:0\r\ngrpc-message:fine\r\n"


async def pieces(length):
    for block in blocks(length):
        yield block


def ways():
    """httpx in each version: a name, how it is made, and the version that it has to report."""
    yield "httpx h1", {"base_url": HTTP}, "HTTP/1.1"
    yield "httpx h2c", {"base_url": HTTP, "http1": False, "http2": True}, "HTTP/2"
    if HTTPS:
        # Each client brings its own context, because httpx writes into it what it offers.
        for http2, version in [(True, "HTTP/2"), (False, "HTTP/1.1")]:
            trust = ssl.create_default_context(cafile=GIVEN["authority"])
            yield f"httpx TLS {version}", {"base_url": HTTPS, "http2": http2, "verify": trust}, version


async def httpx_calls(name, settings, version):
    async with httpx.AsyncClient(headers=KEY, timeout=20, trust_env=False, **settings) as client:
        answer = await client.get("/echo", params={"a": "1 2"})
        check(f"{name}: version", answer.http_version, version)
        check(f"{name}: target", answer.json()["target"], "/echo?a=1+2")
        check(f"{name}: without a key", (await client.get("/echo", headers={"x-api-key": ""})).status_code, 401)
        answers = await asyncio.gather(*(client.get(f"/echo/{number}") for number in range(200)))
        check(f"{name}: many at once", {answer.status_code for answer in answers}, {200})
        targets = [answer.json()["target"] for answer in answers]
        check(f"{name}: to each its own", targets, [f"/echo/{number}" for number in range(200)])

        # With a length, and without.
        expected = sha256_of(blocks(9 * MIB + 1))
        answer = await client.post("/sum", content=pieces(9 * MIB + 1))
        check(f"{name}: streamed up", (answer.json()["bytes"], answer.json()["sha256"]), expected)
        answer = await client.post("/sum", content=b"".join(blocks(9 * MIB + 1)))
        check(f"{name}: sent up", (answer.json()["bytes"], answer.json()["sha256"]), expected)
        for path in ["/bytes/9437185", "/bytes/9437185?chunked"]:
            async with client.stream("GET", path) as answer:
                got = [piece async for piece in answer.aiter_raw()]
            check(f"{name}: streamed down, {path}", sha256_of(got), expected)
        for path in GIVEN.get("broken", ["/broken", "/broken?chunked"]):
            try:
                await client.get(path)
            except httpx.RemoteProtocolError:
                continue
            raise AssertionError(f"{name}: a cut answer looks whole: {path}")
        await httpx_gives_up(name, settings, client)
        check(f"{name}: still there", (await client.get("/echo")).status_code, 200)


async def httpx_gives_up(name, settings, client):
    """A client that has waited long enough is gone for the service as well. (One that speaks HTTP/2 has to close its
    connection for that: httpcore resets no stream.)"""
    for what, target in [("before the head", "headless"), ("within the answer", "head")]:
        left = f"{name} {what}".replace(" ", "-").replace("/", "")
        async with httpx.AsyncClient(headers=KEY, trust_env=False, **settings) as leaving:
            try:
                await leaving.get(f"/never/{left}?{target}", timeout=httpx.Timeout(20, read=0.3))
            except httpx.ReadTimeout:
                pass
            else:
                raise AssertionError(f"{name}: no time limit {what}")
        check(f"{name}: left {what}", (await client.get(f"/left/{left}")).status_code, 200)


async def httpx_duplex():
    """What is sent is answered before the rest is sent; httpx itself does not do both at once, so in halves."""
    reader, writer = await asyncio.open_connection(*GIVEN["http"].rsplit(":", 1))
    head = f"POST /duplex HTTP/1.1\r\nhost: a\r\nx-api-key: {TOKEN}\r\ntransfer-encoding: chunked\r\n\r\n"
    writer.write(head.encode() + b"3\r\none\r\n")
    seen = await asyncio.wait_for(reader.readuntil(b"one\r\n"), 10)
    check("both ways at once: the head came", seen.startswith(b"HTTP/1.1 200 "), True)
    writer.write(b"3\r\ntwo\r\n0\r\n\r\n")
    await asyncio.wait_for(reader.readuntil(b"two\r\n0\r\n\r\n"), 10)
    writer.close()


async def aiohttp_calls():
    for base in filter(None, [HTTP, HTTPS]):
        await aiohttp_calls_to(base)


async def aiohttp_calls_to(base):
    connector = aiohttp.TCPConnector(limit=4, ssl=TRUST)
    async with aiohttp.ClientSession(base, headers=KEY, connector=connector) as session:

        async def ask(number):
            async with session.get(f"/echo/{number}") as answer:
                return (await answer.json())["target"]

        targets = await asyncio.gather(*(ask(number) for number in range(400)))
        check("aiohttp: a pool", targets, [f"/echo/{number}" for number in range(400)])

        async with session.put("/sum", data=pieces(5 * MIB)) as answer:
            seen = await answer.json()
        check("aiohttp: chunked", (seen["bytes"], seen["sha256"]), sha256_of(blocks(5 * MIB)))
        async with session.put("/sum", data=b"x" * 100_000, expect100=True) as answer:
            check("aiohttp: after a 100", (await answer.json())["bytes"], 100_000)
        async with session.get("/compressed") as answer:
            check("aiohttp: compressed", len(await answer.read()), 32_000)
            check("aiohttp: compressed", answer.headers["content-encoding"], "gzip")

        async with session.get("/events/aiohttp") as answer:
            check("aiohttp: events", answer.content_type, "text/event-stream")
            for byte in b"id: 1\ndata: one\n\n":
                check("aiohttp: an event, byte by byte", await answer.content.readexactly(1), bytes([byte]))
                async with session.post("/step/aiohttp") as step:
                    check("aiohttp: the next one", step.status, 200)
            check("aiohttp: the end of events", await answer.content.read(), b"")

        async with session.ws_connect("/ws/aiohttp", autoping=False) as socket:
            await socket.send_str("text")
            check("aiohttp: WebSocket", (await socket.receive()).data, "text")
            await socket.ping(b"1")
            pong = await socket.receive()
            check("aiohttp: pong", (pong.type, bytes(pong.data)), (aiohttp.WSMsgType.PONG, b"1"))
            await socket.send_bytes(bytes(200_000))
            check("aiohttp: binary", (await socket.receive()).data, bytes(200_000))
        try:
            await session.ws_connect("/ws/aiohttp", headers={"x-api-key": "wrong"})
        except aiohttp.WSServerHandshakeError as error:
            check("aiohttp: a refused WebSocket", error.status, 401)
        else:
            raise AssertionError("aiohttp: a WebSocket with a wrong key")


async def closed_with(name):
    async with httpx.AsyncClient(headers=KEY, trust_env=False) as client:
        return (await client.get(f"{HTTP}/closed/{name}")).json()


async def websockets_calls():
    async with connect(f"{WS}/ws/echo", additional_headers=KEY, max_size=None) as socket:
        for message in ["one", b"two", "é" * 70_000, b"".join(blocks(8 * MIB + 7)), ""]:
            await socket.send(message)
            check("websockets: echo", await socket.recv(), message)
        # In fragments, which come back as one message.
        await socket.send(["frag", "men", "ted"])
        check("websockets: fragments", await socket.recv(), "fragmented")
        await asyncio.wait_for(await socket.ping(b"from the client"), 10)
        await socket.send("ping")  # the service pings; the pong is the library's
        await socket.send("after its ping")
        check("websockets: after a ping", await socket.recv(), "after its ping")
        for number in range(1000):
            await socket.send(str(number))
        back = [await socket.recv() for _ in range(1000)]
        check("websockets: in order", back, [str(number) for number in range(1000)])

    for code, reason in [(1000, "bye"), (1001, ""), (4001, "é" * 30)]:
        socket = await connect(f"{WS}/ws/client-{code}", additional_headers=KEY)
        await socket.close(code, reason)
        check("websockets: closed by the client", await closed_with(f"client-{code}"), code)
        socket = await connect(f"{WS}/ws/service-{code}", additional_headers=KEY)
        await socket.send(f"close {code} {reason}")
        await asyncio.wait_for(socket.wait_closed(), 10)
        check("websockets: closed by the service", (socket.close_code, socket.close_reason), (code, reason))

    socket = await connect(f"{WS}/ws/gone", additional_headers=KEY)
    await socket.send("there")
    check("websockets: there", await socket.recv(), "there")
    socket.transport.abort()
    check("websockets: a client that is gone", await closed_with("gone"), 1006)


async def half_closed():
    """A client that has said all, also by TCP, is still told what the service says about it."""
    socket = await connect(f"{WS}/ws/half", additional_headers=KEY)
    await socket.send("last words")
    await socket.send("close 4002 heard")
    socket.transport.write_eof()
    check("websockets: an answer to who has said all", await socket.recv(), "last words")
    await asyncio.wait_for(socket.wait_closed(), 10)
    check("websockets: closed to who has said all", (socket.close_code, socket.close_reason), (4002, "heard"))


async def websockets_sub_protocols():
    """What a browser can do: the key as a sub-protocol beside a real one."""
    encoded = base64.urlsafe_b64encode(TOKEN.encode()).rstrip(b"=").decode()
    secure = {"ssl": TRUST} if HTTPS else {}
    base = WS if not HTTPS else f"wss://{GIVEN['https']}"
    async with connect(f"{base}/ws/protocol", subprotocols=["chat", f"keygate.{encoded}"], **secure) as socket:
        check("sub-protocol: chosen", socket.subprotocol, "chat")
        await socket.send("ask")
        seen = [(name.lower(), value) for name, value in json.loads(await socket.recv())]
        offered = [value for name, value in seen if name == "sec-websocket-protocol"]
        check("sub-protocol: what the service saw", offered, ["chat"])
        check("sub-protocol: who it is", ("x-keygate-key-id", "k_good") in seen, True)
        check("sub-protocol: nothing else holds it", any(encoded in value for _, value in seen), False)
    for name, protocols in [
        ("twice", ["chat", f"keygate.{encoded}", f"keygate.{encoded}"]),
        ("not encoded", ["chat", f"keygate.{TOKEN}"]),
        ("none", ["chat"]),
    ]:
        try:
            await connect(f"{WS}/ws/refused", subprotocols=protocols)
        except websockets.InvalidStatus as error:
            check(f"sub-protocol: {name}", error.response.status_code, 401)
        else:
            raise AssertionError(f"sub-protocol: {name}: passed")


async def grpc_web_calls():
    """Bytes like others, until it is refused: then in the words of gRPC."""
    message = b"\x00\x00\x00\x00\x05hello"
    fields = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1", **KEY}
    for name, settings, version in ways():
        async with httpx.AsyncClient(trust_env=False, **settings) as client:
            answer = await client.post("/grpc-web", content=message, headers=fields)
            check(f"gRPC-Web, {name}", (answer.status_code, answer.http_version), (200, version))
            check(f"gRPC-Web, {name}: type", answer.headers["content-type"], "application/grpc-web+proto")
            check(f"gRPC-Web, {name}: body", answer.content, message + GRPC_WEB_TRAILERS)
            refused = await client.post("/grpc-web", content=message, headers={**fields, "x-api-key": "wrong"})
            told = (refused.status_code, refused.headers.get("grpc-status"), refused.content)
            check(f"gRPC-Web, {name}: refused", told, (200, "16", b""))
            check(f"gRPC-Web, {name}: why", "invalid_key" in refused.headers["grpc-message"], True)


async def httpx_all():
    for way in ways():
        await httpx_calls(*way)
    await httpx_duplex()


PARTS = {
    "httpx": httpx_all,
    "aiohttp": aiohttp_calls,
    "websockets": websockets_calls,
    "half-closed": half_closed,
    "gRPC-Web": grpc_web_calls,
    "sub-protocols": websockets_sub_protocols,
}


async def main():
    for part in GIVEN.get("parts", PARTS):
        await PARTS[part]()
        print(f"{part}: ok", flush=True)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))

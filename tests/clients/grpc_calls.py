"""gRPC through keygate with grpcio: the four kinds of calls, deadlines, cancelling, metadata and errors both ways,
refusals with the code that gRPC has for them, and a service that dies in the middle of an answer.
"""

import asyncio
import sys
from hashlib import sha256

import grpc
from grpc import aio

from common import MIB, check, given, some

GIVEN = given()
KEY = (("x-api-key", GIVEN["token"]),)
PATIENCE = 20
UNLIMITED = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    # A failure is to be seen, not tried again.
    ("grpc.enable_retries", 0),
]


class Caller:
    """The methods of the service on one channel."""

    def __init__(self, name, channel):
        self.name, self.channel = name, channel

    def _of(self, kind, method):
        return getattr(self.channel, kind)(f"/keygate.Test/{method}")

    def unary(self, method, request, **more):
        return self._of("unary_unary", method)(request, **{"metadata": KEY, "timeout": PATIENCE, **more})

    def stream(self, method, request, **more):
        return self._of("unary_stream", method)(request, **{"metadata": KEY, "timeout": PATIENCE, **more})

    def up(self, method, requests, **more):
        return self._of("stream_unary", method)(requests, **{"metadata": KEY, "timeout": PATIENCE, **more})

    def both(self, requests=None, **more):
        return self._of("stream_stream", "Both")(requests, **{"metadata": KEY, "timeout": PATIENCE, **more})

    def check(self, what, found, expected):
        check(f"{self.name}: {what}", found, expected)

    async def fails(self, what, call, *codes):
        """The error of a call, which must have one of these codes."""
        try:
            if isinstance(call, aio.UnaryUnaryCall):
                await call
            else:
                while await call.read() is not aio.EOF:
                    pass
        except aio.AioRpcError as error:
            self.check(f"{what}: {error.details()}", error.code() in codes, True)
            return error
        except asyncio.CancelledError:
            self.check(what, grpc.StatusCode.CANCELLED in codes, True)
            return None
        raise AssertionError(f"{self.name}: {what}: it went well")


async def all_kinds(caller):
    caller.check("unary", await caller.unary("Unary", b"hello"), b"hello")
    caller.check("an empty message", await caller.unary("Unary", b""), b"")
    big = some(16 * MIB)
    caller.check("16 MiB", await caller.unary("Unary", big) == big, True)
    got = [message async for message in caller.stream("Count", b"1000 100")]
    caller.check("messages down", [int.from_bytes(message[:4], "big") for message in got], list(range(1000)))
    got = [len(message) async for message in caller.stream("Count", b"20 1000000")]
    caller.check("large messages down", got, [1_000_000] * 20)

    async def messages():
        for number in range(200):
            yield number.to_bytes(4, "big") * 5000

    expected = sha256(b"".join([message async for message in messages()])).hexdigest()
    caller.check("messages up", await caller.up("Total", messages()), f"200 {expected}".encode())
    caller.check("no message up", await caller.up("Total", no_messages()), f"0 {sha256().hexdigest()}".encode())
    call = caller.both()
    for number in range(200):
        await call.write(str(number).encode())
        caller.check("both ways, in turns", await call.read(), str(number).encode())
    await call.done_writing()
    caller.check("both ways: the end", await call.read(), aio.EOF)
    caller.check("both ways: the status", await call.code(), grpc.StatusCode.OK)


async def no_messages():
    for message in []:
        yield message


async def tells_metadata(caller):
    sent = (("x-ask", "1, 2"), ("x-ask-bin", b"\x00\x01\xfe\xff"))
    call = caller.unary("Unary", b"", metadata=KEY + sent)
    first = dict(await call.initial_metadata())
    caller.check("metadata at first", (first["x-initial"], first["x-ask"]), ("first", "1, 2"))
    caller.check("binary metadata", first["x-ask-bin"], b"\x00\x01\xfe\xff")
    await call
    last = dict(await call.trailing_metadata())
    caller.check("metadata at last", (last["x-last"], last["x-last-bin"]), ("of all", bytes(range(256))))
    seen = (await caller.unary("Seen", b"")).decode()
    caller.check("the key does not go on", "x-api-key" in seen, False)
    caller.check("who it is", "x-keygate-key-id: 'k_good'" in seen, True)


async def tells_errors(caller):
    details = "no such thing: 100 % \u00e4\n\u2028"
    for method, call in [("Fail", caller.unary), ("FailLate", caller.stream)]:
        error = await caller.fails(method, call(method, f"NOT_FOUND {details}".encode()), grpc.StatusCode.NOT_FOUND)
        caller.check(f"{method}: details", error.details(), details)
        caller.check(f"{method}: trailers", dict(error.trailing_metadata())["x-why-bin"], b"\x00\xff")
    call = caller.stream("FailLate", b"ABORTED late")
    caller.check("before an error", [await call.read(), await call.read()], [b"one", b"two"])
    await caller.fails("an error behind messages", call, grpc.StatusCode.ABORTED)
    await caller.fails("no such method", caller.unary("Nothing", b""), grpc.StatusCode.UNIMPLEMENTED)


async def gives_up(caller):
    async def left(name):
        caller.check(f"{name}: the service knows", await caller.unary("Left", name.encode()), b"left")

    name = f"{caller.name}-deadline"
    call = caller.unary("HangSilently", name.encode(), timeout=0.5)
    await caller.fails("a deadline", call, grpc.StatusCode.DEADLINE_EXCEEDED)
    await left(name)
    name = f"{caller.name}-late-deadline"
    call = caller.stream("Hang", name.encode(), timeout=0.5)
    await caller.fails("a deadline within the answer", call, grpc.StatusCode.DEADLINE_EXCEEDED)
    await left(name)
    name = f"{caller.name}-cancel"
    call = caller.stream("Hang", name.encode())
    caller.check("it has begun", await call.read(), b"begun")
    call.cancel()
    await caller.fails("cancelled", call, grpc.StatusCode.CANCELLED)
    await left(name)
    caller.check("the channel goes on", await caller.unary("Unary", b"on"), b"on")


async def is_refused(caller):
    codes = grpc.StatusCode
    endless = caller.both
    for what, key, code in [
        ("no key", (), codes.UNAUTHENTICATED),
        ("a wrong key", (("x-api-key", "kg_nobody-has-this-one"),), codes.UNAUTHENTICATED),
        ("a key that may not", (("x-api-key", GIVEN["limited"]),), codes.PERMISSION_DENIED),
    ]:
        error = await caller.fails(what, caller.unary("Seen", b"", metadata=key), code)
        caller.check(f"{what}: it says why", len(error.details()) > 10, True)
        await caller.fails(f"{what}, 4 MiB", caller.unary("Seen", bytes(4 * MIB), metadata=key), code)
        await caller.fails(f"{what}, streamed", caller.stream("Count", b"1 10", metadata=key), code)
        call = endless(metadata=key)
        await caller.fails(f"{what}, while the client streams", call, code)
    limited = (("x-api-key", GIVEN["limited"]),)
    caller.check("a key that may", await caller.unary("Unary", b"1", metadata=limited), b"1")


async def does_many_at_once(caller):
    answers = await asyncio.gather(*(caller.unary("Unary", b"%d" % number) for number in range(300)))
    caller.check("unary, 300 at once", answers, [b"%d" % number for number in range(300)])
    calls = [caller.both() for _ in range(100)]
    for turn in range(3):
        await asyncio.gather(*(call.write(b"%d %d" % (turn, index)) for index, call in enumerate(calls)))
        answers = await asyncio.gather(*(call.read() for call in calls))
        caller.check("100 streams at once", answers, [b"%d %d" % (turn, index) for index in range(100)])
    await asyncio.gather(*(call.done_writing() for call in calls))
    codes = {await call.code() for call in calls}
    caller.check("100 streams end well", codes, {grpc.StatusCode.OK})


async def outlives_the_service(caller):
    """The last one: the service is gone after it."""
    broken = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL)
    call = caller.stream("Die", b"")
    caller.check("before it dies", await call.read(), b"last words")
    await caller.fails("it dies within an answer", call, *broken)
    error = await caller.fails("it is dead", caller.unary("Unary", b""), grpc.StatusCode.UNAVAILABLE)
    caller.check("it is dead: keygate says so", "upstream" in error.details().lower(), True)


def channels():
    yield "h2c", aio.insecure_channel(GIVEN["http"], options=UNLIMITED)
    with open(GIVEN["authority"], "rb") as authority:
        credentials = grpc.ssl_channel_credentials(authority.read())
    yield "TLS", aio.secure_channel(GIVEN["https"], credentials, options=UNLIMITED)
    # As libraries bring a token along that they hold for the whole channel.
    bearer = grpc.access_token_call_credentials(GIVEN["token"])
    credentials = grpc.composite_channel_credentials(credentials, bearer)
    yield "bearer", aio.secure_channel(GIVEN["https"], credentials, options=UNLIMITED)


async def main():
    for name, channel in channels():
        caller = Caller(name, channel)
        if name == "bearer":
            check("bearer", await caller.unary("Unary", b"1", metadata=()), b"1")
            await channel.close()
            continue
        for part in [all_kinds, tells_metadata, tells_errors, gives_up, is_refused, does_many_at_once]:
            await part(caller)
        await channel.close()
        print(f"{name}: ok", flush=True)
    async with aio.insecure_channel(GIVEN["http"], options=UNLIMITED) as channel:
        await outlives_the_service(Caller("h2c", channel))
    print("a dead service: ok", flush=True)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))

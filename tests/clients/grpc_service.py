"""A gRPC service on grpcio, over h2c, without generated code: messages are bytes. Says `listening on HOST:PORT`.
Not for: what is asked of it, which is `grpc_calls.py`.
"""

import asyncio
import os
import signal
from hashlib import sha256

import grpc
from grpc import aio

# Calls that never end, by name: set when the service has seen that nobody waits for them any more.
left: dict[str, asyncio.Event] = {}


def metadata(context):
    return {name: value for name, value in context.invocation_metadata()}


async def unary(request, context):
    """Sends back what it gets, and of its metadata what begins with x-."""
    seen = metadata(context)
    back = tuple((name, value) for name, value in seen.items() if name.startswith("x-ask"))
    await context.send_initial_metadata((("x-initial", "first"), *back))
    context.set_trailing_metadata((("x-last", "of all"), ("x-last-bin", bytes(range(256)))))
    return request


async def seen(_request, context):
    """What reached it, a line a field."""
    fields = [f"{name}: {value!r}" for name, value in context.invocation_metadata()]
    return "\n".join(fields).encode()


async def fail(request, context):
    code, details = request.decode().split(" ", 1)
    context.set_trailing_metadata((("x-why-bin", b"\x00\xff"),))
    await context.abort(getattr(grpc.StatusCode, code), details)


async def fail_late(request, context):
    yield b"one"
    yield b"two"
    await fail(request, context)


async def count(request, _context):
    """So many messages of so many bytes."""
    number, length = map(int, request.split())
    for index in range(number):
        yield index.to_bytes(4, "big") + bytes(length - 4)


async def total(requests, _context):
    messages, digest = 0, sha256()
    async for request in requests:
        messages += 1
        digest.update(request)
    return f"{messages} {digest.hexdigest()}".encode()


async def both(requests, _context):
    async for request in requests:
        yield request


async def hang(request, _context):
    """Sends one message, and never another one."""
    name = request.decode()
    left[name] = asyncio.Event()
    try:
        yield b"begun"
        await asyncio.Event().wait()
    finally:
        left[name].set()


async def hang_silently(request, context):
    async for _ in hang(request, context):
        pass


async def was_left(request, _context):
    """Waits until nobody waits for the call of this name."""
    name = request.decode()
    while name not in left:
        await asyncio.sleep(0.01)
    await left[name].wait()
    return b"left"


async def die(_request, _context):
    yield b"last words"
    # Once they are on their way.
    asyncio.get_running_loop().call_later(0.2, os.kill, os.getpid(), signal.SIGKILL)
    await asyncio.Event().wait()


async def main():
    server = aio.server(options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)])
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Seen": grpc.unary_unary_rpc_method_handler(seen),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "FailLate": grpc.unary_stream_rpc_method_handler(fail_late),
        "Count": grpc.unary_stream_rpc_method_handler(count),
        "Total": grpc.stream_unary_rpc_method_handler(total),
        "Both": grpc.stream_stream_rpc_method_handler(both),
        "Hang": grpc.unary_stream_rpc_method_handler(hang),
        "HangSilently": grpc.unary_unary_rpc_method_handler(hang_silently),
        "Left": grpc.unary_unary_rpc_method_handler(was_left),
        "Die": grpc.unary_stream_rpc_method_handler(die),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("keygate.Test", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"listening on 127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())

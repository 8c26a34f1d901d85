"""Run by labgrid's own Python: clients that acquire and release places of its coordinator, as JSON on standard output.

`python _labgrid_load.py HOST:PORT PLACES CLIENTS SECONDS`
"""

import asyncio
import json
import sys
import time

import grpc
from labgrid.remote.generated import labgrid_coordinator_pb2 as pb2
from labgrid.remote.generated import labgrid_coordinator_pb2_grpc as pb2_grpc


async def connect(address: str, name: str):
    """A client's session: its stream has to be open for the coordinator to know it."""
    # A connection of its own: the coordinator tells its clients apart by their ports.
    channel = grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
    stub = pb2_grpc.CoordinatorStub(channel)
    out: asyncio.Queue = asyncio.Queue()
    ready = asyncio.Event()

    async def messages():
        while True:
            yield await out.get()

    async def read() -> None:
        async for message in stub.ClientStream(messages()):
            if message.HasField("sync"):
                ready.set()

    hello = pb2.ClientInMessage()
    hello.startup.version = "26.0"
    hello.startup.name = name
    sync = pb2.ClientInMessage()
    sync.sync.id = 1
    out.put_nowait(hello)
    out.put_nowait(sync)
    task = asyncio.ensure_future(read())
    await asyncio.wait_for(ready.wait(), 30)
    return stub, channel, task


async def main() -> None:
    address, places, clients, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    sessions = [await connect(address, f"bench/{number}") for number in range(clients)]
    stub = sessions[0][0]
    known = {place.name for place in (await stub.GetPlaces(pb2.GetPlacesRequest())).places}
    for number in range(places):
        if f"p{number:04}" not in known:
            await stub.AddPlace(pb2.AddPlaceRequest(name=f"p{number:04}"))
    acquire: list[float] = []
    release: list[float] = []
    errors: list[str] = []
    began = time.perf_counter()

    async def client(number: int) -> None:
        own, place = sessions[number][0], f"p{number % places:04}"
        while time.perf_counter() - began < seconds:
            asked = time.perf_counter()
            try:
                await own.AcquirePlace(pb2.AcquirePlaceRequest(placename=place))
                acquired = time.perf_counter()
                await own.ReleasePlace(pb2.ReleasePlaceRequest(placename=place))
            except grpc.aio.AioRpcError as exc:
                errors.append(str(exc.details()))
                return
            acquire.append(acquired - asked)
            release.append(time.perf_counter() - acquired)

    await asyncio.gather(*(client(number) for number in range(clients)))
    elapsed = time.perf_counter() - began
    print(json.dumps({"acquire": acquire, "release": release, "elapsed": elapsed, "errors": errors[:3]}))
    for _, channel, task in sessions:
        task.cancel()
        await channel.close()


asyncio.run(main())

"""One connection to an accessibility bus: calls with a deadline, batches of calls, and the events of applications."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from dbus_fast import Message, MessageType, Variant
from dbus_fast.aio import MessageBus
from dbus_fast.errors import DBusError, InvalidAddressError

from devices.webdriver import WebDriverError

ACCESSIBLE = "org.a11y.atspi.Accessible"
ACTION = "org.a11y.atspi.Action"
CACHE = "org.a11y.atspi.Cache"
COLLECTION = "org.a11y.atspi.Collection"
COMPONENT = "org.a11y.atspi.Component"
EDITABLE_TEXT = "org.a11y.atspi.EditableText"
SELECTION = "org.a11y.atspi.Selection"
TEXT = "org.a11y.atspi.Text"
VALUE = "org.a11y.atspi.Value"
PROPERTIES = "org.freedesktop.DBus.Properties"

REGISTRY = "org.a11y.atspi.Registry"
ROOT_PATH = "/org/a11y/atspi/accessible/root"
CACHE_PATH = "/org/a11y/atspi/cache"
NULL_PATH = "/org/a11y/atspi/null"

EVENTS = ("object:state-changed", "object:property-change", "object:children-changed", "object:text-changed", "window:")

# Calls that may wait for their answers at once. dbus-fast hangs up when the socket's buffer is full, and it holds some
# 160 of our messages (212 992 bytes, the kernel's overhead of each counted) while the bus has no time to read them.
CALLS_IN_FLIGHT = 64

# What a peer answers for an object or a peer that is no longer there.
GONE = frozenset(
    {
        "org.freedesktop.DBus.Error.UnknownObject",
        "org.freedesktop.DBus.Error.ServiceUnknown",
        "org.freedesktop.DBus.Error.NameHasNoOwner",
        "org.freedesktop.DBus.Error.NoReply",
        "org.freedesktop.DBus.Error.Disconnected",
    }
)


class Ref(NamedTuple):
    """An accessible object: the bus name of its application and its path there."""

    bus: str
    path: str


class Call(NamedTuple):
    """One method call on an accessible object."""

    ref: Ref
    interface: str
    member: str
    signature: str = ""
    body: tuple[Any, ...] = ()


class AtspiError(Exception):
    """A call that the application answered with an error."""

    def __init__(self, call: Call, name: str, text: str) -> None:
        super().__init__(f"{call.interface}.{call.member} on {call.ref.path} of {call.ref.bus}: {name}: {text}")
        self.name = name

    @property
    def gone(self) -> bool:
        """Whether the object or its application is no longer there."""
        return self.name in GONE


class Event(NamedTuple):
    """A signal of an application: `kind` is the interface's last word and the member, "Object.StateChanged"."""

    ref: Ref
    kind: str
    body: list[Any]


Listener = Callable[[Event], None]


async def open_bus(address: str, what: str) -> MessageBus:
    """Connect to the D-Bus at `address`; raises "session not created" that names `what` when there is none."""
    try:
        return await MessageBus(bus_address=address).connect()
    except (OSError, InvalidAddressError, DBusError, EOFError) as error:
        raise WebDriverError("session not created", f"no D-Bus for {what} at {address}: {error}") from error


async def accessibility_address(session_bus: str) -> str:
    """The accessibility bus that belongs to a session bus; asking for it starts it.

    Raises WebDriverError("session not created") when the session has none (at-spi2-core is not installed).
    """
    bus = await open_bus(session_bus, "the desktop session")
    try:
        reply = await bus.call(
            Message(destination="org.a11y.Bus", path="/org/a11y/bus", interface="org.a11y.Bus", member="GetAddress")
        )
    finally:
        bus.disconnect()
    if reply is None or reply.message_type is MessageType.ERROR or not reply.body[0]:
        said = "nothing" if reply is None else f"{reply.error_name}: {reply.body}"
        raise WebDriverError(
            "session not created",
            f"the session bus {session_bus} has no accessibility bus ({said}); install at-spi2-core",
        )
    return str(reply.body[0])


class AtspiBus:
    """The accessibility bus of one desktop.

    Every call has `timeout_s` to be answered, else WebDriverError("timeout").
    """

    def __init__(self, bus: MessageBus, timeout_s: float) -> None:
        self._bus = bus
        self.timeout_s = timeout_s
        self._listeners: list[Listener] = []
        self._free = asyncio.Semaphore(CALLS_IN_FLIGHT)
        bus.add_message_handler(self._on_message)

    @classmethod
    async def connect(cls, address: str, timeout_s: float) -> AtspiBus:
        """Connect, ask for all events that keep a mirror right, and hear of applications that come and go."""
        self = cls(await open_bus(address, "accessibility"), timeout_s)
        daemon = Ref("org.freedesktop.DBus", "/org/freedesktop/DBus")
        rules = [
            "type='signal',interface='org.a11y.atspi.Event.Object'",
            "type='signal',interface='org.a11y.atspi.Event.Window'",
            "type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged'",
        ]
        await self.batch([Call(daemon, daemon.bus, "AddMatch", "s", (rule,)) for rule in rules])
        registry = Ref(REGISTRY, "/org/a11y/atspi/registry")
        await self.batch([Call(registry, REGISTRY, "RegisterEvent", "sass", (name, [], "")) for name in EVENTS])
        return self

    def close(self) -> None:
        """Hang up; the registry forgets what we asked for."""
        with suppress(OSError):
            self._bus.disconnect()

    def listen(self, listener: Listener) -> None:
        """Have every event delivered to `listener`, in the order of the wire."""
        self._listeners.append(listener)

    def _on_message(self, message: Message) -> None:
        if message.message_type is not MessageType.SIGNAL or message.interface is None:
            return
        kind = f"{message.interface.rsplit('.', 1)[-1]}.{message.member}"
        event = Event(Ref(message.sender or "", message.path or ""), kind, message.body)
        for listener in self._listeners:
            listener(event)

    async def call(self, ref: Ref, interface: str, member: str, signature: str = "", body: tuple[Any, ...] = ()) -> Any:
        """Call one method; its results as they stand in the reply, a single one bare.

        Raises AtspiError for an error reply and WebDriverError("timeout") when none comes in time.
        """
        (result,) = await self.batch([Call(ref, interface, member, signature, body)])
        if isinstance(result, AtspiError):
            raise result
        return result

    async def batch(self, calls: Sequence[Call]) -> list[Any]:
        """Send all calls without waiting in between, as many as the bus takes, and gather the replies in their order;
        an error reply stands as an AtspiError.
        """
        if not calls:
            return []
        try:
            async with asyncio.timeout(self.timeout_s):
                replies = await asyncio.gather(*(self._send(call) for call in calls))
        except TimeoutError:
            raise WebDriverError("timeout", self._silence(calls)) from None
        except (OSError, EOFError) as error:
            raise WebDriverError("no such window", f"the accessibility bus is gone: {error}") from error
        return [_result(call, reply) for call, reply in zip(calls, replies, strict=True)]

    async def _send(self, call: Call) -> Message | None:
        async with self._free:
            return await self._bus.call(_message(call))

    def _silence(self, calls: Sequence[Call]) -> str:
        first = calls[0]
        return (
            f"the application at {first.ref.bus} did not answer {first.interface}.{first.member} within "
            f"{self.timeout_s:g} s: it hangs or is very busy; end the session, or raise lab:commandTimeout"
        )

    async def property(self, ref: Ref, interface: str, name: str) -> Any:
        """Read one property; raises as `call` does."""
        return _bare(await self.call(ref, PROPERTIES, "Get", "ss", (interface, name)))

    async def set_property(self, ref: Ref, interface: str, name: str, value: Variant) -> None:
        """Write one property; raises as `call` does."""
        await self.call(ref, PROPERTIES, "Set", "ssv", (interface, name, value))

    async def applications(self) -> list[Ref]:
        """The root objects of all applications that are on the bus.

        Raises WebDriverError "no such window" when the desktop has ended, and with it the registry.
        """
        try:
            children = await self.call(Ref(REGISTRY, ROOT_PATH), ACCESSIBLE, "GetChildren")
        except AtspiError as error:
            raise WebDriverError("no such window", f"the desktop and its applications are gone: {error}") from error
        return [Ref(*child) for child in children]

    async def pid_of(self, bus_name: str) -> int | None:
        """The process behind a bus name; None when it is gone."""
        daemon = Ref("org.freedesktop.DBus", "/org/freedesktop/DBus")
        try:
            return int(await self.call(daemon, daemon.bus, "GetConnectionUnixProcessID", "s", (bus_name,)))
        except AtspiError:
            return None


def property_call(ref: Ref, interface: str, name: str) -> Call:
    """A call that reads one property, for a batch; unpack its result with `property_value`."""
    return Call(ref, PROPERTIES, "Get", "ss", (interface, name))


def property_value(result: Any, default: Any) -> Any:
    """What a `property_call` brought, or `default` for an error."""
    return default if isinstance(result, AtspiError) else _bare(result)


def states_of(words: Iterable[int]) -> int:
    """The 64-bit state set of its two 32-bit words, low one first."""
    low, high = words
    return low | high << 32


def _bare(value: Any) -> Any:
    return value.value if isinstance(value, Variant) else value


def _message(call: Call) -> Message:
    return Message(
        destination=call.ref.bus,
        path=call.ref.path,
        interface=call.interface,
        member=call.member,
        signature=call.signature,
        body=list(call.body),
    )


def _result(call: Call, reply: Message | None) -> Any:
    if reply is None:
        return None
    if reply.message_type is MessageType.ERROR:
        return AtspiError(call, reply.error_name or "error", " ".join(map(str, reply.body)))
    return reply.body[0] if len(reply.body) == 1 else reply.body

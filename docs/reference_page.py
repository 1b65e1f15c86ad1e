"""Makes ``reference.md`` from signatures and docstrings: ``python docs/reference_page.py``.

It needs Python 3.11, since older ones forget overloads, and every library that there is an adapter
for.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import typing_extensions

import thingspace_auth_adapters as package
from thingspace_auth_adapters import errors, httpx, requests, simulator, stores
from thingspace_auth_adapters.httpx import ThingspaceAuth as HttpxAuth
from thingspace_auth_adapters.requests import ThingspaceAuth as RequestsAuth

PUBLIC_MODULES = (requests, httpx, package, stores, simulator)
TARGET = Path(__file__).with_name("reference.md")
WIDTH = 120
# How adapters are built, which is no user's affair.
NOT_FOR_USERS = ("async_auth_flow", "sync_auth_flow")

TITLES = {
    "Args": "Arguments",
    "Attributes": "Attributes",
    "Returns": "Returns",
    "Raises": "Raises",
}
INTRODUCTION = """\
<!-- Made by docs/reference_page.py: do not edit. -->

# API reference

Every public name with its signature. [Fields, options and members](options.md) has them in tables.

"""
AUTH = """\
There is one class of this name for each library. They behave the same. They take the same
arguments, except `session` (requests) and `client_options` (httpx, httpx2).
`thingspace_auth_adapters.ThingspaceAuth` is the one for requests.
"""
HTTPX = """\
`thingspace_auth_adapters.httpx.ThingspaceAuth` has all members of the one for requests, and those
that follow here. `thingspace_auth_adapters.httpx2.ThingspaceAuth` is the same for httpx2.
"""
FIXTURE = """\
`thingspace_simulator` is there without an import: a running `ThingspaceSimulator` for one test, on
a free loopback port. The process's count of failed logins begins at zero, and is forgotten after
the test.
"""
TYPES = {
    "HasOauthCredentials": "a `ThingspaceOauthCredentials`, or any object with its getters, such as"
    " the official SDK's",
    "M2m": "a `VzM2mCredentials`, a session token as `str`, an object with the getter"
    " `vz_m2m_token` or `session_token`, or `None`",
    "OptionalToken": "an `OauthToken`, a mapping with its fields, any object with its attributes,"
    " or `None`",
    "OauthTokenProvider": "`provider(last_oauth_token, auth_manager)`, plain or `async def`, which"
    " returns an `OptionalToken`",
    "OauthOnTokenUpdate": "`callback(oauth_token)`, plain or `async def`",
    "Session": "a `requests.Session`",
    "SimulatedAdapter": "a `requests.adapters.HTTPAdapter`",
    "SimulatedHttpxTransport": "an `httpx.BaseTransport` and `httpx.AsyncBaseTransport`",
    "SimulatedHttpx2Transport": "an `httpx2.BaseTransport` and `httpx2.AsyncBaseTransport`",
    "Client": "a `redis.Redis` or a `redis.RedisCluster`",
    "Clock": "a function that returns seconds, such as `time.time`",
}
"""What names in signatures mean that cannot be imported from here."""

ENTRY = re.compile(r"(?s)([\w*, ]+?)(?: \((.*?)\))?: (.*)")
"""A name or several, a type, and what is said of them."""


class Part(NamedTuple):
    """A class on the page.

    Attributes:
        kind: the class.
        title: of its section.
        members: the names of its members that are shown.
    """

    kind: type
    title: str
    members: tuple[str, ...] = ()


def members_of(kind: type, without: type = object) -> tuple[str, ...]:
    """The public members of a class and of its bases here, in the order of the code."""
    ours = [one for one in reversed(kind.__mro__) if one.__module__.startswith(package.__name__)]
    names = dict.fromkeys(name for one in ours for name in vars(one) if is_documented(one, name))
    return tuple(name for name in names if not hasattr(without, name))


def is_documented(kind: type, name: str) -> bool:
    member = inspect.getattr_static(kind, name)
    is_code = isinstance(member, (property, classmethod)) or inspect.isfunction(member)
    return is_code and not name.startswith("_") and name not in NOT_FOR_USERS


def sections() -> Iterator[tuple[str, str, list[Part]]]:
    """The title, an introduction and the classes of each section."""
    yield "ThingspaceAuth", AUTH, [Part(RequestsAuth, "For requests", members_of(RequestsAuth))]
    its_own = ("from_environment", *members_of(HttpxAuth, RequestsAuth))
    yield "", "", [Part(HttpxAuth, "For httpx and httpx2", its_own)]
    credentials = (
        package.ThingspaceOauthCredentials,
        package.VzM2mCredentials,
        package.OauthToken,
        package.OauthScopeThingspaceOauthEnum,
    )
    yield "Credentials and tokens", "", [plain(one) for one in credentials]
    yield "Events", "", [plain(package.AuthEvent)]
    yield (
        "Errors",
        "[Errors](errors.md) says what to do for each.\n",
        [
            Part(one, one.__name__)
            for one in vars(errors).values()
            if isinstance(one, type) and issubclass(one, errors.ThingspaceAuthError)
        ],
    )
    ready_made = (stores.FileTokenStore, stores.RedisTokenStore)
    ports = (stores.TokenStore, stores.StoreBusy, stores.StoreUnavailable)
    yield (
        "Stores",
        "They are in `thingspace_auth_adapters.stores`.\n",
        [
            *(Part(one, one.__name__, members_of(one, stores.TokenStore)) for one in ready_made),
            *(plain(one) for one in ports),
        ],
    )
    yield (
        "Simulator",
        "It is in `thingspace_auth_adapters.simulator`.\n",
        [
            plain(simulator.ThingspaceSimulator),
            plain(simulator.SimulatedRequest),
        ],
    )


def public_name(kind: type) -> str:
    """Where users import a class from."""
    name = kind.__name__
    return next(
        f"{one.__name__}.{name}" for one in PUBLIC_MODULES if getattr(one, name, None) is kind
    )


def plain(kind: type) -> Part:
    """A class with the members that its own code has."""
    names = tuple(name for name in vars(kind) if is_documented(kind, name))
    return Part(kind, kind.__name__, names)


# Signatures.


def signatures(name: str, function: Any, result: str | None = None) -> Iterator[str]:
    """The ways to call a function; ``result`` is what it returns, if not what it says."""
    ways = typing_extensions.get_overloads(function) or [function]
    for way in ways:
        # An overload of a class method is a class method.
        signature = inspect.signature(getattr(way, "__func__", way))
        parameters = list(signature.parameters.values())
        is_bound = parameters[:1] and parameters[0].name in ("self", "cls", "_cls")
        shown = listed(parameters[1:] if is_bound else parameters, function)
        owner = getattr(way, "__func__", way).__qualname__.partition(".")[0]
        returned = result or type_text(signature.return_annotation, owner)
        yield f"{name}({shown}) -> {returned}"


def listed(parameters: list[inspect.Parameter], function: Any) -> str:
    """Parameters in one line, or one a line."""
    if not parameters:
        return ""
    texts, has_star = [], False
    for one in parameters:
        if one.kind is one.KEYWORD_ONLY and not has_star:
            texts.append("*")
            has_star = True
        texts.append(parameter_text(one, function))
    if len(texts) < 3:
        return ", ".join(texts)
    return "\n" + "".join(f"    {text},\n" for text in texts)


def parameter_text(one: inspect.Parameter, function: Any) -> str:
    stars = "**" if one.kind is one.VAR_KEYWORD else ""
    text = f"{stars}{one.name}: {type_text(one.annotation)}"
    return text if one.default is one.empty else f"{text} = {default_text(one, function)}"


def type_text(annotation: Any, owner: str = "") -> str:
    """A type as the code has it; a type variable for ``self`` is the class that owns the method.

    Raises:
        ValueError: there is none.
    """
    if annotation is inspect.Parameter.empty:
        raise ValueError("a public signature lacks a type")
    text = getattr(annotation, "__forward_arg__", annotation)
    return re.sub(r"\b([A-Z]|Self)\b", owner, str(text)) if owner else str(text)


def default_text(one: inspect.Parameter, function: Any) -> str:
    """A default.

    Raises:
        ValueError: the code hides it.
    """
    default = one.default
    if default is ...:
        raise ValueError(f"{function.__qualname__} hides the default of {one.name}")
    if inspect.isroutine(default):
        return f"{default.__module__}.{default.__name__}"
    return repr(default).replace("'", '"')


# What is said of them.


def entry(part: Part) -> Iterator[str]:
    """The section of a class."""
    kind = part.kind
    yield f"### {part.title}\n"
    yield described_object("exception" if issubclass(kind, BaseException) else "class", kind)
    yield HTTPX if kind is HttpxAuth else ""
    is_plain = issubclass(kind, (BaseException, Enum)) or inspect.isabstract(kind)
    bases = ", ".join(one.__name__ for one in kind.__bases__)
    head = [f"class {kind.__name__}({bases})"]
    constructor = inspect.getattr_static(kind, "__new__" if issubclass(kind, tuple) else "__init__")
    yield from code(head if is_plain else signatures(kind.__name__, constructor, kind.__name__))
    yield from described(inspect.getdoc(kind) or "")
    if issubclass(kind, Enum):
        yield "Its members are in [a table](options.md#scopes).\n"
    for name in part.members:
        yield from member(kind, name)


def member(kind: type, name: str) -> Iterator[str]:
    """The section of a member."""
    found = inspect.getattr_static(kind, name)
    yield f"#### {name}\n"
    yield described_object("property" if isinstance(found, property) else "method", kind, name)
    if isinstance(found, property):
        yield from code([property_text(name, found)])
    elif isinstance(found, classmethod):
        yield from code(signatures(f"{kind.__name__}.{name}", found.__func__))
    else:
        start = "async def" if inspect.iscoroutinefunction(found) else "def"
        yield from code(signatures(f"{start} {name}", found))
    yield from described(inspect.getdoc(getattr(kind, name)) or "")


def described_object(what: str, kind: type, *member_name: str) -> str:
    """What ``conf.py`` makes an entry in the site's inventory of, and a forge does not show."""
    return f"<!-- py:{what} {'.'.join((public_name(kind), *member_name))} -->\n"


def property_text(name: str, found: property) -> str:
    getter: Any = found.fget
    text = f"{name}: {type_text(inspect.signature(getter).return_annotation)}"
    if found.fset is None:
        return f"{text}  # cannot be assigned"
    _, value = inspect.signature(found.fset).parameters.values()
    taken = type_text(value.annotation)
    return f"{text}  # assignable: {taken}"


def code(lines: Any) -> Iterator[str]:
    yield "\n".join(["```py", *lines, "```"]) + "\n"


def described(docstring: str) -> Iterator[str]:
    """A docstring as Markdown."""
    pieces = re.split(rf"^({'|'.join(TITLES)}):\n", docstring, flags=re.MULTILINE)
    yield from paragraphs(pieces[0])
    for title, piece in zip(pieces[1::2], pieces[2::2]):
        # What follows a list without indentation is prose again.
        listed_part, *rest = re.split(r"\n\n(?=\S)", piece, maxsplit=1)
        yield f"**{TITLES[title]}:**\n"
        content = textwrap.dedent(listed_part)
        yield from paragraphs(content) if title == "Returns" else items(content)
        yield from paragraphs("\n\n".join(rest))


def paragraphs(text: str) -> Iterator[str]:
    for block in re.split(r"\n\s*\n", text.strip()):
        bullets = re.split(r"^- ", block, flags=re.MULTILINE)[1:]
        if bullets:
            yield "\n".join(wrapped(one, "- ") for one in bullets) + "\n"
        elif block:
            yield wrapped(block) + "\n"


def items(text: str) -> Iterator[str]:
    """The entries of a list of arguments, attributes or errors."""
    lines = [line for one in re.split(r"\n(?=\S)", text.strip()) for line in item(one)]
    yield re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def item(text: str) -> Iterator[str]:
    """One of these; a list within it is indented."""
    found = ENTRY.fullmatch(text)
    if found is None:
        raise ValueError(f"a docstring has an entry without a name: {text}")
    names = ", ".join(f"`{name}`" for name in found[1].split(", "))
    kind = f" (`{found[2]}`)" if found[2] else ""
    first, *others = re.split(r"\n\s*\n", textwrap.dedent(f"    {found[3]}"))
    yield wrapped(f"{names}{kind}: {first}", "- ")
    for other in others:
        yield "\n" + textwrap.indent("\n".join(paragraphs(other)), "  ")


def wrapped(text: str, start: str = "") -> str:
    marked = re.sub(r":meth:`[.~]?([\w.]+)`", r"`\1()`", re.sub(r"``", "`", text))
    marked = re.sub(r":\w+:`[.~]?([\w.]+)`", r"`\1`", marked)
    return textwrap.fill(
        " ".join(marked.split()),
        WIDTH,
        initial_indent=start,
        subsequent_indent=" " * len(start),
        break_long_words=False,
        break_on_hyphens=False,
    )


def page() -> str:
    lines = [INTRODUCTION]
    for title, introduction, parts in sections():
        lines += [f"## {title}\n", introduction] if title else []
        lines += (line for part in parts for line in entry(part))
    lines += ["### The pytest fixture\n", FIXTURE, "## Names in signatures\n"]
    lines += ["| name | what may be given |", "| --- | --- |"]
    lines += [f"| `{name}` | {meaning} |" for name, meaning in TYPES.items()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")

"""What every adapter's ``ThingspaceAuth`` is: the object that callbacks get as ``auth_manager``."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Callable, ClassVar, TypeVar, cast

from .._core.cached_token import CachedToken
from .._core.callbacks import CallbackRaised
from .._core.clock import Clock
from .._core.endpoint import Transport
from .._core.refresh import Failed
from .._core.tokens import Sources, Tokens
from .._model.checks import Hidden, naming, variable
from .._model.credentials import ThingspaceOauthCredentials
from .._model.settings import Settings, one_source
from .._model.tokens import OauthToken, OptionalToken, as_token
from .._wire.messages import LOGIN_PATH, TOKEN_PATH
from .._wire.rejection import Credential
from ..errors import ThingspaceAuthError
from .case import Case, Outgoing, lower, to_answer, to_url
from .life import Life

if TYPE_CHECKING:
    from .._model.m2m import M2m
    from ..stores.token_store import TokenStore

T = TypeVar("T")
A = TypeVar("A", bound="ThingspaceAuth")

ErrorTypes = Mapping[type[ThingspaceAuthError], type[ThingspaceAuthError]]

_PARTS = ("_clock", "_hook", "_life", "_m2m", "_settings", "_store", "_tokens", "_transport")
"""What a copy makes anew. Everything else is a subclass', and is copied as it is."""


class ThingspaceAuth(ABC):
    """The common part of the adapters' ``ThingspaceAuth`` classes."""

    _error_types: ClassVar[ErrorTypes]
    """The library's own subclass of each of our errors."""

    _for_calls: ClassVar[str]
    """The option that says how the endpoints are called with the library."""

    def __init__(
        self,
        thingspace_oauth_credentials: object = None,
        *others: object,
        base_url: str = "https://thingspace.verizon.com",
        allowed_hosts: Iterable[str] | None = None,
        timeout: float = 30.0,
        m2m: M2m = None,
        store: TokenStore | None = None,
        **fields: object,
    ) -> None:
        credentials = one_source((thingspace_oauth_credentials, *others), fields, self._for_calls)
        self._set_up(Settings(credentials, base_url, allowed_hosts, timeout), m2m, store)

    def _set_up(self, settings: Settings, m2m: M2m, store: TokenStore | None) -> None:
        if store is not None:
            from ..stores.token_store import check_store

            check_store(store)
        self._settings = settings
        self._store = store
        self._clock = Clock()
        self._transport = self._new_transport()
        self._tokens = Tokens(settings, self, self._transport, self._clock, store)
        self._life = Life(settings, self._tokens)
        self._use_account(m2m)

    @classmethod
    def _from_environment(cls: type[A], base_url: str | None, m2m: M2m, **options: Any) -> A:
        from .._model.m2m import VARIABLES, VzM2mCredentials

        if m2m is None and any(variable(name) for name in VARIABLES):
            m2m = VzM2mCredentials.from_environment()
        base_url = variable("THINGSPACE_BASE_URL") if base_url is None else base_url
        if base_url is not None:
            options["base_url"] = base_url
        return cls(ThingspaceOauthCredentials.from_environment(), m2m=m2m, **options)

    @property
    def base_url(self) -> str:
        """Where the platform lives. Raises ``AttributeError`` if it is assigned."""
        return self._settings.base_url

    @property
    def allowed_hosts(self) -> tuple[str, ...]:
        """The only hosts that are sent a token. Raises ``AttributeError`` if it is assigned."""
        return self._settings.allowed_hosts.texts

    @property
    def timeout(self) -> float:
        """Seconds for one call of an endpoint. Raises ``AttributeError`` if it is assigned."""
        return self._settings.timeout

    @naming()
    def __setattr__(self, name: str, value: object) -> None:
        if name in ("allowed_hosts", "base_url", "timeout"):
            # This frame is in the traceback.
            del value
            raise AttributeError(
                f"{name} of a ThingspaceAuth cannot be changed: make a new one with {name}=…"
            )
        super().__setattr__(name, value)

    @property
    def oauth_token(self) -> OauthToken | None:
        """The current token, ``None`` before the first fetch.

        Assignable, with all that counts as a token: an :class:`OauthToken`, a dict, an object
        with its attributes; ``None`` forgets. Takes effect on the next request.

        Raises:
            TypeError, ValueError: the assigned value is no usable token.
        """
        self._run(TOKEN_PATH, self._tokens.adopt)
        current = self._tokens.bearers.current
        return None if current is None else current.value

    @oauth_token.setter
    @naming("ThingspaceAuth")
    def oauth_token(self, oauth_token: OptionalToken) -> None:
        token = as_token(oauth_token, "oauth_token")
        self._run(TOKEN_PATH, self._tokens.adopt)
        self._tokens.assign(token)

    @property
    def m2m(self) -> M2m:
        """What was given for the M2M session, ``None`` if requests carry no session token.

        Assignable, with a :class:`VzM2mCredentials`, a session token, an object with the getter
        ``vz_m2m_token`` or ``session_token``, or ``None``. Takes effect on the next request.
        Failed logins are counted for each account, so assigning the same one again does not reset
        its count.

        Raises:
            TypeError, ValueError: the assigned value is nothing of the kind.
        """
        return self._m2m

    @m2m.setter
    @naming("ThingspaceAuth")
    def m2m(self, m2m: M2m) -> None:
        self._use_account(m2m)

    def _use_account(self, m2m: M2m) -> None:
        credentials = None
        if m2m is not None:
            # Imported here so that those who use no session need not wait for it.
            from .._model.m2m import as_m2m_credentials

            credentials = as_m2m_credentials(m2m)
        self._tokens.open_sessions(credentials)
        # The targets last: requests that look them up see the whole change.
        self._m2m = m2m
        self._life.forget_targets()

    @naming("ThingspaceAuth")
    def is_token_expired(self, oauth_token: OptionalToken = None) -> bool:
        """Whether a token is past its ``expiry - oauth_clock_skew``, as in the official SDK.

        Args:
            oauth_token: the token in question; by default the current one.

        Returns:
            ``True`` also if there is none; ``False`` for a token without ``expiry``.

        Raises:
            TypeError, ValueError: the given value is no token.
        """
        self._run(TOKEN_PATH, self._tokens.adopt)
        return self._tokens.is_expired(as_token(oauth_token, "oauth_token"))

    def fetch_token(self, additional_params: Mapping[str, str] | None = None) -> OauthToken:
        """Ask the token endpoint for a token now. Installs nothing: the caller decides.

        Args:
            additional_params: further form fields of the token request.

        Returns:
            The token, with ``expiry`` set if the endpoint told ``expires_in``.

        Raises:
            OauthProviderError: the endpoint refused.
            InvalidTokenResponseError: it answered something that is no usable token.
            Exception: the HTTP library's own, if no answer came.
        """
        params = Hidden(additional_params)
        # This frame is in the traceback of an error.
        del additional_params
        return self._for_user("afetch_token", TOKEN_PATH, self._tokens.fetch, params)

    def revoke_token(self) -> None:
        """Revoke the current token at the server and forget it (RFC 7009).

        Every process that uses the same key shares that token, and loses it. If revoking fails
        the token is kept. Without a token this does nothing.

        Raises:
            OauthProviderError: the endpoint refused.
            Exception: the HTTP library's own, if no answer came.
        """
        self._for_user("arevoke_token", TOKEN_PATH, self._tokens.revoke)

    def headers(self, url: str) -> dict[str, str]:
        """The headers that a request to this URL carries, fetched first if need be.

        For clients that have no adapter here. Empty for a host that is not allowed.

        Raises:
            ValueError: the URL has no scheme or no host.
            InsecureTransportError: the URL is that of an allowed host, over plain http.
            ThingspaceAuthError: no token or no session is to be had.
            Exception: the HTTP library's own, if an endpoint cannot be reached.
        """
        headers: dict[str, str] = {}
        self._for_user("aheaders", TOKEN_PATH, self._prepare, to_url(url, headers))
        return headers

    def recover(
        self,
        url: str,
        sent_headers: Mapping[str, str],
        method: str,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
    ) -> dict[str, str] | None:
        """Renew what an answer rejects; the other half of :meth:`headers`.

        Args:
            url: of the request.
            sent_headers: that the request carried.
            method: of the request.
            status: of the answer.
            headers: of the answer.
            body: of the answer, without content encoding. An error's first 64 KiB are enough.

        Returns:
            Our headers to repeat the request with, or ``None`` if the answer is to be kept.
            Repeat a request once for each of them at most.

        Raises:
            TypeError: an argument is of the wrong type; the message names it.
            ValueError: the URL has no scheme or no host.
            Exception: what ``oauth_on_token_update`` raised.
        """
        try:
            sent = to_url(url, lower("sent_headers", sent_headers), method)
        finally:
            # This frame is in the traceback of an error.
            del sent_headers
        answer = to_answer(status, headers, body)
        renewed: dict[str, str] | None = self._for_user(
            "arecover", TOKEN_PATH, self._recovered, sent, set(), None, *answer
        )
        return renewed

    def fetch_vz_m2m_token(self) -> str:
        """Log in to ThingSpace's M2M session service now. Installs nothing: the caller decides.

        Returns:
            The session token.

        Raises:
            M2mLoginError: the login was refused, or none is risked any more.
            OauthProviderError, InvalidTokenResponseError: there is no bearer to log in with.
            ValueError: there is no ``m2m``.
            Exception: the HTTP library's own, if no answer came.
        """
        return self._for_user("afetch_vz_m2m_token", LOGIN_PATH, self._tokens.fetch_session)

    def end_m2m_session(self) -> None:
        """Log out and forget the session. Without one this does nothing.

        If the logout fails the session is kept.

        Raises:
            M2mLoginError: the logout was refused.
            Exception: the HTTP library's own, if no answer came.
        """
        self._for_user("aend_m2m_session", LOGIN_PATH, self._tokens.end_session)

    def allow_login(self) -> None:
        """Forget the failed logins of the account, in this process and in the store.

        Correct the credentials first: five failed logins in a row lock the account.

        Raises:
            StoreUnavailable: the store cannot be reached.
            InsecureStoreError: it cannot be trusted.
        """
        self._for_user("aallow_login", LOGIN_PATH, self._tokens.allow_login)

    def __getstate__(self) -> dict[str, Any]:
        others = {name: value for name, value in vars(self).items() if name not in _PARTS}
        sessions = self._tokens.sessions
        session = None if sessions is None else sessions.current
        # Each copy has times of its own.
        tokens = copy.copy(self._tokens.bearers.current), copy.copy(session)
        parts = self._settings, self._m2m, self._store
        return {"others": others, "parts": parts, "tokens": tokens}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state["others"])
        self._set_up(*state["parts"])
        bearer, session = state["tokens"]
        self._tokens.bearers.assign(bearer)
        if self._tokens.sessions is not None:
            self._tokens.sessions.assign(session)

    def __deepcopy__(self: A, memo: object) -> A:
        """A copy that shares what the user gave."""
        return copy.copy(self)

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__qualname__} for {self._settings.base_url}>"

    # What adapters build on.

    @abstractmethod
    def _outgoing(self, request: Any) -> Outgoing:
        """The library's request as the life of a request sees it."""

    @abstractmethod
    def _again(self, response: Any, headers: Mapping[str, str]) -> Any:
        """What repeats a rejected request, or ``None`` if its body cannot be sent again."""

    @abstractmethod
    def _endpoint_request(self, path: str) -> object:
        """A request of the library's that stands for a call of this endpoint in errors."""

    @abstractmethod
    def _new_transport(self) -> Transport:
        """What calls endpoints, and reads responses, with the library."""

    def _prepare(self, outgoing: Outgoing) -> Sources:
        """Put the tokens on a request, acquired first if need be; the result is what it carries."""
        sources = self._life.sources(outgoing)
        self._tokens.adopt()
        self._life.put(outgoing, sources, self._tokens.acquire(sources))
        return sources

    def _repetition(
        self, response: Any, spent: set[Credential], read: Callable[[Any], bytes | None]
    ) -> Any:
        """What repeats a request whose token was rejected, and is renewed here, if it may be.

        Args:
            response: the answer to it.
            spent: what it was repeated for before; what it is now is added.
            read: reads the answer's body; ``None`` if it is too long.
        """
        sent, status_code = self._outgoing(response.request), response.status_code
        if not self._life.may_be_rejected(sent, status_code, spent):
            return None
        answer = status_code, response.headers, read(response)
        return self._recovered(sent, spent, response, *answer)

    def _recovered(
        self, sent: Outgoing, spent: set[Credential], response: Any, *answer: Any
    ) -> Any:
        """The same for an answer of which no response is at hand: the headers alone."""
        case = self._life.case(sent, *answer, spent=spent)
        if case is None:
            return None
        other = self._other(case)
        suspected = None if case.is_certain else self._life.other_case(case, other)
        if suspected is not None:
            case, other = suspected, self._other(suspected)
        return self._repeated(response, case, other, spent)

    def _other(self, case: Case) -> CachedToken[Any] | Failed | None:
        """What comes of asking for another token than the rejected one, if that may help."""
        caller = self._tokens.caller()
        try:
            is_worth_it = case.may_be_replaced(caller)
            return case.lifecycle.acquire(caller) if is_worth_it else None
        except Failed as failure:
            return failure

    def _repeated(
        self, response: Any, case: Case, other: CachedToken[Any] | Failed | None, spent: Any
    ) -> Any:
        headers = self._life.renewed(case, other)
        if headers is None:
            return None
        again = headers if response is None else self._again(response, headers)
        case.log_repeat("its body cannot be sent again" if again is None else None)
        spent.add(case.credential)
        return again

    def _run(self, request: object, function: Callable[..., T], *args: Any) -> T:
        """Call a function on behalf of a request, or of an endpoint's path."""
        try:
            return function(*args)
        except BaseException as error:
            failure = self._shown(error, request)
        try:
            raise failure
        finally:
            del failure

    def _for_user(self, async_name: str, path: str, function: Callable[..., T], *args: Any) -> T:
        """Call a function for the user's own code; ``async_name`` is the awaitable way."""
        return self._run(path, function, *args)

    def _shown(self, error: BaseException, request: object) -> BaseException:
        """What the caller gets: the library's own error, or the same one without our frames."""
        if isinstance(error, CallbackRaised):
            return error.error
        if isinstance(error, (Failed, ThingspaceAuthError)):
            return self._native(error.error if isinstance(error, Failed) else error, request)
        # The library's frames hold what it was to send, and so do those of its own errors.
        error.__cause__ = error.__context__ = None
        return error.with_traceback(None)

    def _native(self, error: Exception, request: object) -> Exception:
        native_type = self._error_types.get(cast("type[ThingspaceAuthError]", type(error)))
        if native_type is None:
            return error
        native: Any = native_type(*error.args)
        vars(native).update(vars(error))
        native.request = self._endpoint_request(request) if isinstance(request, str) else request
        return cast("Exception", native)

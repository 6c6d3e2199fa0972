"""The checks that tell whether an endpoint can be used at all: is it there, is it the right path, does it take the key.

Rule: rows of `table`, each a function of the session. The most specific check that was asked for reports a fault.
"""

from difflib import get_close_matches
from typing import Final

from msgspec.structs import replace

from caller.api_facts import FACTS
from caller.custom_llm.check import probes, urls
from caller.custom_llm.check.exchange import Answer
from caller.custom_llm.check.finding import (
    UNREACHED,
    Finding,
    blamed,
    failed,
    failed_with,
    passed,
    skipped,
    warned,
)
from caller.custom_llm.check.session import GIVE_MODEL, KEY_NAMES, Listed, Session, no_model
from caller.errors import (
    CallerError,
    EndpointForbidden,
    EndpointUnauthenticated,
    NotSupportedByApi,
    TotalTimeout,
)
from caller.events import FinishReason
from caller.remedies import remedy_of
from caller.verification import Model

_MAX_NAMED = 5
# Never a key: long enough to look like one, and plain in the endpoint's log.
WRONG_KEY: Final = "integration-api-check-with-a-wrong-key"
_PLACEHOLDERS: Final = ("your_api_key", "your-api-key", "<key>", "<your", "…", "changeme", "api_key_here", "sk-xxx")


async def credential(session: Session) -> Finding:
    """What was given, as far as it can be judged without a request."""
    headers = session.credential.headers
    summary = f"{session.api.value}, {len(headers)} {'header' if len(headers) == 1 else 'headers'}"
    values = {name.lower(): value for name, value in headers.items() if name.lower() in KEY_NAMES}
    if any(word in value.lower() for value in values.values() for word in _PLACEHOLDERS):
        return failed(f"{summary}; the key is a placeholder", "put the real key in its place")
    authorization = values.get("authorization", "")
    if authorization and " " not in authorization.strip():
        return warned(f"{summary}; Authorization has no scheme", "write it as `Bearer`, a space and the key")
    if authorization.lower().startswith("bearer bearer "):
        return failed(f"{summary}; Authorization says Bearer twice", "write `Bearer` once before the key")
    return passed(summary)


async def unreached(session: Session) -> CallerError | None:
    """What keeps requests from being answered at all; None: something answers."""
    listed = await session.models()
    error = listed.error
    if isinstance(error, NotSupportedByApi):
        chat = await session.chat()
        error = None if chat is None else chat.error
    if error is None or (not isinstance(error, TotalTimeout) and blamed(error) not in UNREACHED):
        return None
    return error


async def reach(session: Session) -> Finding:
    """Something answers there."""
    listed = await session.models()
    answer = listed.answer or await session.chat()
    if answer is None:
        return skipped(_cause(listed.error), GIVE_MODEL)
    error = await unreached(session)
    if error is not None:
        if blamed(error) == "tls" and "tls" in session.asked:
            return passed("the port takes connections", took=answer.took)
        return failed_with(error, took=answer.took)
    chat = await session.chat() if answer.status == 404 else None
    if answer.status == 404 and "path" not in session.asked and (chat is None or chat.error is not None):
        return warned(f"{answer.url} answered, with 404", "see `path`", took=answer.took)
    took = answer.took + (0.0 if session.opened is None else session.opened.total)
    return passed(f"{answer.url} answered: HTTP {answer.status}{_times(session, answer)}", took=took)


def _times(session: Session, answer: Answer) -> str:
    """What each step to the first answer took."""
    opened = session.opened
    if opened is None:
        return ""
    tls = [("TLS", opened.tls)] if session.credential.base_url.lower().startswith("https://") else []
    steps = [("DNS", opened.resolve), ("TCP", opened.connect), *tls, ("HTTP", answer.took)]
    return f" ({', '.join(f'{name} {seconds * 1000:.0f} ms' for name, seconds in steps)})"


def _cause(error: CallerError | None) -> str:
    return "" if error is None else error.message


async def models(session: Session) -> Finding:
    """The endpoint lists its models, and the one that is asked is among them."""
    listed = await session.models()
    error = listed.error
    if error is None:
        return await _listing(session, listed)
    if isinstance(error, NotSupportedByApi):
        return skipped(error.message)
    if isinstance(error, EndpointUnauthenticated | EndpointForbidden):
        return skipped("see `auth`") if "auth" in session.asked else failed_with(error)
    # Many good endpoints have no model list: only a chat shows whether they work.
    chat = await session.chat()
    if "path" in session.asked and blamed(error if chat is None else chat.error or error) == "path" and not _good(chat):
        return skipped("see `path`")
    return warned(
        error.message,
        "nothing: the chat works; take names of models from the provider's own pages" if _good(chat) else GIVE_MODEL,
    )


def _good(answer: Answer | None) -> bool:
    return answer is not None and answer.error is None


async def _listing(session: Session, listed: Listed) -> Finding:
    names = [model.id for model in listed.models]
    if not names:
        return warned("the endpoint lists no models", "load a model, or ignore this")
    more = f", … ({len(names)} in all)" if len(names) > _MAX_NAMED else ""
    summary = ", ".join(names[:_MAX_NAMED]) + more
    if "model" not in session.asked:
        odd = _unlisted(await session.model(), listed.models)
        if odd is not None:
            return odd
    return passed(summary)


def _unlisted(name: str, listed: tuple[Model, ...]) -> Finding | None:
    """What is odd about a model that is not in the list."""
    names = [model.id for model in listed if model.id]
    bare = name.removeprefix("models/")
    if not name or not names or bare in names or f"{bare}:latest" in names:
        return None
    near = get_close_matches(bare, names, 3, 0.5) or names[:3]
    return warned(f"{name[:100]} is not in the list of {len(names)} models", f"did you mean {', '.join(near)}?")


async def chat(session: Session) -> Finding:
    """One small chat is answered."""
    answer = await session.chat()
    if answer is None:
        return await no_model(session)
    if answer.error is not None:
        row = blamed(answer.error)
        if row != "chat" and row in session.asked:
            return skipped(f"see `{row}`")
        return failed_with(answer.error, took=answer.took)
    return _judged_text(answer, other_row="structure" in session.asked)


def _judged_text(answer: Answer, *, other_row: bool) -> Finding:
    completion = answer.completion
    choices = completion.choices if completion else ()
    summary = sum(len(choice.message.text) + len(choice.message.reasoning) for choice in choices)
    if summary:
        return passed(f"the model answered with {summary} characters", took=answer.took)
    if any(choice.finish_reason is FinishReason.LENGTH for choice in choices):
        return passed(f"the model used up the {probes.TOKENS} tokens of this check", took=answer.took)
    if other_row:
        return skipped("see `structure`")
    return warned(
        "the model answered without text",
        "try another model, another apiCompatibility or a longer answer",
        took=answer.took,
    )


async def tls(session: Session) -> Finding:
    """The endpoint's certificate is trusted."""
    error = await unreached(session)
    if error is not None and blamed(error) == "tls":
        return failed(error.message, f"{remedy_of(error)}; write http:// where the endpoint has no TLS")
    if not session.credential.base_url.lower().startswith("https://"):
        return skipped("the URL is http://: nothing is encrypted")
    if error is not None:
        return skipped("not reached")
    return passed("the certificate is trusted")


async def path(session: Session) -> Finding:
    """The API is at this URL. The remedy is the base URL that works, where a search finds it."""
    listed, answer = await session.models(), await session.chat()
    if answer is not None and answer.error is None:
        return passed(f"{answer.url} answered")
    error = listed.error if answer is None else answer.error
    if error is None:
        return passed(f"{listed.answer.url if listed.answer else ''} answered")
    if blamed(error) != "path":
        return skipped("the answer does not say")
    found = await urls.working(session) if "path" in session.asked else ""
    if found:
        return failed(error.message, f"use the base URL {found}")
    if answer is None:
        return warned(error.message, f"{remedy_of(error)}; {GIVE_MODEL}")
    return failed(error.message, remedy_of(error))


async def auth(session: Session) -> Finding:
    """The endpoint takes the key."""
    listed, answer = await session.models(), await session.chat()
    refused = [
        error
        for error in (None if answer is None else answer.error, listed.error)
        if error is not None and blamed(error) == "auth"
    ]
    given = _has_key(session)
    if refused and (answer is None or answer.error is not None):
        return failed(refused[0].message, _auth_remedy(session, given=given))
    if answer is None or answer.error is not None:
        return skipped("no answer says whether the key is good")
    return passed("the key was taken" if given else "no key was given, and none was asked for")


def _has_key(session: Session) -> bool:
    return any(name.lower() in KEY_NAMES for name in session.credential.headers)


def _auth_remedy(session: Session, *, given: bool) -> str:
    name, scheme = FACTS[session.api].key_header
    wanted = f"`{name}: {f'{scheme} KEY'.strip()}`"
    if not given:
        return f"give the key: this API takes it as {wanted}"
    return (
        f"check the key; set the endpoint up to accept {wanted}, or give the header that it wants"
        " (Authorization, x-api-key, api-key, x-goog-api-key)"
    )


async def auth_refused(session: Session) -> Finding:
    """A wrong key is refused: what takes any key is open to everybody who reaches it."""
    wrong = session.wrong_key(WRONG_KEY)
    if wrong is None:
        return skipped("no key was given: everybody who reaches the endpoint may use it")
    request, call = await session.request(probes.CHAT)
    headers = {**request.headers, **{name: wrong.headers[name] for name in wrong.headers if name in request.headers}}
    answer = await session.exchanges.ask(replace(request, headers=headers), call, stream=False)
    if answer.status in (401, 403):
        return passed(f"a wrong key is refused: HTTP {answer.status}")
    if answer.error is None:
        return warned(
            "a wrong key is taken", "give the endpoint a key of its own to ask for, or let only the service reach it"
        )
    if blamed(answer.error) == "auth":
        return passed(f"a wrong key is refused, with HTTP {answer.status}")
    return warned(
        f"a wrong key is answered with {answer.head}: {answer.error.message}",
        "refuse wrong keys with 401, so that clients know what to mend",
    )


async def model(session: Session) -> Finding:
    """The model is known, and in the list."""
    listed, answer = await session.models(), await session.chat()
    name = await session.model()
    if answer is None:
        return await no_model(session)
    if answer.error is not None and blamed(answer.error) == "model":
        near = _unlisted(name, listed.models)
        return failed(answer.error.message, remedy_of(answer.error) if near is None else near.remedy)
    if answer.error is not None:
        return skipped("no answer says so")
    odd = _unlisted(name, listed.models)
    if odd is not None:
        return odd
    if listed.error is not None or not listed.models:
        return passed(f"{name[:100]} answers; there is no list to find it in")
    return passed(f"{name[:100]} answers, {'taken from' if session.picked else 'and is in'} the list")

"""Errors as Rapida's contract tells them: inside of an answer, with a code in the manner of HTTP and words for people.

The one table of kind to code and words. The words are for people at the platform's dashboard, who know its settings and
none of ours: what `caller.remedies` tells developers (settings, ListModels, headers) would not help them.
"""

from caller import errors
from caller.errors import CallerError, ClientError
from integration_api import unified_messages_pb2 as msg


class NotConfigured(ClientError):
    """A turn was asked for on a stream without a configuration. `refused` is what was wrong with the last one: clients
    show the errors of turns, and not the answers to configurations."""

    refused: CallerError | None = None


def not_configured(refused: CallerError | None) -> NotConfigured:
    """The error of a turn; `refused` is what was wrong with the last configuration, None where there was none."""
    last = "send `configuration` first" if refused is None else f"the last configuration failed: {refused.message}"
    error = NotConfigured(f"the stream is not configured: {last}")
    error.refused = refused
    return error


_REQUEST = "The request cannot be used. Check the model's settings."
_CREDENTIAL = "The credential cannot be used. Check its endpoint, its API compatibility and its headers."
_LATE = "The model did not answer in time. Try again, or choose a faster model."
_ENDPOINT = "The model's endpoint failed. Check that it runs, and look into its own log."
_BUSY = "The model is busy. Try again in a moment."
_SERVICE = "The service is busy or restarting. Try again in a moment."

TABLE: dict[type[CallerError], tuple[int, str]] = {
    NotConfigured: (412, "Configure the stream before the first chat."),
    errors.ClientError: (400, _REQUEST),
    errors.UnknownProvider: (400, "This provider is not known here. Choose another one."),
    errors.NotSupportedByApi: (400, "The chosen API cannot carry this. Change the model's settings or the API."),
    errors.CredentialInvalid: (401, _CREDENTIAL),
    errors.CallerUnauthenticated: (401, "The calling service is not known here. Check its key."),
    errors.CredentialNotFound: (404, "There is no such credential."),
    errors.PolicyError: (401, "The credential's endpoint may not be called from here. Ask the operator to allow it."),
    errors.CredentialForbidden: (401, "The credential is not for this caller."),
    errors.EndpointRefused: (400, "The model's endpoint did not accept the request. Check the model's settings."),
    errors.EndpointUnauthenticated: (
        401,
        "The model's endpoint did not accept the key. Check the credential's headers.",
    ),
    errors.EndpointForbidden: (401, "The key may not use this model. Check the credential and the model."),
    errors.EndpointNotFound: (404, "Nothing answers under the endpoint's address. Check the base URL."),
    errors.ModelNotFound: (404, "The endpoint does not know this model. Check the model's name."),
    errors.ContextLengthExceeded: (400, "The conversation is too long for this model."),
    errors.ContentFiltered: (400, "The endpoint's content filter refused the conversation."),
    errors.QuotaExhausted: (429, "The account at the model's endpoint is used up."),
    errors.EndpointFailed: (502, _ENDPOINT),
    errors.EndpointRateLimited: (429, "The model's endpoint limits the rate of requests. Try again in a moment."),
    errors.EndpointOverloaded: (503, _BUSY),
    errors.EndpointUnreachable: (502, "The model's endpoint cannot be reached. Check that it runs, and its base URL."),
    errors.EndpointTls: (502, "The certificate of the model's endpoint is not trusted."),
    errors.ConnectTimeout: (408, "The model's endpoint cannot be reached in time. Check that it runs."),
    errors.FirstOutputTimeout: (408, _LATE),
    errors.BetweenOutputsTimeout: (408, _LATE),
    errors.TotalTimeout: (408, _LATE),
    errors.ServiceError: (500, "Something went wrong here. Tell the operator the request's id."),
    errors.ServiceOverloaded: (503, _SERVICE),
    errors.ServiceDraining: (503, _SERVICE),
    errors.ServiceStopped: (503, _SERVICE),
}


def code_of(error: CallerError) -> int:
    """The code of an error, found by its class or the nearest of its parents."""
    return _row(error)[0]


def error_message(error: CallerError) -> msg.Error:
    """The error as the contract's message."""
    code, human = _row(error)
    if isinstance(error, NotConfigured) and error.refused is not None:
        human = _row(error.refused)[1]
    return msg.Error(errorCode=code, errorMessage=error.message, humanMessage=human)


def _row(error: CallerError) -> tuple[int, str]:
    for kind in type(error).__mro__:
        if kind in TABLE:
            return TABLE[kind]
    return TABLE[errors.ServiceError]

"""botocore clients that believe their arguments and nothing else.

A hub runs in an environment that may hold AWS variables, profiles, proxies and an instance's own role for
other purposes.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import botocore.session
from botocore import UNSIGNED
from botocore import exceptions as aws
from botocore.config import Config
from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES, ConfigValueStore, ConstantProvider

from .errors import SourceError
from .model import SourceName

#: Clocks that differ by more are told of.
CLOCKS_DIFFER = timedelta(seconds=60)

# At debug level botocore writes whole requests and answers: tokens and keys.
logging.getLogger("botocore").setLevel(logging.INFO)


def isolated_client(
    service: Literal["s3", "sts"],
    endpoint_url: str,
    *,
    region: str,
    ca_file: str | None = None,
    connect_timeout: float = 2.0,
    read_timeout: float = 4.0,
    path_style: bool = True,
    keys: tuple[str, str] | None = None,
) -> Any:
    """Return a botocore client, unsigned unless `keys` (access key, secret key) are given.

    Environment variables, configuration files, the credential chain (with IMDS) and proxies are not
    consulted. botocore does not try again: the broker does. A client may be used by many threads; making one
    takes 0.2 s.
    """
    session = botocore.session.Session()
    store = ConfigValueStore()
    for name, (_, _, default, _) in BOTOCORE_DEFAUT_SESSION_VARIABLES.items():
        store.set_config_provider(name, ConstantProvider(default))
    # Files too: the defaults lead to ~/.aws.
    for name in ("config_file", "credentials_file"):
        store.set_config_variable(name, os.devnull)
    session.register_component("config_store", store)
    access_key, secret_key = keys or (None, None)
    return session.create_client(
        service,
        region_name=region,
        endpoint_url=endpoint_url,
        # Not None: that would ask AWS_CA_BUNDLE and REQUESTS_CA_BUNDLE.
        verify=ca_file or True,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=Config(
            signature_version="s3v4" if keys else UNSIGNED,
            # Not None: that would ask HTTP_PROXY and the like.
            proxies={},
            retries={"total_max_attempts": 1, "mode": "standard"},
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            max_pool_connections=16,
            s3={"addressing_style": "path" if path_style else "virtual"},
        ),
    )


def error_code(error: aws.ClientError) -> str:
    """Return the code of an answer (`AccessDenied`), or the HTTP status where it had no body (`404`)."""
    return str(error.response.get("Error", {}).get("Code", ""))


def source_error(error: Exception, label: str, source: SourceName = "s3") -> SourceError:
    """Return what a botocore error means, in a sentence; the server's own text is not repeated.

    Parameters
    ----------
    label
        The backend's name, at the beginning of the sentence.
    """
    match error:
        case aws.SSLError():
            return SourceError(
                source, "unreachable", f"{label}: its TLS certificate is not trusted by the hub."
            )
        case aws.ConnectTimeoutError() | aws.ReadTimeoutError():
            return SourceError(source, "timeout", f"{label} did not answer in time.")
        case aws.EndpointConnectionError():
            return SourceError(source, "unreachable", f"{label} cannot be reached: no connection.")
        case aws.ConnectionError() | aws.HTTPClientError():
            return SourceError(source, "unreachable", f"{label} broke the connection.")
        case aws.ClientError():
            return _answered(error, label, source)
    message = f"{label} gave an answer that is not understood: is the address right? ({type(error).__name__})"
    return SourceError(source, "invalid", message)


def _answered(error: aws.ClientError, label: str, source: SourceName) -> SourceError:
    code = error_code(error)
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if status >= 500 or code in {"SlowDown", "Throttling", "RequestLimitExceeded"}:
        return SourceError(source, "unreachable", f"{label} is out of order ({code or status}).")
    if status in {401, 403} or code in {"InvalidIdentityToken", "ExpiredTokenException"}:
        message = f"{label} refused ({code or status}). {clock_hint(error, datetime.now(UTC))}"
        return SourceError(source, "denied", message.rstrip())
    return SourceError(source, "invalid", f"{label} did not accept the request ({code or status}).")


def clock_hint(error: aws.ClientError, sent: datetime) -> str:
    """Return a sentence if the clocks differ: the cause of a refusal that nobody looks for. Else an empty text.

    Parameters
    ----------
    sent
        When the request left, on the hub's clock.
    """
    date = server_date(error.response)
    return clock_sentence(date - sent) if date and abs(date - sent) > CLOCKS_DIFFER else ""


def server_date(response: Mapping[str, Any]) -> datetime | None:
    """Return when the server believes that it answered (botocore's answer or error response)."""
    text = response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    try:
        date = parsedate_to_datetime(text) if text else None
    except ValueError:
        return None
    return date if date is None or date.tzinfo else date.replace(tzinfo=UTC)


def clock_sentence(difference: timedelta) -> str:
    """Return what to do about a server's clock that is ahead of the hub's by `difference`."""
    minutes = abs(difference).total_seconds() / 60
    side = "ahead of" if difference > timedelta(0) else "behind"
    return f"The clock of the S3 storage is {minutes:.0f} min {side} the hub's: set both by NTP."

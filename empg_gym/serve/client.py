"""A connection to the endpoint /sessions of a server: `Sessions`, and what goes wrong with it.

Rules:
    - An error that the environment raises is raised here with the same class and text.
    - What happens to the connection is an `EnvironmentFailure` that says what to do; the connection is then closed for good.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import empg_gym.errors
from empg_gym.errors import ConfigError, EMPGGymError, EnvironmentFailure
from empg_gym.serve.packages import require_extra

TOKEN_VARIABLE = "EMPG_GYM_TOKEN"
"""Environment variable with the token, for clients and servers."""
_MAX_REPLY = 256 << 20


class Sessions:
    """Sessions on a server, over one connection.

    Args:
        url: address of the server, with the name of the environment where it serves several.
        token: the server's token; None = that of the environment variable `EMPG_GYM_TOKEN`, if it is set.
        seconds: longest time for an answer.

    Raises:
        ConfigError: the address isn't one of a server.
        EnvironmentFailure: no server answers there, or it refuses.
    """

    def __init__(self, url: str, *, token: str | None = None, seconds: float = 120.0) -> None:
        require_extra("connect")
        from websockets.exceptions import InvalidHandshake, InvalidStatus

        from empg_gym.serve.websocket import WebSocket

        self.url, self._seconds = url, seconds
        token = os.environ.get(TOKEN_VARIABLE) if token is None else token
        try:
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            self._socket = WebSocket(websocket_url(url), headers=headers, seconds=seconds, max_bytes=_MAX_REPLY)
        except InvalidStatus as error:
            raise EnvironmentFailure(f"{url} refused the connection: {_reason(error.response)}") from None
        except InvalidHandshake:
            raise EnvironmentFailure(f"what answers at {url} isn't an EMPG Gym server; check the address") from None
        except TimeoutError:
            raise EnvironmentFailure(f"the server at {url} did not answer within {seconds:g} s; check that it is running") from None
        except OSError as error:
            raise EnvironmentFailure(
                f"no server answers at {url} ({error.strerror or error}); start one with: empg-gym serve env NAME"
            ) from None

    def ask(self, session: int, name: str, *arguments: Any) -> Any:
        """Return the answer to one call.

        Raises:
            EMPGGymError: what the environment raised.
            EnvironmentFailure: the server is gone or late.
        """
        self.send([(session, name, list(arguments))])
        return unpack(self.receive()[0])

    def send(self, calls: Sequence[tuple[int, str, list[Any]]]) -> None:
        """Send calls, to be answered by the next `receive`; raises what `ask` raises."""
        from empg_gym.serve.websocket import Closed

        try:
            self._socket.send(json.dumps({"calls": calls}))
        except Closed as closed:
            raise self._lost(closed.code, closed.reason) from None
        except TimeoutError:
            raise self._late() from None

    def receive(self) -> list[list[Any]]:
        """Return the results of the calls that were sent first, one for each call; raises what `ask` raises."""
        from empg_gym.serve.websocket import Closed

        try:
            reply = json.loads(self._socket.receive(self._seconds))
        except Closed as closed:
            raise self._lost(closed.code, closed.reason) from None
        except TimeoutError:
            raise self._late() from None
        if "error" in reply:
            raise ConfigError(f"the server at {self.url} refused a message: {reply['error']}")
        results: list[list[Any]] = reply["results"]
        return results

    def close(self) -> None:
        """Close the connection and its sessions; may be called again."""
        self._socket.close()

    def _lost(self, code: int | None, reason: str) -> EnvironmentFailure:
        self.close()
        why = "the message is larger than it accepts" if code == 1009 else reason or "it has ended, or the network failed"
        return EnvironmentFailure(f"the connection to {self.url} was lost ({why}); the episode is lost, reset() starts another one")

    def _late(self) -> EnvironmentFailure:
        self.close()
        return EnvironmentFailure(
            f"the server at {self.url} did not answer within {self._seconds:g} s; the episode is lost, reset() starts another one"
        )


def unpack(result: list[Any]) -> Any:
    """Return the value of a result, or raise its error."""
    if result[0] == "ok":
        return result[1]
    _, kind, text = result
    known = getattr(empg_gym.errors, kind, None)
    raise (known if isinstance(known, type) and issubclass(known, EMPGGymError) else EnvironmentFailure)(text)


def websocket_url(url: str) -> str:
    """Return the address of /sessions at a server.

    Raises:
        ConfigError: `url` isn't an address such as http://127.0.0.1:8000.
    """
    schemes = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
    try:
        parts = urlsplit(url)
        valid = parts.scheme in schemes and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except (ValueError, AttributeError, TypeError):
        valid = False
    if not valid:
        raise ConfigError(f"the address of a server looks like http://127.0.0.1:8000, not {url!r}")
    return urlunsplit((schemes[parts.scheme], parts.netloc, parts.path.rstrip("/") + "/sessions", "", ""))


def _reason(response: Any) -> str:
    try:
        return str(json.loads(response.body)["error"])
    except (ValueError, KeyError, TypeError):
        return f"it answers with HTTP {response.status_code}, so it isn't an EMPG Gym server; check the address"

"""Redaction in the kernel: one choke point that every message to a front end passes, and the history database.

Wrapping sys.stdout would miss os.write(1), subprocesses, tracebacks and displays (LESSONS.md 1.21). ipykernel
watches the file
descriptors itself; all it sends goes through one Session, and that is where secrets are taken out. A secret
split over two prints is
caught by holding back a line until it is complete.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

from opslib.records.redact import Redactor

# After these, a stream's next piece becomes an output of its own (or the cell is over): what is held must
# go out first.
_ENDS_STREAM = {"display_data", "execute_result", "error", "execute_input", "clear_output", "input_request"}
PATIENCE = 1.0  # seconds an incomplete line is held back
_MARK = "_opslib_redactor"


def redact_kernel(redactor: Redactor) -> bool:
    """Redact all that this process' kernel sends from now on;

    False outside a kernel. A second call only adds secrets.
    """
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        return False
    session = kernel.session
    gate: _Gate | None = getattr(session, _MARK, None)
    if gate is None:
        gate = _Gate(session, redactor)
        object.__setattr__(session, _MARK, gate)
        object.__setattr__(session, "send", gate.send)
        _redact_history(shell, gate)
    gate.redactor = redactor
    return True


class _Gate:
    """Stands before Session.send."""

    def __init__(self, session: Any, redactor: Redactor) -> None:
        self.redactor = redactor
        self._send = session.send
        self._session = session
        self._lock = threading.RLock()
        self._held: dict[str, tuple[str, Any, dict[str, Any]]] = {}
        self._timer: threading.Timer | None = None

    def send(self, stream: Any, msg_or_type: Any, *args: Any, **kwargs: Any) -> Any:
        """Session.send, with every secret masked."""
        with self._lock:
            message, kwargs = self._message(msg_or_type, args, kwargs)
            kind = message["header"]["msg_type"]
            if kind == "stream":
                return self._stream(stream, message, kwargs)
            idle = kind == "status" and message["content"].get("execution_state") == "idle"
            if idle or kind in _ENDS_STREAM:
                self.release()
            message["content"] = self._clean(kind, message["content"])
            return self._send(stream, message, **kwargs)

    def release(self) -> None:
        """Send what was held back."""
        held, self._held = self._held, {}
        for text, stream, message in held.values():
            kwargs = message.pop("_kwargs")
            message["content"] = {**message["content"], "text": self.redactor.text(text)}
            self._send(stream, message, **kwargs)

    def _patience(self) -> None:
        """A line that stays incomplete is shown after a while, but for what may be the beginning of a known secret."""
        with self._lock:
            self._timer = None
            held, self._held = self._held, {}
            for name, (text, stream, message) in held.items():
                send, hold = self.redactor.split(text, by_line=False)
                kwargs = message["_kwargs"]
                if hold:
                    self._hold(name, hold, stream, message)
                if send:
                    content = {**message["content"], "text": send}
                    fresh = self._session.msg("stream", content, parent=message.get("parent_header"))
                    self._send(stream, fresh, **kwargs)

    def _hold(self, name: str, text: str, stream: Any, message: dict[str, Any]) -> None:
        self._held[name] = (text, stream, message)
        if self._timer is None:
            self._timer = threading.Timer(PATIENCE, self._patience)
            self._timer.daemon = True
            self._timer.start()

    def _message(self, msg_or_type: Any, args: Any, kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The message itself and the keywords that are left for Session.send."""
        names = ("content", "parent", "ident", "buffers", "track", "header", "metadata")
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        parts = {
            name: given.pop(name) for name in ("content", "parent", "header", "metadata") if name in given
        }
        if isinstance(msg_or_type, dict):
            return dict(msg_or_type), given
        return self._session.msg(msg_or_type, **parts), given

    def _stream(self, stream: Any, message: dict[str, Any], kwargs: dict[str, Any]) -> Any:
        name = message["content"]["name"]
        before = self._held.pop(name, ("",))[0]
        send, hold = self.redactor.split(before + message["content"]["text"])
        if hold:
            self._hold(name, hold, stream, {**message, "_kwargs": kwargs})
        if not send:
            return message
        content = {**message["content"], "text": send}
        # The held part needs a message of its own: two messages must not share one id.
        fresh = self._session.msg("stream", content, parent=message.get("parent_header")) if hold else message
        fresh["content"] = content
        return self._send(stream, fresh, **kwargs)

    def _clean(self, kind: str, content: Any) -> Any:
        if kind == "status" or not isinstance(content, dict):
            return content
        clean: dict[str, Any] = dict(self.redactor.value(content))
        if isinstance(lines := content.get("traceback"), list):
            # A secret may stand in two lines of a traceback.
            clean["traceback"] = self.redactor.text("\n".join(map(str, lines))).split("\n")
        return clean


def _redact_history(shell: Any, gate: _Gate) -> None:
    """What IPython writes to its history database is redacted as well."""
    manager = getattr(shell, "history_manager", None)
    if manager is None:
        return
    store = manager.store_inputs

    def store_inputs(line_num: int, source: str, source_raw: str | None = None) -> None:
        raw = gate.redactor.text(source_raw) if source_raw is not None else None
        store(line_num, gate.redactor.text(source), raw)

    object.__setattr__(manager, "store_inputs", store_inputs)


def load_ipython_extension(_shell: Any) -> None:
    """`%load_ext opslib.runs.output`: redact before the first run is opened."""
    from opslib.records.known import secrets_of

    redact_kernel(Redactor(secrets_of()))

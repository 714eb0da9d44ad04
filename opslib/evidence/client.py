"""nbclient, made to keep every output up to the moment it stops, whatever stops it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from queue import Empty
from typing import Any

from jupyter_client.utils import ensure_async
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat import NotebookNode
from papermill.clientwrap import PapermillNotebookClient

from opslib.evidence.kernel import EarlyKernel, cause_of_death
from opslib.evidence.stop import Stop

AUTOSAVE = 2.0  # seconds between saves while a cell runs
GRACE = 3.0  # seconds an interrupted cell has to let go (release a lease, write its journal)


class EvidenceClient(PapermillNotebookClient):
    """Runs the cells of one notebook. `manager` (EvidenceManager) keeps the notebook and its truth."""

    extra_arguments: list[str]
    clear_before_next_output: bool

    def __init__(
        self,
        manager: Any,
        *,
        early: EarlyKernel | None = None,
        cell_timeout: float | None = None,
        stopper: Callable[[asyncio.Future[Stop]], None] | None = None,
        **kwargs: Any,
    ) -> None:
        self.manager = manager
        self.early = early
        self.cell_timeout = cell_timeout
        self._stopper = stopper
        self._index = -1
        super().__init__(manager, km=early.manager() if early else None, timeout=None, **kwargs)
        self.extra_arguments = [*self.extra_arguments, "--HistoryManager.enabled=False"]
        self.shutdown_kernel = "immediate"

    def execute(self, **kwargs: Any) -> NotebookNode:
        """Run all cells. Raises Stop when the run ended before its last cell for any reason but an error in a cell."""
        asyncio.run(self._execute(kwargs))
        return self.nb

    async def _execute(self, kwargs: Mapping[str, Any]) -> None:
        loop = asyncio.get_running_loop()
        stop: asyncio.Future[Stop] = loop.create_future()
        if self._stopper:
            self._stopper(stop)
        self.reset_execution_trackers()
        saver: asyncio.Task[None] | None = None
        try:
            await self._start(kwargs)
            saver = asyncio.ensure_future(self._autosave())
            await self._cells(stop)
            self.set_widgets_metadata()
        finally:
            if saver:
                saver.cancel()
            await self._end()

    async def _start(self, kwargs: Mapping[str, Any]) -> None:
        if self.km is None:
            self.create_kernel_manager()
        if not self.km.has_kernel:
            await self.async_start_new_kernel(**kwargs)
        self.kc = self.km.client()
        self.kc.start_channels(stdin=False, hb=False)
        self.kc.allow_stdin = False
        deadline = time.monotonic() + (self.startup_timeout or 60)
        while not await self._ready():
            if not await ensure_async(self.km.is_alive()):
                raise self._death("the kernel died before it answered")
            if time.monotonic() > deadline:
                raise Stop("kernel", "the kernel did not answer in time; is the machine overloaded?")

    async def _ready(self) -> bool:
        # jupyter_client's own wait_for_ready polls with sleeps and always ends with 0.2 s of listening to silence.
        ask = self.kc.kernel_info()
        try:
            while True:
                reply = await ensure_async(self.kc.shell_channel.get_msg(timeout=0.5))
                if reply["parent_header"].get("msg_id") == ask:
                    break
            self.nb.metadata["language_info"] = reply["content"]["language_info"]
            await ensure_async(self.kc.iopub_channel.get_msg(timeout=0.1))  # the subscription has to stand
        except Empty:
            return False
        return True

    async def _cells(self, stop: asyncio.Future[Stop]) -> None:
        for index, cell in enumerate(self.nb.cells):
            self._index = index
            self.manager.cell_start(cell, index)
            try:
                await self._cell(cell, index, stop)
            except CellExecutionError as error:
                self.manager.cell_exception(cell, cell_index=index, exception=error)
                self.manager.cell_complete(cell, cell_index=index)
                return
            self.manager.cell_complete(cell, cell_index=index)

    async def _cell(self, cell: NotebookNode, index: int, stop: asyncio.Future[Stop]) -> None:
        if cell.cell_type != "code" or not cell.source.strip():
            return None
        if stop.done():
            raise stop.result()
        task = asyncio.ensure_future(self.async_execute_cell(cell, index))
        await asyncio.wait({task, stop}, timeout=self.cell_timeout, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return self._finish(task)
        why = (
            stop.result()
            if stop.done()
            else Stop("timeout", f"the cell ran longer than {self.cell_timeout:g} s")
        )
        await ensure_async(self.km.interrupt_kernel())
        await asyncio.wait({task}, timeout=GRACE)
        if not task.done():
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise why

    def _finish(self, task: asyncio.Future[Any]) -> None:
        try:
            task.result()
        except DeadKernelError as error:
            raise self._death("the kernel died") from error

    def _death(self, what: str) -> Stop:
        process = self.km.provisioner.process if self.km.provisioner else None
        # The poll that found it dead has reaped it, so the exit status is known.
        status = process.poll() if process else (self.early.process.poll() if self.early else None)
        words = self.early.last_words() if self.early else ""
        return Stop("kernel", f"{what}: {cause_of_death(status)}", details=words)

    async def _autosave(self) -> None:
        while True:
            await asyncio.sleep(AUTOSAVE)
            self.manager.autosave_cell()

    async def _end(self) -> None:
        if self.kc is not None:
            self.kc.stop_channels()
        if self.early:
            self.early.end()
            self.km.provisioner = None
        elif self.km is not None and self.km.has_kernel:
            await ensure_async(self.km.shutdown_kernel(now=True))
            await ensure_async(self.km.cleanup_resources())
        self.kc = None

    def process_message(
        self, msg: dict[str, Any], cell: NotebookNode, cell_index: int
    ) -> NotebookNode | None:
        """Keep the message's output: redacted, capped, adjoining stream pieces as one."""
        if msg["msg_type"] == "stream" and not self.output_hook_stack[msg["parent_header"].get("msg_id")]:
            if self.clear_before_next_output:
                self.clear_output(cell.outputs, {**msg, "content": {"wait": False}}, cell_index)
                self.clear_before_next_output = False
            self.manager.stream(cell, cell_index, msg["content"]["name"], msg["content"]["text"])
            return None
        if msg["msg_type"] not in ("status", "execute_input"):
            self.manager.admit(msg["content"], cell_index)
            self.manager.touched(None if msg["msg_type"] == "update_display_data" else cell_index)
        return super(PapermillNotebookClient, self).process_message(msg, cell, cell_index)

"""papermill's engine `opslib`: it tells the truth about every cell, whatever ends the run."""

from __future__ import annotations

from typing import Any

from nbformat import NotebookNode
from papermill.engines import NBClientEngine
from papermill.log import logger

from opslib.evidence.client import EvidenceClient
from opslib.evidence.manager import EvidenceManager
from opslib.evidence.stop import Stop
from opslib.records.known import secrets_of
from opslib.records.redact import Redactor


class EvidenceEngine(NBClientEngine):
    """Use it as `papermill --engine opslib IN evidence://FOLDER/OUT.ipynb`, or through `opslib run`."""

    @classmethod
    def execute_notebook(
        cls,
        nb: NotebookNode,
        kernel_name: str,
        output_path: str | None = None,
        progress_bar: bool = True,  # noqa: ARG003 - papermill's signature; the runner has its own progress
        log_output: bool = False,
        autosave_cell_every: int = 2,  # noqa: ARG003 - likewise; always a few seconds
        manager: EvidenceManager | None = None,
        **kwargs: Any,
    ) -> NotebookNode:
        """Run the notebook and return it. Raises Stop when something other than an error in a cell ended the run."""
        keep = manager or EvidenceManager(nb, output_path, redactor=Redactor(secrets_of()))
        keep.notebook_start()
        try:
            cls.execute_managed_notebook(keep, kernel_name, log_output=log_output, **kwargs)
        except Stop as why:
            keep.stopped(why)
            raise
        except BaseException as error:
            keep.stopped(Stop("engine", f"{type(error).__name__}: {error}"))
            raise
        finally:
            keep.notebook_complete()
        return keep.nb

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: EvidenceManager,
        kernel_name: str,
        log_output: bool = False,
        stdout_file: Any = None,
        stderr_file: Any = None,
        start_timeout: int = 60,
        execution_timeout: float | None = None,
        **kwargs: Any,
    ) -> NotebookNode:
        """Run the cells; `execution_timeout` is seconds for each cell."""
        for name in ("input_path", "timeout", "startup_timeout"):
            kwargs.pop(name, None)
        client = EvidenceClient(
            nb_man,
            kernel_name=kernel_name,
            startup_timeout=start_timeout,
            cell_timeout=execution_timeout,
            log=logger,
            log_output=log_output,
            stdout_file=stdout_file,
            stderr_file=stderr_file,
            **kwargs,
        )
        return client.execute()

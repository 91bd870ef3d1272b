"""Compiled GraphQL operations: a validated operation becomes Python source once, and runs as that from then on.

Knows graphql-core (whose execution it repeats to the letter) and Strawberry (whose types it recognizes), and nothing of
the service around it. Plugged in as a schema's ``execution_context_class``; see ``docs/decisions/executor.md``.
"""

from service.executor.batch import BATCH, batched
from service.executor.classes import backed_by
from service.executor.context import create_executor

__all__ = ["BATCH", "backed_by", "batched", "create_executor"]

"""A GraphQL federation subgraph over every linked Sentry account."""

__version__ = "0.1.0"

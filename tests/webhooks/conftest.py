from tests.connections.conftest import admin, keyring, store, stranger, vault

__all__ = ["admin", "keyring", "store", "stranger", "vault"]

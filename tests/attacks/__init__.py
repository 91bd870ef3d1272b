"""Attacks on the whole service, as they would come: over HTTP, with real parts behind it."""

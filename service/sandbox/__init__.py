"""A stand-in Sentry: an ASGI app that behaves as a real server was seen to, over a made-up world.

The demo serves it, tests count calls on it and break it on purpose, benchmarks load it. Nothing here is meant for
production, and nothing of the rest of the service is imported.
"""

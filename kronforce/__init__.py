"""The Kronforce controller. Rooms, top to bottom: app, api, engine, store, core, v1."""

__version__ = "0.1.0"

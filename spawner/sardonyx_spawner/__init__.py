"""Catalogue, launch options and spawners of a Sardonyx datalab.

The spawners are imported where they are used (``sardonyx_spawner.local.LocalDatalabSpawner``): whoever only
reads a catalogue needs no JupyterHub.
"""

__version__ = "0.1.0"

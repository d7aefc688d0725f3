"""Label sets in the formats of other tools: writers, readers, and what both share. docs/exchange.md describes them.

A writer takes label maps and returns files; a reader takes files and returns label maps. Neither touches the disk.
"""

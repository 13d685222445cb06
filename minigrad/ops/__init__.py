"""The operations: one file a family, each operation on one screen with its value, its rule and its cost.

Public names are re-exported by `minigrad` itself; a leading underscore marks primitives that only rules use.
"""

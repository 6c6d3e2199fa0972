"""What each family of shapes has on the wire: a record a family, each in a module of its own, all written by hand.

They must not know adapters. The two spellings of Chat Completions are one family: they send the same, but for the
`developer` role.
"""

"""SET-UP: from a fresh machine to a running platform, and down again.

Law of this room: the standard library alone, because it runs before anything is installed; only
`bootstrap` runs inside the virtual environment and speaks the house's language.
"""

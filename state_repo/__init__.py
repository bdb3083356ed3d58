"""THE LANGUAGE: what is wanted (documents in git) and what was seen (status in SQL).

Law of this room: the standard library, YAML and JSON Schema; git in `store` alone, SQL in
`status` alone. It imports no other room of the house; every other room speaks its nouns.
"""


class StateRepoError(Exception):
    """Base of this room's errors. The message says what to do."""

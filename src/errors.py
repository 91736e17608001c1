"""The one exception a user is meant to see."""


class UserError(Exception):
    """Something the user can mend; the message is one line: what, why, and the mend.

    Scripts print it to stderr and exit with code 2. Anything else that escapes is a bug.
    """

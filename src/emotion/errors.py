"""The one exception a user is meant to see."""


class UserError(Exception):
    """Something the user can mend; the message is one line: what, why, and the mend.

    Scripts print it to stderr and exit with code 2. Anything else that escapes is a bug.
    """


def first_line(error: BaseException) -> str:
    """First line of an error's message, or its type where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]

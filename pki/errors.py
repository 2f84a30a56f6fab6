"""The one error of this package. It has the shape of `units.errors`, which pki may not import."""


class PkiError(Exception):
    """Key material, a request or a certificate cannot be used.

    `code` is stable and kebab-case, `message` names the object, what was found and what is allowed, `remedy` is the
    next thing a person should do. No message ever holds key material.
    """

    def __init__(self, code: str, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.remedy = remedy

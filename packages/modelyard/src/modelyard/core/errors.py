"""TODO doc."""


class UserError(Exception):
    """A sentence for the person at the keyboard: what is wrong and what to do about it."""

    def __init__(self, sentence: str, code: int = 1) -> None:
        super().__init__(sentence)
        self.code = code


class IntegrityError(UserError):
    """A link of the chain from what runs back to the data does not hold."""

    def __init__(self, link: str, sentence: str) -> None:
        super().__init__(f"the link `{link}` does not hold: {sentence}")
        self.link = link

"""Errors that are the user's to mend: each is one readable message and ends a command with exit code 1.

ExportError
├── RecipeError      the recipe file is not valid
├── DatasetError     the pictures cannot be trained on
├── RunError         there is no trained run where one is needed
├── BlessingError    an export did not answer as it must
└── StoreError       the model store cannot be written
"""


class ExportError(Exception):
    """Base of all; its text names the input, the reason and the way out."""


class RecipeError(ExportError):
    """A recipe that cannot be read or does not validate."""


class DatasetError(ExportError):
    """Pictures that cannot be trained on."""


class RunError(ExportError):
    """A trained run or an export of it is missing or incomplete."""


class BlessingError(ExportError):
    """An export that must not be served."""


class StoreError(ExportError):
    """The model store refused a write, or does not hold what was asked for."""

"""Tasks: one file each, one line here."""

from regard.tasks.transduce import Transduce
from regard.tasks.translate import Translate

TASKS = {"translate": Translate, "transduce": Transduce}
"""What `task:` in a recipe may name."""

"""Tasks: one file each, one line here."""

from regard.tasks.answer import Answer
from regard.tasks.classify import Classify
from regard.tasks.reply import Reply
from regard.tasks.summarize import Summarize
from regard.tasks.transduce import Transduce
from regard.tasks.translate import Translate
from regard.tasks.write import Write

TASKS = {
    "translate": Translate,
    "transduce": Transduce,
    "summarize": Summarize,
    "reply": Reply,
    "write": Write,
    "classify": Classify,
    "answer": Answer,
}
"""What `task:` in a recipe may name."""
